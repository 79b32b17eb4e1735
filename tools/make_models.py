"""Makes the small whole networks of tests/models, each with a golden file: inputs and the outputs of two interpreters.

usage: make_models.py OUT_DIR SEED      (needs: pip install tensorflow-cpu tflite-micro)

Random weights: shapes to test with, no classifiers. Two int8 networks by TensorFlow's converter, whose operators stand in odd combinations,
and one uint8 network in the scheme of 2018, built by hand; there the expected output is that of TFLite's reference kernels.
"""
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np
import tensorflow as tf
from tensorflow.keras import layers as L

from tflite_model import ACTIVATIONS, PADDINGS, Op, T, build, run_micro, run_reference

CASES = 4


def hard_swish(x):
    return x * tf.nn.relu6(x + 3.) * (1 / 6)


def gated():
    """Padded stride-2 stem, depthwise with multiplier 2 and hard swish, leaky relu, residual, squeeze-and-excite gate, global max pool."""
    x = L.Input((13, 12, 3), batch_size=1)
    y = L.ZeroPadding2D(((0, 1), (0, 1)))(x)
    y = L.Conv2D(8, 3, 2, "valid", activation=tf.nn.relu6)(y)
    y = L.Lambda(hard_swish)(L.DepthwiseConv2D(3, 1, "same", depth_multiplier=2)(y))
    y = L.LeakyReLU(negative_slope=.2)(L.Conv2D(8, 1)(y))
    r = L.Conv2D(8, 3, padding="same", activation="relu")(y)
    y = L.ReLU()(L.Add()([y, L.Conv2D(8, 3, padding="same")(r)]))
    g = L.Dense(4, activation="relu")(L.GlobalAveragePooling2D()(y))
    g = L.Reshape((1, 1, 8))(L.Dense(8, activation="sigmoid")(g))
    y = L.GlobalMaxPooling2D()(L.Multiply()([y, g]))
    return x, L.Softmax()(L.Dense(6, kernel_initializer=tf.keras.initializers.RandomNormal(0, .3))(y))


def branches():
    """Four branches with both pools into one concat, a strided depthwise, tanh, reshape, dense per channel, a second head's add."""
    x = L.Input((12, 11, 1), batch_size=1)
    y = L.Conv2D(6, (3, 5), padding="same", activation="relu")(x)
    a = L.Conv2D(4, 1, activation="relu")(y)
    b = L.Conv2D(5, 3, padding="same", activation="relu")(L.Conv2D(3, 1, activation="relu")(y))
    c = L.Conv2D(3, 1)(L.MaxPooling2D(3, 1, "same")(y))
    d = L.AveragePooling2D(3, 1, "same")(y)
    y = L.Concatenate()([a, b, c, d])
    y = L.DepthwiseConv2D(3, 2, "same", activation=tf.nn.relu6)(y)
    y = L.MaxPooling2D(2, 2)(y)
    y = L.Activation("tanh")(L.Conv2D(4, 1)(y))
    y = L.Reshape((36,))(y)
    return x, L.Add()([L.Dense(7)(y), L.Dense(7)(L.Dense(5, activation="relu")(y))])


def pictures(rng, shape):
    """Blurred noise of varying contrast: neighbours resemble each other, as in a picture."""
    x = rng.standard_normal(shape)
    for axis in (1, 2):
        x = (x + np.roll(x, 1, axis) + np.roll(x, 2, axis)) / np.sqrt(3)
    return (x * rng.uniform(.3, 1.2) + rng.uniform(-.5, .5)).astype(np.float32)


def convert(rng, x, y):
    # Larger weights than Keras draws, and biases that are not zero: else all inputs give nearly one output.
    model = tf.keras.Model(x, y)
    for layer in model.layers:
        for kernel in layer.trainable_weights[:1]:
            kernel.assign(kernel * 1.8)
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, .3, layer.bias.shape).astype(np.float32))
    shape = [1] + list(x.shape[1:])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([pictures(rng, shape)] for _ in range(32))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def quantization(low, high):
    """Scale and zero point of uint8 for a range that is made to hold 0."""
    low, high = min(low, 0.), max(high, 0.)
    scale = float(np.float32((high - low) / 255))
    return scale, int(np.clip(round(-low / scale), 0, 255))


