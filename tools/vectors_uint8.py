"""The uint8 cases (the scheme of 2018: asymmetric weights with a zero point, everything per tensor), built by hand."""
import numpy as np

from tflite_model import ACTIVATIONS, PADDINGS, Op, T, build
from vectors_int8 import HAND, Made, pick, picture, scale, ties

U = "uint8"


def zero(rng):
    return [int(pick(rng, 0, 255, *[int(n) for n in rng.integers(1, 255, 6)]))]


def size(n, k, s, pad):
    return -(-n // s) if pad == "same" else (n - k) // s + 1


def conv(rng, name, op):
    h, w, c = picture(rng)
    k, s, pad, act = (int(rng.integers(1, 4)), int(rng.integers(1, 4))), pick(rng, (1, 1), (2, 2)), pick(rng, "valid", "same"), pick(rng, "none", "relu", "relu6")
    m = int(pick(rng, 1, 1, 2))
    o = c * m if name == "DEPTHWISE_CONV_2D" else int(pick(rng, 1, 3, 4, 8))
    shape, fan = ((1,) + k + (o,), k[0] * k[1]) if name == "DEPTHWISE_CONV_2D" else ((o,) + k + (c,), k[0] * k[1] * c)
    si, sw = scale(rng, .005, .05), scale(rng, .002, .02)
    # A product near a third of the range, so that few outputs saturate.
    so = float(np.float32(si * sw * 5500 * np.sqrt(fan) / 70))
    t = dict(x=T((1, h, w, c), U, [si], zero(rng)), w=T(shape, U, [sw], [int(rng.integers(60, 200))], rng.integers(0, 256, shape)),
             b=T((o,), "int32", [float(np.float32(np.float32(si) * np.float32(sw)))], [0], rng.integers(-6000, 6000, o)),
             y=T((1, size(h, k[0], s[0], pad), size(w, k[1], s[1], pad), o), U, [so], [int(rng.integers(20, 150))]))
    options = dict(padding=PADDINGS[pad], strideH=s[0], strideW=s[1], dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=ACTIVATIONS[act])
    attrs = dict(stride=s, padding=pad, dilation=(1, 1), activation=act)
    if name == "DEPTHWISE_CONV_2D":
        options["depthMultiplier"] = attrs["depth_multiplier"] = m
    blob = build(t, [Op(name, ["x", "w", "b"], ["y"], options)], ["x"], ["y"])
    return Made(op, attrs, blob, [t["x"]], t["y"], HAND, dict(weights=t["w"], bias=t["b"]))


def dense(rng):
    n, m, act = int(rng.integers(4, 80)), int(rng.integers(2, 24)), pick(rng, "none", "relu", "relu6")
    si, sw = scale(rng, .005, .05), scale(rng, .002, .02)
    so = float(np.float32(si * sw * 5500 * np.sqrt(n) / 70))
    t = dict(x=T((1, n), U, [si], zero(rng)), w=T((m, n), U, [sw], [int(rng.integers(60, 200))], rng.integers(0, 256, (m, n))),
             b=T((m,), "int32", [float(np.float32(np.float32(si) * np.float32(sw)))], [0], rng.integers(-6000, 6000, m)),
             y=T((1, m), U, [so], [int(rng.integers(20, 150))]))
    blob = build(t, [Op("FULLY_CONNECTED", ["x", "w", "b"], ["y"], dict(fusedActivationFunction=ACTIVATIONS[act]))], ["x"], ["y"])
    return Made("dense", dict(activation=act), blob, [t["x"]], t["y"], HAND, dict(weights=t["w"], bias=t["b"]))


def pool(rng, name, op):
    h, w, c = picture(rng)
    k, pad = (int(rng.integers(1, min(4, h) + 1)), int(rng.integers(1, min(4, w) + 1))), pick(rng, "valid", "same")
    s, act = pick(rng, k, (1, 1), (2, 2)), pick(rng, "none", "none", "relu", "relu6")
    sc, z = [scale(rng, .01, .1)], zero(rng)
    t = dict(x=T((1, h, w, c), U, sc, z), y=T((1, size(h, k[0], s[0], pad), size(w, k[1], s[1], pad), c), U, sc, z))
    options = dict(padding=PADDINGS[pad], strideH=s[0], strideW=s[1], filterHeight=k[0], filterWidth=k[1], fusedActivationFunction=ACTIVATIONS[act])
    blob = build(t, [Op(name, ["x"], ["y"], options)], ["x"], ["y"])
    return Made(op, dict(kernel=k, stride=s, padding=pad, activation=act), blob, [t["x"]], t["y"], HAND)


def add(rng):
    shape, act = (1,) + picture(rng), pick(rng, "none", "relu", "relu6")
    sa, sb = scale(rng, .01, .1), scale(rng, .01, .1)
    t = dict(a=T(shape, U, [sa], zero(rng)), b=T(shape, U, [sb], zero(rng)), y=T(shape, U, [float(np.float32((sa + sb) * .8))], zero(rng)))
    blob = build(t, [Op("ADD", ["a", "b"], ["y"], dict(fusedActivationFunction=ACTIVATIONS[act]))], ["a", "b"], ["y"])
    return Made("add", dict(activation=act), blob, [t["a"], t["b"]], t["y"], HAND)


def concat(rng):
    """Inputs with scales of their own: what TFLite rescales for uint8 only."""
    h, w, _ = picture(rng)
    so, zo = scale(rng, .01, .1), zero(rng)
    t = {}
    for i in range(int(pick(rng, 2, 3, 4))):
        same = rng.random() < .25
        t[f"x{i}"] = T((1, h, w, int(pick(rng, 1, 2, 3))), U, [so if same else float(np.float32(so * rng.uniform(.2, 1.5)))], zo if same else zero(rng))
    names = list(t)
    t["y"] = T((1, h, w, sum(x.shape[3] for x in t.values())), U, [so], zo)
    blob = build(t, [Op("CONCATENATION", names, ["y"], dict(axis=3))], names, ["y"])
    return Made("concat", dict(axis=3), blob, [t[n] for n in names], t["y"], HAND)


def softmax(rng):
    shape = pick(rng, (1, int(rng.integers(2, 60))), (1, 3, 4, int(rng.integers(2, 16))))
    t = dict(x=T(shape, U, [scale(rng, .01, .3)], zero(rng)), y=T(shape, U, [1 / 256], [0]))
    blob = build(t, [Op("SOFTMAX", ["x"], ["y"], dict(beta=1.0))], ["x"], ["y"])
    return Made("softmax", dict(beta=1.0), blob, [t["x"]], t["y"], HAND)


def logistic(rng):
    t = dict(x=T((1, 256), U, [scale(rng, .005, .2)], zero(rng)), y=T((1, 256), U, [1 / 256], [0]))
    made = Made("logistic", {}, build(t, [Op("LOGISTIC", ["x"], ["y"])], ["x"], ["y"]), [t["x"]], t["y"], HAND)
    made.fixed = np.arange(256, dtype=np.uint8).reshape(1, 256)
    return made


def mean(rng):
    h, w, c = picture(rng)
    s, z, keep = scale(rng, .01, .1), zero(rng), bool(rng.integers(2))
    so, zo = pick(rng, (s, z), (float(np.float32(s * rng.uniform(.2, 1.2))), zero(rng)))
    t = dict(x=T((1, h, w, c), U, [s], z), axes=T((2,), "int32", data=np.array([1, 2])), y=T((1, 1, 1, c) if keep else (1, c), U, [so], zo))
    blob = build(t, [Op("MEAN", ["x", "axes"], ["y"], dict(keepDims=keep))], ["x"], ["y"])
    return Made("mean", dict(axes=(1, 2), keep_dims=keep), blob, [t["x"]], t["y"], HAND)


def conv_groups(rng):
    h, w, _ = picture(rng)
    g = int(pick(rng, 2, 2, 3, 4))
    c, o = g * int(rng.integers(2, 4)), g * int(rng.integers(1, 4))
    k, s, pad, act = (int(rng.integers(1, 4)), int(rng.integers(1, 4))), pick(rng, (1, 1), (2, 2)), pick(rng, "valid", "same"), pick(rng, "none", "relu", "relu6")
    shape, fan = (o,) + k + (c // g,), k[0] * k[1] * c // g
    si, sw = scale(rng, .005, .05), scale(rng, .002, .02)
    so = float(np.float32(si * sw * 5500 * np.sqrt(fan) / 70))
    t = dict(x=T((1, h, w, c), U, [si], zero(rng)), w=T(shape, U, [sw], [int(rng.integers(60, 200))], rng.integers(0, 256, shape)),
             b=T((o,), "int32", [float(np.float32(np.float32(si) * np.float32(sw)))], [0], rng.integers(-6000, 6000, o)),
             y=T((1, size(h, k[0], s[0], pad), size(w, k[1], s[1], pad), o), U, [so], [int(rng.integers(20, 150))]))
    options = dict(padding=PADDINGS[pad], strideH=s[0], strideW=s[1], dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=ACTIVATIONS[act])
    blob = build(t, [Op("CONV_2D", ["x", "w", "b"], ["y"], options)], ["x"], ["y"])
    attrs = dict(stride=s, padding=pad, dilation=(1, 1), activation=act, groups=g)
    return Made("conv2d", attrs, blob, [t["x"]], t["y"], HAND, dict(weights=t["w"], bias=t["b"]))


def mul(rng):
    h, w, c = picture(rng)
    act, spread = pick(rng, "none", "relu", "relu6"), bool(rng.random() < .4)
    sa, sb = scale(rng, .01, .1), scale(rng, .002, .05)
    t = dict(a=T((1, h, w, c), U, [sa], zero(rng)), b=T((1, 1, 1, c) if spread else (1, h, w, c), U, [sb], zero(rng)),
             y=T((1, h, w, c), U, [float(np.float32(sa * sb * 90))], zero(rng)))
    order = ["b", "a"] if spread and rng.random() < .3 else ["a", "b"]
    blob = build(t, [Op("MUL", order, ["y"], dict(fusedActivationFunction=ACTIVATIONS[act]))], order, ["y"])
    return Made("mul", dict(activation=act), blob, [t[n] for n in order], t["y"], HAND)


def rounded(x, factor):
    """TFLite's MultiplyByQuantizedMultiplier, of an array."""
    fraction, shift = np.frexp(factor)
    product = (x.astype(np.int64) << max(shift, 0)) * int(np.floor(fraction * (1 << 31) + .5))
    high = np.trunc((product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))) / (1 << 31)).astype(np.int64)
    right = max(-shift, 0)
    return (high >> right) + ((high & ((1 << right) - 1)) > (((1 << right) - 1) >> 1) + (high < 0))


