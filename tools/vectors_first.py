"""The cases of the first eleven operators, as tests/vectors began: TensorFlow's own converter makes the model and its random input.

TensorFlow Lite Micro is the oracle; where an operator's inputs are themselves computed (add, concat), the case is kept only if TFLite's
reference kernels give the same network output.
"""
import json, os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
from tensorflow.keras import layers as L
from tflite_micro.python.tflite_micro import runtime

pick = lambda *a: a[rng.integers(len(a))]
ACT = {"none": None, "relu": "relu", "relu6": tf.nn.relu6}

def spatial():
    return int(rng.integers(3, 14)), int(rng.integers(3, 14)), int(pick(1, 2, 3, 4, 5, 7, 8, 12, 16, 17))

def conv2d():
    h, w, c = spatial(); k = (int(rng.integers(1, min(5, h) + 1)), int(rng.integers(1, min(5, w) + 1)))
    s = pick((1, 1), (2, 2), (1, 2), (2, 1)); act = pick(*ACT); pad = pick("valid", "same")
    d = (1, 1)
    if s == (1, 1) and k[0] <= (h - 1) // 2 + 1 and k[1] <= (w - 1) // 2 + 1 and rng.random() < .25 and k != (1, 1):
        d = (2, 2)
    oc = int(pick(1, 2, 3, 4, 6, 8, 11, 16))
    x = L.Input((h, w, c), batch_size=1)
    y = L.Conv2D(oc, k, s, pad, dilation_rate=d, activation=ACT[act], bias_initializer="random_normal")(x)
    return x, y, dict(stride=s, padding=pad, dilation=d, activation=act)

def depthwise_conv2d():
    h, w, c = spatial(); k = int(rng.integers(1, min(5, h, w) + 1)); s = pick(1, 2); act = pick(*ACT); pad = pick("valid", "same")
    m = int(pick(1, 1, 1, 2, 3))
    x = L.Input((h, w, c), batch_size=1)
    y = L.DepthwiseConv2D(k, s, pad, depth_multiplier=m, activation=ACT[act], bias_initializer="random_normal")(x)
    return x, y, dict(stride=(s, s), padding=pad, dilation=(1, 1), depth_multiplier=m, activation=act)

def dense():
    n, m, act = int(rng.integers(1, 300)), int(rng.integers(1, 40)), pick("none", "relu")
    x = L.Input((n,), batch_size=1)
    return x, L.Dense(m, activation=ACT[act], bias_initializer="random_normal")(x), dict(activation=act)

def pool(cls):
    def make():
        h, w, c = spatial(); k = (int(rng.integers(1, min(4, h) + 1)), int(rng.integers(1, min(4, w) + 1))); pad = pick("valid", "same")
        s = pick(k, (1, 1), (2, 2))
        x = L.Input((h, w, c), batch_size=1)
        return x, cls(k, s, pad)(x), dict(kernel=k, stride=s, padding=pad, activation="none")
    return make

def add():
    h, w, c = spatial(); act = pick("none", "relu")
    x = L.Input((h, w, c), batch_size=1)
    a = L.Conv2D(c, 1)(x); b = L.Conv2D(c, 3, padding="same")(x)
    y = L.Add()([a, b])
    return x, (L.ReLU()(y) if act == "relu" else y), dict(activation=act)

def concat():
    h, w, c = spatial()
    x = L.Input((h, w, c), batch_size=1)
    return x, L.Concatenate()([L.Conv2D(c, 1)(x), L.Conv2D(int(pick(1, 3, 4)), 3, padding="same")(x)]), dict(axis=3)

def mean():
    h, w, c = spatial()
    x = L.Input((h, w, c), batch_size=1)
    return x, L.GlobalAveragePooling2D()(x), dict(axes=(1, 2), keep_dims=False)

def softmax():
    n = int(rng.integers(2, 40))
    x = L.Input((n,), batch_size=1)
    return x, L.Softmax()(x), dict(beta=1.0)

def logistic():
    n = int(rng.integers(1, 40))
    x = L.Input((n,), batch_size=1)
    return x, L.Activation("sigmoid")(x), dict()

def pad():
    h, w, c = spatial(); p = tuple((int(rng.integers(0, 3)), int(rng.integers(0, 3))) for _ in range(2))
    x = L.Input((h, w, c), batch_size=1)
    return x, L.ZeroPadding2D(p)(x), dict(paddings=((0, 0),) + p + ((0, 0),))

