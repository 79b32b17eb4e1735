"""The int8 cases after the first eleven operators: made by TensorFlow's converter and cut out of its model, or built by hand.

Each maker returns a `Made`: a model of one operator (or PAD and CONV_2D), its input tensors, and the case's fields. The expected output
is computed elsewhere, by both interpreters, for random bytes.
"""
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers as L

from tflite_model import ACTIVATIONS, PADDINGS, Op, T, build, isolate

ACT = {"none": None, "relu": "relu", "relu6": tf.nn.relu6}


@dataclass
class Made:
    """A model with the case that describes it. `rest` holds the tensors that are not fed (weights, bias)."""

    op: str
    attrs: dict
    blob: bytes
    inputs: list
    output: T
    origin: str
    rest: dict = field(default_factory=dict)
    expected: object = None


def convert(rng, inputs, y, spread, shift):
    """The int8 model of a Keras graph, calibrated with 24 random samples."""
    model = tf.keras.Model(inputs, y)
    spreads = spread if isinstance(spread, list) else [spread] * len(inputs)
    sample = lambda: [(rng.standard_normal([1] + list(i.shape[1:])) * k + shift).astype(np.float32) for i, k in zip(inputs, spreads)]
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (sample() for _ in range(24))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def pick(rng, *choices):
    return choices[int(rng.integers(len(choices)))]


def picture(rng):
    return int(rng.integers(4, 10)), int(rng.integers(4, 10)), int(pick(rng, 1, 2, 3, 4, 5, 8))


def from_keras(rng, inputs, y, ops, op, attrs, spread=None, shift=None):
    spread = float(pick(rng, .5, 1., 4.)) if spread is None else spread
    shift = float(pick(rng, -1., 0., 2.)) if shift is None else shift
    found = isolate(convert(rng, inputs, y, spread, shift), ops)
    if found is None:
        return None
    blob, parts = found
    fed = [t for t in parts[0][0] if t.data is None]
    options = parts[-1][2]
    if "activation" in attrs:
        # The converter does not fuse every activation: what it left for a later operator is not of this case.
        attrs["activation"] = {v: k for k, v in ACTIVATIONS.items()}[options.fusedActivationFunction]
    if "dilation" in attrs:
        made_dilation = [options.dilationHFactor, options.dilationWFactor]
        if made_dilation[-len(attrs["dilation"]):] != list(attrs["dilation"]):
            return None
    return Made(op, attrs, blob, fed, parts[-1][1], f"TensorFlow {tf.__version__} converter"), parts


def weights(made, parts):
    tensors = parts[-1][0]
    made.rest["weights"] = tensors[1]
    if len(tensors) > 2:
        made.rest["bias"] = tensors[2]
    return made


def conv1d(rng):
    n, c, o = int(rng.integers(6, 40)), int(pick(rng, 1, 2, 3, 5, 8)), int(pick(rng, 1, 3, 4, 7, 8))
    k, s, pad, act = int(rng.integers(1, 6)), int(pick(rng, 1, 1, 2, 3)), pick(rng, "valid", "same"), pick(rng, *ACT)
    x = L.Input((n, c), batch_size=1)
    y = L.Conv1D(o, k, s, pad, activation=ACT[act], bias_initializer="random_normal")(x)
    found = from_keras(rng, [x], y, ["CONV_2D"], "conv1d", dict(kernel=[k], stride=[s], padding=pad, dilation=[1], activation=act))
    if found is None:
        return None
    made, parts = found
    # The converter writes a picture of height 1: the case has no height.
    return without_height(weights(made, parts))


