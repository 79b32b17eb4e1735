"""Builds a small .tflite by hand from TensorFlow's flatbuffer schema, and runs it in both interpreters.

A tensor is described by `T`; a model by a list of operators on named tensors. Nothing here chooses numbers: the callers do.
"""
import os
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tflite_micro.python.tflite_micro import runtime

TYPES = {"int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8, "int32": schema.TensorType.INT32}
ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 3}
PADDINGS = {"same": 0, "valid": 1}


@dataclass
class T:
    """A tensor: `data` None means that it is computed or fed. `scale` and `zero_point` have one value, or one a channel."""

    shape: tuple
    dtype: str = "int8"
    scale: list = field(default_factory=list)
    zero_point: list = field(default_factory=list)
    data: np.ndarray | None = None
    axis: int = 0

    def json(self, data=None):
        """The tensor as a case file has it. Scales are float32, printed so that reading them back as f64 is exact."""
        values = self.data if data is None else data
        r = dict(shape=[int(n) for n in self.shape], dtype=self.dtype, data=[int(v) for v in np.ravel(values)])
        if len(self.scale):
            r["scale"] = [float(np.float32(s)) for s in self.scale]
            r["zero_point"] = [int(z) for z in self.zero_point]
            if len(self.scale) > 1:
                r["quantized_axis"] = self.axis
        return r


@dataclass
class Op:
    """An operator: its TFLite name, the names of its tensors (None for an absent bias), and its options' fields."""

    name: str
    inputs: list
    outputs: list
    options: dict = field(default_factory=dict)
    version: int = 1


# The union member that carries an operator's options, where it is not the operator's own name in camel case.
OPTIONS = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "FULLY_CONNECTED": "FullyConnectedOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions", "ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions",
    "CONCATENATION": "ConcatenationOptions", "SOFTMAX": "SoftmaxOptions", "MEAN": "ReducerOptions", "REDUCE_MAX": "ReducerOptions",
    "LEAKY_RELU": "LeakyReluOptions", "HARD_SWISH": "HardSwishOptions", "QUANTIZE": "QuantizeOptions", "PAD": "PadOptions",
    "RESHAPE": "ReshapeOptions", "LOGISTIC": None, "TANH": None, "RELU": None, "RELU6": None, "RELU_N1_TO_1": None,
}


def build(tensors, ops, inputs, outputs):
    """The bytes of a model: `tensors` maps names to `T`, `inputs` and `outputs` are names."""
    names = list(tensors)
    model = schema.ModelT()
    model.version, model.description = 3, b"ocelli test model"
    empty = schema.BufferT()
    model.buffers, model.operatorCodes = [empty], []
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = b"main", [], []
    for name in names:
        t = tensors[name]
        out = schema.TensorT()
        out.name, out.shape, out.type, out.buffer = name.encode(), [int(n) for n in t.shape], TYPES[t.dtype], 0
        if t.data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(t.data, dtype=t.dtype).tobytes(), dtype=np.uint8)
            out.buffer = len(model.buffers)
            model.buffers.append(buffer)
        if len(t.scale):
            q = schema.QuantizationParametersT()
            q.scale = np.asarray(t.scale, dtype=np.float32)
            q.zeroPoint = np.asarray(t.zero_point, dtype=np.int64)
            q.quantizedDimension = t.axis
            out.quantization = q
        graph.tensors.append(out)
    for op in ops:
        code = schema.OperatorCodeT()
        value = getattr(schema.BuiltinOperator, op.name)
        code.builtinCode, code.deprecatedBuiltinCode, code.version = value, min(value, 127), op.version
        out = schema.OperatorT()
        out.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
        out.inputs = [-1 if n is None else names.index(n) for n in op.inputs]
        out.outputs = [names.index(n) for n in op.outputs]
        kind = OPTIONS[op.name]
        if kind is not None:
            options = getattr(schema, kind + "T")()
            for key, v in op.options.items():
                assert hasattr(options, key), (op.name, key)
                setattr(options, key, v)
            out.builtinOptionsType, out.builtinOptions = getattr(schema.BuiltinOptions, kind), options
        graph.operators.append(out)
    graph.inputs, graph.outputs = [names.index(n) for n in inputs], [names.index(n) for n in outputs]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run_reference(blob, inputs):
    """TFLite's reference kernels: the outputs for the given inputs, in the model's order."""
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_REF
    it = tf.lite.Interpreter(model_content=blob, experimental_op_resolver_type=resolver)
    it.allocate_tensors()
    for detail, data in zip(it.get_input_details(), inputs):
        it.set_tensor(detail["index"], data)
    it.invoke()
    return [it.get_tensor(d["index"]).copy() for d in it.get_output_details()]


def run_micro(blob, inputs, outputs=1):
    """tflite-micro: the outputs for the given inputs, in the model's order."""
    it = runtime.Interpreter.from_bytes(blob)
    for i, data in enumerate(inputs):
        it.set_input(data, i)
    it.invoke()
    return [it.get_output(i).copy() for i in range(outputs)]


def isolate(blob, find):
    """One operator (or a chain of them) of a converted model as a model of its own.

    `find` names the operators in order; the last match of the chain in the model is taken. Gives the model's bytes and, for each operator,
    its tensors and options: `(inputs, output, options)`, with a `T` a tensor. None where the chain is not in the model.
    """
    model = schema.ModelT.InitFromPackedBuf(bytearray(blob), 0)
    graph = model.subgraphs[0]
    kinds = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    code = lambda op: model.operatorCodes[op.opcodeIndex]
    names = [kinds[max(code(op).builtinCode, code(op).deprecatedBuiltinCode)] for op in graph.operators]
    starts = [i for i in range(len(names)) if names[i:i + len(find)] == list(find)]
    if not starts:
        return None
    chosen = graph.operators[starts[-1]:starts[-1] + len(find)]
    dtypes = {v: k for k, v in TYPES.items()}

    def tensor(i):
        t = graph.tensors[i]
        raw = model.buffers[t.buffer].data
        q = t.quantization
        has_scale = q is not None and q.scale is not None
        data = None if raw is None or len(raw) == 0 else np.asarray(raw, np.uint8).view(dtypes[t.type]).reshape(t.shape)
        return T(tuple(t.shape), dtypes[t.type], list(q.scale) if has_scale else [], list(q.zeroPoint) if has_scale else [], data,
                 int(q.quantizedDimension) if has_scale else 0)

    made = {int(i) for op in chosen for i in op.outputs}
    fed = []
    for op in chosen:
        fed += [int(i) for i in op.inputs if i >= 0 and i not in made and tensor(i).data is None and int(i) not in fed]
    graph.operators, graph.inputs, graph.outputs = chosen, fed, list(chosen[-1].outputs)
    model.signatureDefs, model.metadata = None, None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    parts = [([tensor(i) for i in op.inputs if i >= 0], tensor(op.outputs[0]), op.builtinOptions) for op in chosen]
    return bytes(builder.Output()), parts