def uint8_mobile(rng):
    """The uint8 networks of 2018 in small: conv, depthwise and 1x1 conv pairs, average pool over all, 1x1 conv, reshape, softmax."""
    shape, layers = (1, 14, 14, 3), [("conv", 3, 2, 8), ("depthwise", 3, 1, 8), ("conv", 1, 1, 12), ("depthwise", 3, 2, 12), ("conv", 1, 1, 16)]
    s, z = 1 / 128, 128
    tensors, ops = {"input": T(shape, "uint8", [s], [z])}, []
    sample = [pictures(rng, shape) for _ in range(16)]
    values, last, last_scale = np.clip(np.concatenate(sample), -1, 1), "input", s

    def conv(name, kind, k, stride, c_out, activation):
        nonlocal values, last, last_scale
        n, h, w, c_in = values.shape
        depthwise = kind == "depthwise"
        fan = k * k * (1 if depthwise else c_in)
        weight = rng.normal(.1 / np.sqrt(fan), 1.6 / np.sqrt(fan), (k, k, c_in, 1 if depthwise else c_out)).astype(np.float32)
        ws, wz = quantization(float(weight.min()), float(weight.max()))
        wq = np.clip(np.round(weight / ws) + wz, 0, 255)
        bias = np.round(rng.normal(0, .3, c_out) / (last_scale * ws)).astype(np.int64)
        real = ((wq - wz) * ws).astype(np.float32)
        run = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
        values = run(values, real, [1, stride, stride, 1], "SAME").numpy() + (bias * last_scale * ws).astype(np.float32)
        values = np.clip(values, 0, 6) if activation == "relu6" else values
        os_, oz = quantization(float(values.min()), float(values.max()))
        laid = wq.reshape(1, k, k, c_out) if depthwise else wq.transpose(3, 0, 1, 2)
        tensors[name + "/weights"] = T(laid.shape, "uint8", [ws], [wz], laid)
        tensors[name + "/bias"] = T((c_out,), "int32", [float(np.float32(np.float32(last_scale) * np.float32(ws)))], [0], bias)
        tensors[name] = T((1,) + values.shape[1:], "uint8", [os_], [oz])
        options = dict(padding=PADDINGS["same"], strideH=stride, strideW=stride, dilationHFactor=1, dilationWFactor=1,
                       fusedActivationFunction=ACTIVATIONS[activation])
        if depthwise:
            options["depthMultiplier"] = 1
        ops.append(Op("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [last, name + "/weights", name + "/bias"], [name], options))
        last, last_scale = name, os_

    for i, (kind, k, stride, c_out) in enumerate(layers):
        conv(f"{kind}_{i}", kind, k, stride, c_out, "relu6")
    h, w = values.shape[1:3]
    values = values.mean((1, 2), keepdims=True)
    before = tensors[last]
    tensors["pool"] = T((1, 1, 1, values.shape[3]), "uint8", before.scale, before.zero_point)
    ops.append(Op("AVERAGE_POOL_2D", [last], ["pool"], dict(padding=PADDINGS["valid"], strideH=h, strideW=w, filterHeight=h, filterWidth=w)))
    last = "pool"
    conv("logits", "conv", 1, 1, 5, "none")
    logits = tensors["logits"]
    tensors["shape"] = T((2,), "int32", data=np.array([1, 5]))
    tensors["flat"] = T((1, 5), "uint8", logits.scale, logits.zero_point)
    tensors["probabilities"] = T((1, 5), "uint8", [1 / 256], [0])
    ops.append(Op("RESHAPE", ["logits", "shape"], ["flat"], dict(newShape=[1, 5])))
    ops.append(Op("SOFTMAX", ["flat"], ["probabilities"], dict(beta=1.0)))
    return build(tensors, ops, ["input"], ["probabilities"])


def golden(rng, name, blob, seed):
    it = tf.lite.Interpreter(model_content=blob)
    ends = []
    for d in (it.get_input_details()[0], it.get_output_details()[0]):
        scale, zero_point = d["quantization"]
        ends.append(dict(shape=[int(n) for n in d["shape"]], dtype=np.dtype(d["dtype"]).name, scale=float(scale), zero_point=int(zero_point)))
    info = np.iinfo(ends[0]["dtype"])
    cases = []
    for i in range(CASES):
        real = pictures(rng, ends[0]["shape"]) if i else rng.uniform(-2, 2, ends[0]["shape"])
        x = np.clip(np.round(real / ends[0]["scale"]) + ends[0]["zero_point"], info.min, info.max).astype(ends[0]["dtype"])
        case = dict(input=[int(v) for v in x.ravel()])
        if ends[0]["dtype"] == "int8":
            case["output_micro"] = [int(v) for v in run_micro(blob, [x])[0].ravel()]
        case["output_reference"] = [int(v) for v in run_reference(blob, [x])[0].ravel()]
        cases.append(case)
        print(name, case.get("output_micro"), case["output_reference"])
    source = f"TensorFlow {tf.__version__} BUILTIN_REF interpreter, seed {seed}"
    if ends[0]["dtype"] == "int8":
        source = "tflite-micro and " + source.replace("interpreter", "interpreters")
    return dict(source=source, model=f"{name}.tflite", input=ends[0], output=ends[1], cases=cases)


def main():
    out_dir, seed = sys.argv[1], int(sys.argv[2])
    os.makedirs(out_dir, exist_ok=True)
    for i, (name, make) in enumerate([("gated_int8", gated), ("branches_int8", branches), ("mobile_uint8", uint8_mobile)]):
        rng = np.random.default_rng([seed, i])
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(seed + i)
        blob = make(rng) if make is uint8_mobile else convert(rng, *make())
        with open(f"{out_dir}/{name}.tflite", "wb") as f:
            f.write(blob)
        with open(f"{out_dir}/{name}.golden.json", "w") as f:
            json.dump(golden(rng, name, blob, seed), f)


if __name__ == "__main__":
    main()