OPS = {"conv2d": ("CONV_2D", conv2d), "depthwise_conv2d": ("DEPTHWISE_CONV_2D", depthwise_conv2d), "dense": ("FULLY_CONNECTED", dense),
       "max_pool2d": ("MAX_POOL_2D", pool(L.MaxPooling2D)), "average_pool2d": ("AVERAGE_POOL_2D", pool(L.AveragePooling2D)),
       "add": ("ADD", add), "concat": ("CONCATENATION", concat), "mean": ("MEAN", mean), "softmax": ("SOFTMAX", softmax),
       "logistic": ("LOGISTIC", logistic), "pad": ("PAD", pad)}

def tensor(it, i):
    d = it.get_tensor_details() if not hasattr(it, "_d") else it._d
    it._d = d
    d = next(t for t in d if t["index"] == i)
    q = d["quantization_parameters"]; v = it.get_tensor(i)
    r = dict(shape=[int(n) for n in v.shape], dtype=str(v.dtype), data=[int(n) for n in v.ravel()])
    if len(q["scales"]):
        # float32 scales, printed so that reading them back as f64 and rounding to f32 is exact
        r["scale"] = [float(s) for s in q["scales"]]; r["zero_point"] = [int(z) for z in q["zero_points"]]
        if len(q["scales"]) > 1: r["quantized_axis"] = int(q["quantized_dimension"])
    return r

def make_all(out_dir, seed, per_op):
    """Writes `per_op` cases of each of the eleven operators, all from one generator."""
    global rng
    rng = np.random.default_rng(seed)
    tf.keras.utils.set_random_seed(seed)
    made = {}; differs = {}
    for name, (tfl_op, make) in OPS.items():
        n = 0; tries = 0
        while n < per_op and tries < per_op * 6:
            tries += 1
            tf.keras.backend.clear_session()
            x, y, attrs = make()
            model = tf.keras.Model(x, y)
            shape = [1] + [int(s) for s in x.shape[1:]]
            spread = float(pick(.5, 1., 4.)); shift = float(pick(-1., 0., 2.)) * (0 if name in ("conv2d",) and rng.random() < .3 else 1)
            if name in ("softmax", "logistic"): spread, shift = float(pick(1., 4., 8.)), 0.
            sample = lambda: (rng.standard_normal(shape) * spread + shift).astype(np.float32)
            conv = tf.lite.TFLiteConverter.from_keras_model(model)
            conv.optimizations = [tf.lite.Optimize.DEFAULT]
            conv.representative_dataset = lambda: ([sample()] for _ in range(24))
            conv.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            conv.inference_input_type = conv.inference_output_type = tf.int8
            try:
                blob = conv.convert()
            except Exception as e:
                continue
            it = tf.lite.Interpreter(model_content=blob, experimental_preserve_all_tensors=True,
                                     experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF)
            it.allocate_tensors()
            inp = it.get_input_details()[0]
            it.set_tensor(inp["index"], rng.integers(-128, 128, shape).astype(np.int8)); it.invoke()
            ops = [o for o in it._get_ops_details() if o["op_name"] == tfl_op]
            if not ops: continue
            op = ops[-1]
            ins = [int(i) for i in op["inputs"] if i >= 0]
            case = dict(op=name, source=f"TensorFlow {tf.__version__} converter, tflite-micro interpreter, seed {seed}", attrs=attrs)
            if name in ("conv2d", "depthwise_conv2d", "dense"):
                case["input"], case["weights"] = tensor(it, ins[0]), tensor(it, ins[1])
                if len(ins) > 2: case["bias"] = tensor(it, ins[2])
            elif name in ("add", "concat"):
                case["inputs"] = [tensor(it, i) for i in ins]
            else:
                case["input"] = tensor(it, ins[0])
            case["output"] = tensor(it, int(op["outputs"][0]))
            micro = runtime.Interpreter.from_bytes(blob)
            micro.set_input(it.get_tensor(inp["index"]), 0); micro.invoke()
            a, b = micro.get_output(0), it.get_tensor(it.get_output_details()[0]["index"])
            if not (a == b).all():
                differs[name] = differs.get(name, 0) + 1
                if len(it._get_ops_details()) > 1: continue
                case["output"]["data"] = [int(v) for v in a.ravel()]
            with open(f"{out_dir}/{name}_{n:02d}.json", "w") as f: json.dump(case, f)
            n += 1
        made[name] = n
    print(made, 'cases where TFLite reference differs from tflite-micro:', differs)
