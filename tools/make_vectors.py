"""Makes operator cases; the expected output is tflite-micro's (int8), or that of TFLite's reference kernels (uint8).

usage: make_vectors.py OUT_DIR SEED CASES_PER_OP [NAME...]      (needs: pip install tensorflow-cpu tflite-micro)

One JSON file a case. Without names: the eleven operators that tests/vectors began with, from one generator. With names (`all`, or some of
vectors_int8.MAKERS and vectors_uint8.MAKERS): those, each from a generator seeded with SEED and its name, so that adding one changes no other.
Prints where tflite-micro and TFLite's reference kernels differ.
"""
import json
import os
import sys
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np
import tensorflow as tf

import vectors_first
import vectors_int8
import vectors_uint8
from tflite_model import run_micro, run_reference


def random_bytes(rng, tensor):
    """Bytes over the whole range, or around a value: a saturated output tests little."""
    low, high = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
    if rng.random() < .6:
        return rng.integers(low, high + 1, tensor.shape).astype(tensor.dtype)
    values = rng.normal(rng.uniform(low * .5, high * .7), 25, tensor.shape)
    return np.clip(values, low, high).astype(tensor.dtype)


def run(rng, made, seed):
    """The case as its file has it, and how many values the two interpreters disagree on (None where only one can run it)."""
    inputs = [random_bytes(rng, t) for t in made.inputs]
    if hasattr(made, "fixed"):
        inputs = made.fixed if isinstance(made.fixed, list) else [made.fixed]
    fed = [-1 - x for x in inputs] if hasattr(made, "mirrored") else inputs
    if made.op == "conv1d":
        fed = [x[:, None] for x in fed]
    reference = run_reference(made.blob, fed)[0]
    if made.output.dtype == "uint8":
        expected, oracle, differing = reference, "TFLite reference kernels", None
    else:
        expected, oracle = run_micro(made.blob, fed)[0], "tflite-micro interpreter"
        differing = int((expected != reference).sum())
    if hasattr(made, "mirrored"):
        expected = -1 - expected
    case = dict(op=made.op, source=f"{made.origin}, {oracle}, seed {seed}", attrs=made.attrs)
    tensors = [t.json(x) for t, x in zip(made.inputs, inputs)]
    if made.op in ("add", "mul", "sub", "concat"):
        case["inputs"] = tensors
    else:
        case["input"] = tensors[0]
    case.update({name: t.json() for name, t in made.rest.items()})
    case["output"] = made.output.json(expected)
    assert expected.size == np.prod(made.output.shape)
    return case, differing


def make(out_dir, name, maker, seed, count):
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    made, differs, tries = 0, [], 0
    while made < count and tries < count * 10:
        tries += 1
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(int(rng.integers(1 << 31)))
        model = maker(rng)
        if model is None:
            continue
        case, differing = run(rng, model, seed)
        values = case["output"]["data"]
        text = json.dumps(case)
        # A case whose output is nearly one value proves little; a large one only slows the tests.
        if len(text) > 15000 or (len(values) > 8 and len(set(values)) < 4):
            continue
        if differing:
            differs.append(f"{name}_{made:02d}: {differing} of {len(values)}")
        with open(f"{out_dir}/{name}_{made:02d}.json", "w") as f:
            f.write(text)
        made += 1
    print(name, made, "cases;", f"TFLite's reference differs from tflite-micro in {differs}" if differs else "no difference", flush=True)


def main():
    out_dir, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.makedirs(out_dir, exist_ok=True)
    makers = vectors_int8.MAKERS | vectors_uint8.MAKERS
    names = sys.argv[4:]
    if not names:
        vectors_first.make_all(out_dir, seed, count)
    for name in (makers if names == ["all"] else names):
        make(out_dir, name, makers[name], seed, count)


if __name__ == "__main__":
    main()