def conv1d_dilated(rng):
    """Keras' dilated Conv1D does not become one operator: built by hand, one weight scale a channel."""
    n, c, o = int(rng.integers(9, 40)), int(pick(rng, 1, 2, 3, 5)), int(pick(rng, 1, 3, 4, 8))
    k, d, pad, act = int(rng.integers(2, 5)), int(pick(rng, 2, 2, 3)), pick(rng, "valid", "same"), pick(rng, *ACT)
    reach = (k - 1) * d + 1
    m = n if pad == "same" else n - reach + 1
    if m < 1:
        return None
    si, sw = scale(rng, .01, .05), [scale(rng, .002, .01) for _ in range(o)]
    so = float(np.float32(si * max(sw) * 5500 * np.sqrt(k * c) / 70))
    t = dict(x=T((1, 1, n, c), scale=[si], zero_point=[int(rng.integers(-128, 128))]),
             w=T((o, 1, k, c), scale=sw, zero_point=[0] * o, data=rng.integers(-127, 128, (o, 1, k, c))),
             b=T((o,), "int32", [float(np.float32(si * s)) for s in sw], [0] * o, rng.integers(-6000, 6000, o)),
             y=T((1, 1, m, o), scale=[so], zero_point=[int(rng.integers(-100, 100))]))
    options = dict(padding=PADDINGS[pad], strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=d, fusedActivationFunction=ACTIVATIONS[act])
    blob = build(t, [Op("CONV_2D", ["x", "w", "b"], ["y"], options, 3)], ["x"], ["y"])
    attrs = dict(kernel=[k], stride=[1], padding=pad, dilation=[d], activation=act)
    return without_height(Made("conv1d", attrs, blob, [t["x"]], t["y"], HAND, dict(weights=t["w"], bias=t["b"])))


def without_height(made):
    flat = lambda t: T((t.shape[0],) + tuple(t.shape[2:]), t.dtype, t.scale, t.zero_point, t.data, t.axis)
    assert made.inputs[0].shape[1] == 1 and made.rest["weights"].shape[1] == 1
    made.inputs, made.output, made.rest["weights"] = [flat(made.inputs[0])], flat(made.output), flat(made.rest["weights"])
    return made


def conv2d_groups(rng):
    h, w, _ = picture(rng)
    g = int(pick(rng, 2, 2, 3, 4))
    c, o = g * int(rng.integers(1, 4)), g * int(rng.integers(1, 4))
    k, pad, act, s = (int(rng.integers(1, 4)), int(rng.integers(1, 4))), pick(rng, "valid", "same"), pick(rng, *ACT), pick(rng, (1, 1), (2, 2), (1, 2))
    x = L.Input((h, w, c), batch_size=1)
    y = L.Conv2D(o, k, s, pad, groups=g, activation=ACT[act], bias_initializer="random_normal")(x)
    found = from_keras(rng, [x], y, ["CONV_2D"], "conv2d", dict(stride=s, padding=pad, dilation=(1, 1), activation=act, groups=g))
    # One input channel a group is a depthwise convolution to the converter; those have cases of their own.
    return found and weights(*found)


def conv2d_padding(rng):
    h, w, c = picture(rng)
    k, act, s = (int(rng.integers(1, 5)), int(rng.integers(1, 5))), pick(rng, *ACT), pick(rng, (1, 1), (2, 2), (2, 1))
    t, l, b, r = (int(rng.integers(0, 4)) for _ in range(4))
    x = L.Input((h, w, c), batch_size=1)
    y = L.Conv2D(int(pick(rng, 1, 3, 4, 8)), k, s, "valid", activation=ACT[act], bias_initializer="random_normal")(L.ZeroPadding2D(((t, b), (l, r)))(x))
    found = from_keras(rng, [x], y, ["PAD", "CONV_2D"], "conv2d", dict(stride=s, padding=(t, l, b, r), dilation=(1, 1), activation=act))
    if found is None:
        return None
    made, parts = found
    before, after = parts[0][0][0], parts[0][1]
    # Only then does PAD write the zero point, which the convolution takes as no contribution.
    assert before.scale == after.scale and before.zero_point == after.zero_point
    made.origin += ", its PAD and CONV_2D pair as one convolution"
    return weights(made, parts)


def dense(rng, bias):
    n, m, act = int(rng.integers(1, 80)), int(rng.integers(2, 24)), pick(rng, "none", "relu", "relu6")
    x = L.Input((n,), batch_size=1)
    y = L.Dense(m, activation=ACT[act], use_bias=bias, bias_initializer="random_normal")(x)
    found = from_keras(rng, [x], y, ["FULLY_CONNECTED"], "dense", dict(activation=act))
    return found and weights(*found)


