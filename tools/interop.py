"""Runs files that `ocelli export` wrote in the runtimes of others, and holds their outputs to Ocelli's.

usage: interop.py FOLDER      (needs: pip install -r tools/interop-requirements.txt; `cargo xtask interop` does all of it)

FOLDER has files NAME.onnx, NAME.qdq.onnx, NAME.tflite and NAME.c; beside the first three NAME....outputs.json, as `ocelli export
--with-outputs` writes it; beside a C source the file that it holds, NAME.c.bytes. Prints a table; exit code 1 when one is off.

What is asked for:
- Float ONNX: onnx.checker finds nothing, and every output in ONNX Runtime is within 1e-5 of the largest for that input.
- .tflite: every byte, of the scores and of each layer, in tflite-micro; every byte of the scores in LiteRT's reference kernels. LiteRT's
  default (XNNPACK) rounds halves to even, and has no bound here: it is printed.
- QDQ ONNX: each layer, fed what Ocelli's layers before it computed, is within one step: ONNX rounds halves to even, and its softmax,
  sigmoid and others are float ones. What becomes of that from end to end is printed.
"""
import ctypes
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime as micro

# Largest difference of a float output, relative to the largest output of the same input.
FLOAT = 1e-5
# Bytes that tflite-micro may take: the arena for the largest network here.
ARENA_BYTES = 16 << 20


@dataclass
class Row:
    """A line of the table."""

    file: str
    runtime: str
    compared: str
    difference: float  # the largest: in steps of int8, or relative
    unit: str
    same: str  # how many of what is compared are the same, value by value
    allowed: float | None

    def passed(self):
        return self.allowed is None or self.difference <= self.allowed

    def cells(self):
        show = lambda value: "any" if value is None else f"{value:.0e}" if self.unit == "relative" else f"{value:.0f}"
        return [self.file, self.runtime, self.compared, f"{show(self.difference)} {self.unit}", show(self.allowed), self.same]


HEAD = ["file", "runtime", "compared", "largest difference", "allowed", "equal"]


def compare(path, runtime, case, outputs, unit, allowed):
    """The line for what a runtime made of the inputs of a case."""
    ours = np.array(case["outputs"], np.float32)
    theirs = np.array(outputs, np.float32).reshape(ours.shape)
    assert np.isfinite(theirs).all(), f"{path}: {runtime} gives values that are not finite"
    if unit == "relative":
        difference = np.max(np.abs(ours - theirs) / np.max(np.abs(ours), axis=1, keepdims=True))
    else:
        difference = np.max(np.abs(ours - theirs)) / case.get("step", 1.0)
    same = int(np.all(ours == theirs, axis=1).sum())
    return Row(path.name, runtime, f"{len(ours)} inputs", float(difference), unit, str(same), allowed)


def compare_layers(path, runtime, case, layers, allowed):
    """The line for what a runtime made of each layer; `layers` are in H, W, C order, by name."""
    worst, same = (0, ""), 0
    for name, values in layers.items():
        difference = int(np.max(np.abs(np.array(case["layers"][name], np.int32) - np.ravel(values).astype(np.int32))))
        worst, same = max(worst, (difference, name)), same + (difference == 0)
    if worst[0] > allowed:
        print(f"{path.name}: {runtime}: layer '{worst[1]}' is off by {worst[0]} steps")
    return Row(path.name, runtime, f"{len(layers)} layers", worst[0], "steps", str(same), allowed)


def onnx_runtime(path, case, optimize):
    """Outputs of ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = [1 if not isinstance(size, int) else size for size in entry.shape]
    values = [np.array(value, np.float32).reshape(shape) for value in case["inputs"]]
    return [session.run(None, {entry.name: value})[0][0] for value in values]


def onnx_runtime_layers(path, case, optimize):
    """What ONNX Runtime makes of each layer, when it is fed what Ocelli's layers before it made."""
    model = onnx.load(str(path))
    graph = model.graph
    infos = {info.name: info for info in graph.value_info}
    fed, wanted = {}, {}
    for node in graph.node:
        name = node.output[0].removesuffix(".int8")
        if node.op_type != "QuantizeLinear" or name not in case["layers"]:
            continue
        info = infos[node.output[0]]
        shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
        values = np.array(case["layers"][name], np.int8)
        if len(shape) == 4:
            _, c, h, w = shape
            values = values.reshape(h, w, c).transpose(2, 0, 1)
        fed[info.name], wanted[f"{name}.computed"] = values.reshape(shape), name
        graph.input.append(info)
        node.output[0] = f"{name}.computed"
        computed = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.INT8, None)
        graph.output.append(computed)
    entry = graph.input[0].name
    size = [dim.dim_value or 1 for dim in graph.input[0].type.tensor_type.shape.dim]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fed[entry] = np.array(case["inputs"][0], np.float32).reshape(size)
    values = session.run(list(wanted), {name: fed[name] for name in (i.name for i in session.get_inputs())})
    turn = lambda value: value[0].transpose(1, 2, 0) if value.ndim == 4 else value
    return {wanted[name]: turn(value) for name, value in zip(wanted, values)}