def mul_ties(rng):
    """Products next to the middle between two outputs: they tell a factor in single precision (TFLite) from one in double."""
    decimals = np.float32([.01, .02, .03, .05, .06, .07, .1, .15, .2, .25, .3])
    za, zb, zo = (int(rng.integers(0, 20)) for _ in range(3))
    a, b = (v.ravel() for v in np.meshgrid(np.arange(256), np.arange(256)))
    x = (a - za) * (b - zb)
    for _ in range(500):
        sa, sb = rng.choice(decimals, 2)
        so = np.float32(sa * sb * rng.choice([.5, .8, 1.25, 1.5, 2, 2.5, 4, 8, 16, 40]))
        single, double = (np.clip(rounded(x, f) + zo, 0, 255) for f in (np.float64(sa * sb / so), np.float64(sa) * np.float64(sb) / np.float64(so)))
        found = np.flatnonzero(single != double)
        if len(found) >= 8:
            break
    else:
        return None
    chosen = rng.choice(found, 48)
    chosen[40:] = rng.integers(0, len(x), 8)
    shape = (1, 4, 4, 3)
    t = dict(a=T(shape, U, [float(sa)], [za]), b=T(shape, U, [float(sb)], [zb]), y=T(shape, U, [float(so)], [zo]))
    made = Made("mul", dict(activation="none"), build(t, [Op("MUL", ["a", "b"], ["y"])], ["a", "b"], ["y"]), [t["a"], t["b"]], t["y"],
                HAND + ", products next to ties")
    made.fixed = [v[chosen].astype(np.uint8).reshape(shape) for v in (a, b)]
    return made