def dense_per_channel(rng):
    made = dense(rng, True)
    assert made is None or len(made.rest["weights"].scale) > 1
    return made


def dense_no_bias(rng):
    return dense(rng, False)


def dense_per_tensor(rng):
    n, m, act = int(rng.integers(1, 80)), int(rng.integers(2, 24)), pick(rng, "none", "relu", "relu6")
    si, sw = scale(rng, .01, .05), scale(rng, .002, .01)
    so = float(np.float32(si * sw * 127 * 40 * np.sqrt(n) / 100))
    t = dict(x=T((1, n), scale=[si], zero_point=[int(rng.integers(-128, 128))]),
             w=T((m, n), scale=[sw], zero_point=[0], data=rng.integers(-127, 128, (m, n))),
             b=T((m,), "int32", [float(np.float32(si * sw))], [0], rng.integers(-20000, 20000, m)),
             y=T((1, m), scale=[so], zero_point=[int(rng.integers(-100, 100))]))
    blob = build(t, [Op("FULLY_CONNECTED", ["x", "w", "b"], ["y"], dict(fusedActivationFunction=ACTIVATIONS[act]), 4)], ["x"], ["y"])
    return Made("dense", dict(activation=act), blob, [t["x"]], t["y"], HAND, dict(weights=t["w"], bias=t["b"]))


def ties(rng, name, op, dtype):
    """Sums next to the middle between two outputs, where one rounding and two roundings part (see README.md): all in the bias."""
    n = 240
    si, sw = (.125, .25) if rng.random() < .35 else (scale(rng, .01, .05), scale(rng, .002, .02))
    m = 2. ** -int(rng.integers(4, 10)) if si == .125 else float(np.exp(rng.uniform(np.log(1e-3), np.log(.1))))
    so = float(np.float32(si * sw / m))
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    zx, zw, zy = (int(rng.integers(-9, 9)), 0, int(rng.integers(-9, 9))) if dtype == "int8" else tuple(int(v) for v in rng.integers(90, 160, 3))
    m = si * sw / so
    sums = np.round((rng.integers(low - zy, high - zy, n) + .5) / m).astype(np.int64) + rng.integers(-1, 2, n)
    conv = name == "CONV_2D"
    one = (1, 1, 1, 1) if conv else (1, 1)
    t = dict(x=T(one, dtype, [si], [zx]), w=T((n,) + one[1:], dtype, [sw], [zw], np.full((n,) + one[1:], zw)),
             b=T((n,), "int32", [float(np.float32(np.float32(si) * np.float32(sw)))], [0], sums), y=T(one[:-1] + (n,), dtype, [so], [zy]))
    options = dict(padding=PADDINGS["valid"], strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1) if conv else {}
    blob = build(t, [Op(name, ["x", "w", "b"], ["y"], options, 3 if dtype == "int8" else 1)], ["x"], ["y"])
    attrs = dict(stride=(1, 1), padding="valid", dilation=(1, 1), activation="none") if conv else dict(activation="none")
    return Made(op, attrs, blob, [t["x"]], t["y"], HAND + ", sums next to ties", dict(weights=t["w"], bias=t["b"]))


def reduced(rng, layer, ops, op, keep):
    x = L.Input(picture(rng), batch_size=1)
    found = from_keras(rng, [x], layer(keepdims=keep)(x), ops, op, dict(axes=(1, 2), keep_dims=keep))
    return found and found[0]


def reduce_max(rng):
    return reduced(rng, L.GlobalMaxPooling2D, ["REDUCE_MAX"], "reduce_max", bool(rng.integers(2)))


def mean_keep_dims(rng):
    return reduced(rng, L.GlobalAveragePooling2D, ["MEAN"], "mean", True)