def litert(path, case, resolver):
    """Outputs of LiteRT."""
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for value in case["inputs"]:
        interpreter.set_tensor(entry["index"], np.array(value, np.int8).reshape(entry["shape"]))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(end["index"])[0])
    return outputs


def tflite_micro(path, case):
    """Outputs of TensorFlow Lite Micro."""
    interpreter = micro.Interpreter.from_bytes(path.read_bytes(), arena_size=ARENA_BYTES)
    shape = interpreter.get_input_details(0)["shape"]
    outputs = []
    for value in case["inputs"]:
        interpreter.set_input(np.array(value, np.int8).reshape(shape), 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0].copy())
    return outputs


def tflite_micro_layers(path, case):
    """What TensorFlow Lite Micro makes of each layer: all are made outputs of the network."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
    graph = model.subgraphs[0]
    places = {tensor.name.decode(): index for index, tensor in enumerate(graph.tensors)}
    names = [name for name in case["layers"] if places[name] not in graph.inputs]
    graph.outputs, model.signatureDefs = [places[name] for name in names], None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = micro.Interpreter.from_bytes(bytes(builder.Output()), arena_size=ARENA_BYTES)
    shape = interpreter.get_input_details(0)["shape"]
    interpreter.set_input(np.array(case["inputs"][0], np.int8).reshape(shape), 0)
    interpreter.invoke()
    return {name: interpreter.get_output(index).copy() for index, name in enumerate(names)}


def c_array(path):
    """Compiles a C source, as C and as C++, and compares the array in it with the file that it holds."""
    expected = Path(f"{path}.bytes").read_bytes()
    name = next(line for line in path.read_text().splitlines() if line.startswith("alignas")).split()[4].split("[")[0]
    same = 0
    for compiler in (["cc", "-std=c11"], ["c++", "-x", "c++", "-std=c++11"]):
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "array.so"
            subprocess.run([*compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, path], check=True)
            loaded = ctypes.CDLL(str(library))
            length = ctypes.c_uint.in_dll(loaded, f"{name}_len").value
            array = (ctypes.c_ubyte * length).in_dll(loaded, name)
            assert ctypes.addressof(array) % 16 == 0, f"{path}: {name} is not aligned to 16 bytes"
            same += bytes(array) == expected
    return Row(path.name, "cc, c++", "2 compilers", 0 if same == 2 else 255, "steps", str(same), 0)


def rows(path):
    """All lines for a file."""
    if path.suffix == ".c":
        yield c_array(path)
        return
    case = json.loads(Path(f"{path}.outputs.json").read_text())
    version = lambda of: ".".join(of.__version__.split(".")[:2])
    if path.suffix == ".onnx":
        onnx.checker.check_model(onnx.load(str(path)), full_check=True)
        name = f"ONNX Runtime {version(onnxruntime)}"
        if case["format"] == "onnx":
            yield compare(path, name, case, onnx_runtime(path, case, True), "relative", FLOAT)
            return
        for how, optimize in [("as written", False), ("in int8", True)]:
            runtime = f"{name}, {how}"
            if case["layers"]:
                yield compare_layers(path, runtime, case, onnx_runtime_layers(path, case, optimize), 1)
            yield compare(path, runtime, case, onnx_runtime(path, case, optimize), "steps", None)
        return
    yield compare(path, "tflite-micro", case, tflite_micro(path, case), "steps", 0)
    if case["layers"]:
        yield compare_layers(path, "tflite-micro", case, tflite_micro_layers(path, case), 0)
    yield compare(path, "LiteRT, reference", case, litert(path, case, OpResolverType.BUILTIN_REF), "steps", 0)
    yield compare(path, "LiteRT, default", case, litert(path, case, OpResolverType.AUTO), "steps", None)


def main():
    folder = Path(sys.argv[1])
    files = sorted(path for path in folder.iterdir() if path.suffix in (".onnx", ".tflite", ".c"))
    assert files, f"{folder} has no exported files"
    table = [row for path in files for row in rows(path)]
    lines = [HEAD] + [row.cells() for row in table]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    for line, row in zip(lines, [None] + table):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        print(text if row is None or row.passed() else f"{text}  OFF")
    off = [row for row in table if not row.passed()]
    print(f"\n{len(table) - len(off)} of {len(table)} as they must be")
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