def pad(rng):
    h, w, c = picture(rng)
    sc, z = [scale(rng, .01, .1)], zero(rng)
    top, bottom, left, right = (int(rng.integers(0, 4)) for _ in range(4))
    paddings = [[0, 0], [top, bottom], [left, right], [0, 0]]
    t = dict(x=T((1, h, w, c), U, sc, z), p=T((4, 2), "int32", data=np.array(paddings)), y=T((1, h + top + bottom, w + left + right, c), U, sc, z))
    return Made("pad", dict(paddings=paddings), build(t, [Op("PAD", ["x", "p"], ["y"])], ["x"], ["y"]), [t["x"]], t["y"], HAND)


def reduce_max(rng):
    h, w, c = picture(rng)
    sc, z, keep = [scale(rng, .01, .1)], zero(rng), bool(rng.integers(2))
    t = dict(x=T((1, h, w, c), U, sc, z), axes=T((2,), "int32", data=np.array([1, 2])), y=T((1, 1, 1, c) if keep else (1, c), U, sc, z))
    blob = build(t, [Op("REDUCE_MAX", ["x", "axes"], ["y"], dict(keepDims=keep))], ["x"], ["y"])
    return Made("reduce_max", dict(axes=(1, 2), keep_dims=keep), blob, [t["x"]], t["y"], HAND)