def mean_same_scale(rng):
    """Equal input and output parameters, or a factor above 1: what converters of other years write."""
    h, w, c = pick(rng, (1, 1), (2, 3), (7, 7), (8, 8), (4, 16), (5, 5)) + (int(rng.integers(1, 9)),)
    s, z, keep = scale(rng, .01, .1), int(rng.integers(-128, 128)), bool(rng.integers(2))
    so, zo = pick(rng, (s, z), (s, z), (float(np.float32(s / 3.7)), int(rng.integers(-60, 60))), (float(np.float32(s * 2)), z))
    t = dict(x=T((1, h, w, c), scale=[s], zero_point=[z]), axes=T((2,), "int32", data=np.array([1, 2])),
             y=T((1, 1, 1, c) if keep else (1, c), scale=[so], zero_point=[zo]))
    blob = build(t, [Op("MEAN", ["x", "axes"], ["y"], dict(keepDims=keep), 2)], ["x"], ["y"])
    return Made("mean", dict(axes=(1, 2), keep_dims=keep), blob, [t["x"]], t["y"], HAND)


def two_inputs(rng, layer, ops, op):
    shape, act = picture(rng), pick(rng, "none", "relu", "relu6")
    a, b = L.Input(shape, batch_size=1), L.Input(shape, batch_size=1)
    y = layer()([a, b])
    y = y if act == "none" else L.Activation(ACT[act])(y)
    # The two inputs get scales that differ, as the two ends of a residual do.
    spread = [float(pick(rng, .5, 1., 4.)), float(pick(rng, .3, 1.3, 2.5))]
    found = from_keras(rng, [a, b], y, ops, op, dict(activation=act), spread)
    return found and found[0]


def mul(rng):
    return two_inputs(rng, L.Multiply, ["MUL"], "mul")


def sub(rng):
    return two_inputs(rng, L.Subtract, ["SUB"], "sub")


def broadcast(rng, name, op):
    """A picture and one value a channel: the gate of squeeze and excite, or a bias that was not folded."""
    h, w, c = picture(rng)
    act = pick(rng, "none", "relu", "relu6")
    sa, sb = scale(rng, .01, .1), scale(rng, .002, .05)
    so = float(np.float32(sa * sb * 90)) if op == "mul" else float(np.float32(max(sa, sb) * 1.3))
    z = lambda: [int(rng.integers(-128, 128))]
    t = dict(a=T((1, h, w, c), scale=[sa], zero_point=z()), b=T((1, 1, 1, c), scale=[sb], zero_point=z()), y=T((1, h, w, c), scale=[so], zero_point=z()))
    order = ["a", "b"] if rng.random() < .7 else ["b", "a"]
    options = dict(fusedActivationFunction=ACTIVATIONS[act])
    blob = build(t, [Op(name, order, ["y"], options, 2)], order, ["y"])
    return Made(op, dict(activation=act), blob, [t[n] for n in order], t["y"], HAND)


def mul_broadcast(rng):
    return broadcast(rng, "MUL", "mul")


def add_broadcast(rng):
    return broadcast(rng, "ADD", "add")


def concat_many(rng):
    h, w, _ = picture(rng)
    inputs = [L.Input((h, w, int(pick(rng, 1, 2, 3, 5))), batch_size=1) for _ in range(int(pick(rng, 3, 4)))]
    found = from_keras(rng, inputs, L.Concatenate()(inputs), ["CONCATENATION"], "concat", dict(axis=3))
    return found and found[0]


def softmax_rows(rng):
    h, w, c = int(rng.integers(1, 6)), int(rng.integers(1, 6)), int(rng.integers(2, 24))
    x = L.Input((h, w, c), batch_size=1)
    found = from_keras(rng, [x], L.Softmax()(x), ["SOFTMAX"], "softmax", dict(beta=1.0), float(pick(rng, 1., 4., 8.)), 0.)
    return found and found[0]


HAND = "parameters chosen at random"


def scale(rng, low, high):
    return float(np.float32(np.exp(rng.uniform(np.log(low), np.log(high)))))


