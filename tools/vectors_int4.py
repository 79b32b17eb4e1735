"""Cases for dense layers whose weights have four bits: expected outputs from the packed bytes, in integers, apart from any code of ours.

usage: vectors_int4.py OUT_DIR SEED CASES      (needs: pip install numpy)

Weights are drawn in -7..7, packed as docs/model-format.md says, unpacked again, and multiplied as TensorFlow Lite Micro does after it has
unpacked its own (FullyConnectedPerChannel: int32 sums, gemmlowp's rounding twice). Where tflite-micro is installed it is asked as well.
One JSON file a case, the same each time for a seed.
"""
import json
import math
import os
import sys

import numpy as np


def packed(row):
    """Eight weights in four bytes, each plus 8: byte j holds weight j in its low half and weight j + 4 in its high half."""
    row = list(row) + [0] * (-len(row) % 8)
    groups = [row[at:at + 8] for at in range(0, len(row), 8)]
    return bytes((group[j] + 8) | (group[j + 4] + 8) << 4 for group in groups for j in range(4))


def unpacked(data, count):
    return [((data[i // 8 * 4 + i % 4] >> (0 if i % 8 < 4 else 4)) & 15) - 8 for i in range(count)]


def quantize_multiplier(real):
    """TensorFlow Lite's QuantizeMultiplier."""
    fraction, shift = math.frexp(real)
    fixed = math.floor(fraction * (1 << 31) + .5)
    return (fixed // 2, shift + 1) if fixed == 1 << 31 else (fixed, shift)


def rescale(x, factor):
    """gemmlowp's saturating rounding doubling high multiplication, then its rounding division by a power of two."""
    multiplier, shift = factor
    product = (x << max(shift, 0)) * multiplier
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    high = abs(nudged) >> 31
    high = high if nudged >= 0 else -high  # truncated
    exponent = max(-shift, 0)
    mask = (1 << exponent) - 1
    return (high >> exponent) + ((high & mask) > (mask >> 1) + (high < 0))


def one(rng, index):
    n = int(rng.integers(5, 90)) if index % 3 else int(rng.integers(200, 700))
    m = int(rng.integers(2, 20))
    act = ["none", "relu", "relu6"][index % 3]
    f32 = lambda low, high: float(np.float32(rng.uniform(low, high)))
    s_in, z_in, z_out = f32(.01, .05), int(rng.integers(-128, 128)), int(rng.integers(-100, 100))
    s_w = [f32(.02, .2) for _ in range(m)]
    s_out = float(np.float32(s_in * max(s_w) * 4.3 * 74 * math.sqrt(n) / 60))
    x = [int(v) for v in rng.integers(-128, 128, n)]
    weights = [[int(v) for v in rng.integers(-7, 8, n)] for _ in range(m)]
    bias = [int(v) for v in rng.integers(-3000, 3000, m)]
    low, high = -128, 127
    if act != "none":
        low = max(low, z_out)
    if act == "relu6":
        high = min(high, z_out + math.floor(float(np.float32(6.0) / np.float32(s_out)) + .5))
    out = []
    for row, scale, start in zip(weights, s_w, bias):
        row = unpacked(packed(row), n)
        total = start + sum((a - z_in) * b for a, b in zip(x, row))
        out.append(min(max(rescale(total, quantize_multiplier(s_in * scale / s_out)) + z_out, low), high))
    return dict(
        op="dense",
        source="integers in tools/vectors_int4.py from weights packed in four bits",
        attrs=dict(activation=act),
        input=dict(shape=[1, n], dtype="int8", data=x, scale=[s_in], zero_point=[z_in]),
        weights=dict(shape=[m, n], dtype="int8", data=[w for row in weights for w in row], scale=s_w, zero_point=[0] * m, quantized_axis=0),
        bias=dict(shape=[m], dtype="int32", data=bias, scale=[float(np.float32(s_in * s)) for s in s_w], zero_point=[0] * m),
        output=dict(shape=[1, m], dtype="int8", data=out, scale=[s_out], zero_point=[z_out]),
    )


def by_tflite_micro(case):
    """tflite-micro's output for the same int8 weights; None where it is not installed."""
    try:
        from tflite_model import ACTIVATIONS, Op, T, build, run_micro
    except ImportError:
        return None
    part = lambda name, **more: T(tuple(case[name]["shape"]), case[name]["dtype"], case[name]["scale"], case[name]["zero_point"], **more)
    data = lambda name: np.array(case[name]["data"]).reshape(case[name]["shape"])
    t = dict(x=part("input"), w=part("weights", data=data("weights")), b=part("bias", data=data("bias")), y=part("output"))
    options = dict(fusedActivationFunction=ACTIVATIONS[case["attrs"]["activation"]])
    blob = build(t, [Op("FULLY_CONNECTED", ["x", "w", "b"], ["y"], options, 4)], ["x"], ["y"])
    return run_micro(blob, [data("input").astype(np.int8)])[0].flatten().tolist()


def main():
    folder, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng, asked = np.random.default_rng(seed), 0
    for index in range(count):
        case = one(rng, index)
        case["source"] += f", seed {seed}"
        micro = by_tflite_micro(case)
        asked += micro is not None
        assert micro in (None, case["output"]["data"]), f"case {index}: tflite-micro has {micro}"
        with open(os.path.join(folder, f"dense_int4_{index:02}.json"), "w") as file:
            json.dump(case, file)
            file.write("\n")
    print(f"{count} cases, {asked} of them the same in tflite-micro")


main()