def unary(name, op, alpha=False, fixed=None, decimal=False):
    """Every byte value once, input and output of scales of their own; half of the `decimal` ones of scales such as 0.1 and 6/255, whose quotient
    is short, so that values lie next to the middle between two outputs."""
    def make(rng):
        attrs = dict(alpha=float(np.float32(pick(rng, .01, .1, .3, float(rng.random()))))) if alpha else {}
        s = scale(rng, .004, .3)
        so, zo = fixed or (float(np.float32(s * rng.uniform(.3, 2.5))), zero(rng))
        if decimal and rng.random() < .5:
            s, so = (float(np.float32(v)) for v in pick(rng, (.1, 6 / 255), (.1, .04), (.05, .02), (.3, .08), (.1, .08), (.7, .4)))
        t = dict(x=T((1, 256), U, [s], zero(rng)), y=T((1, 256), U, [so], zo))
        made = Made(op, attrs, build(t, [Op(name, ["x"], ["y"], dict(attrs))], ["x"], ["y"]), [t["x"]], t["y"], HAND)
        made.fixed = np.arange(256, dtype=np.uint8).reshape(1, 256)
        return made
    return make


MAKERS = {
    "uint8_conv2d": lambda rng: conv(rng, "CONV_2D", "conv2d"), "uint8_depthwise_conv2d": lambda rng: conv(rng, "DEPTHWISE_CONV_2D", "depthwise_conv2d"),
    "uint8_dense": dense, "uint8_average_pool2d": lambda rng: pool(rng, "AVERAGE_POOL_2D", "average_pool2d"),
    "uint8_max_pool2d": lambda rng: pool(rng, "MAX_POOL_2D", "max_pool2d"), "uint8_add": add, "uint8_concat": concat,
    "uint8_softmax": softmax, "uint8_logistic": logistic, "uint8_mean": mean,
    "uint8_conv2d_groups": conv_groups, "uint8_mul": mul, "uint8_mul_ties": mul_ties, "uint8_pad": pad, "uint8_reduce_max": reduce_max, "uint8_relu": unary("RELU", "relu", decimal=True),
    "uint8_relu6": unary("RELU6", "relu6", decimal=True), "uint8_relu_n1_to_1": unary("RELU_N1_TO_1", "relu_n1_to_1", decimal=True),
    "uint8_leaky_relu": unary("LEAKY_RELU", "leaky_relu", alpha=True), "uint8_tanh": unary("TANH", "tanh", fixed=(1 / 128, [128])),
    "uint8_hard_swish": unary("HARD_SWISH", "hard_swish"), "uint8_quantize": unary("QUANTIZE", "quantize"),
    "uint8_conv2d_ties": lambda rng: ties(rng, "CONV_2D", "conv2d", U), "uint8_dense_ties": lambda rng: ties(rng, "FULLY_CONNECTED", "dense", U),
}