def unary(name, op, layer, fixed=None, same=False, alpha=False, version=1):
    """An operator on single values: half of the cases by the converter, half with parameters of our own, every byte value once."""
    def make(rng):
        attrs, options = {}, {}
        if alpha:
            attrs["alpha"] = options["alpha"] = float(np.float32(pick(rng, .01, .1, .2, .3, float(rng.random()))))
        if layer is not None and rng.random() < .5:
            shape = picture(rng)
            x = L.Input(shape, batch_size=1)
            y = (layer(negative_slope=attrs["alpha"]) if alpha else layer())(x)
            found = from_keras(rng, [x], y, [name], op, attrs, float(pick(rng, 1., 2., 5.)), float(pick(rng, -1., 0., 1.)))
            return found and found[0]
        s, z = scale(rng, .002, .5), int(rng.integers(-128, 128))
        so, zo = fixed or ((s, z) if same else (float(np.float32(s * rng.uniform(.3, 2.5))), int(rng.integers(-128, 128))))
        t = dict(x=T((1, 256), scale=[s], zero_point=[z]), y=T((1, 256), scale=[so], zero_point=[zo]))
        made = Made(op, attrs, build(t, [Op(name, ["x"], ["y"], options, version)], ["x"], ["y"]), [t["x"]], t["y"], HAND)
        made.fixed = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
        return made
    return make


def min_pool2d(rng):
    """No operator of TFLite: min(q) = -1 - max(-1 - q), so MAX_POOL_2D on the mirrored bytes is the oracle."""
    h, w, c = picture(rng)
    k, pad = (int(rng.integers(1, min(4, h) + 1)), int(rng.integers(1, min(4, w) + 1))), pick(rng, "valid", "same")
    s = pick(rng, k, (1, 1), (2, 2))
    size = (lambda n, k, s: -(-n // s)) if pad == "same" else (lambda n, k, s: (n - k) // s + 1)
    sc, z = [scale(rng, .01, .1)], [int(rng.integers(-128, 128))]
    t = dict(x=T((1, h, w, c), scale=sc, zero_point=z), y=T((1, size(h, k[0], s[0]), size(w, k[1], s[1]), c), scale=sc, zero_point=z))
    options = dict(padding=0 if pad == "same" else 1, strideH=s[0], strideW=s[1], filterHeight=k[0], filterWidth=k[1])
    blob = build(t, [Op("MAX_POOL_2D", ["x"], ["y"], options, 2)], ["x"], ["y"])
    made = Made("min_pool2d", dict(kernel=k, stride=s, padding=pad, activation="none"), blob, [t["x"]], t["y"],
                HAND + ", min(q) = -1 - max(-1 - q) with MAX_POOL_2D")
    made.mirrored = True
    return made


MAKERS = {
    "conv1d": conv1d, "conv1d_dilated": conv1d_dilated, "conv2d_groups": conv2d_groups, "conv2d_padding": conv2d_padding, "dense_per_channel": dense_per_channel,
    "dense_per_tensor": dense_per_tensor, "dense_no_bias": dense_no_bias, "reduce_max": reduce_max, "mean_keep_dims": mean_keep_dims,
    "mean_same_scale": mean_same_scale, "conv2d_ties": lambda rng: ties(rng, "CONV_2D", "conv2d", "int8"),
    "dense_ties": lambda rng: ties(rng, "FULLY_CONNECTED", "dense", "int8"), "mul": mul, "mul_broadcast": mul_broadcast, "add_broadcast": add_broadcast, "sub": sub,
    "min_pool2d": min_pool2d, "concat_many": concat_many, "softmax_rows": softmax_rows,
    "relu": unary("RELU", "relu", L.ReLU, version=2), "relu6": unary("RELU6", "relu6", None, same=True, version=2),
    "leaky_relu": unary("LEAKY_RELU", "leaky_relu", L.LeakyReLU, alpha=True, version=2),
    "logistic_all": unary("LOGISTIC", "logistic", None, fixed=(1 / 256, -128), version=2),
    "tanh": unary("TANH", "tanh", lambda: L.Activation("tanh"), fixed=(1 / 128, 0), version=2),
    "hard_swish": unary("HARD_SWISH", "hard_swish", lambda: L.Lambda(lambda x: x * tf.nn.relu6(x + 3.) * (1 / 6))),
    "quantize": unary("QUANTIZE", "quantize", None, version=2),
}
