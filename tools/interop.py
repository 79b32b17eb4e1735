"""Runs files that `ocelli export` wrote in the runtimes of others, and holds their outputs to Ocelli's.

usage: interop.py FOLDER      (needs: pip install -r tools/interop-requirements.txt; `cargo xtask interop` does all of it)

FOLDER has files NAME.onnx, NAME.qdq.onnx, NAME.tflite and NAME.c; beside the first three NAME....outputs.json, as `ocelli export
--with-outputs` writes it; beside a C source the file that it holds, NAME.c.bytes. Prints a table; exit code 1 when one is off.

What is asked for:
- Float ONNX: onnx.checker finds nothing, and every output in ONNX Runtime is within 1e-5 of the largest for that input.
- .tflite: every byte, of the scores and of each layer, in tflite-micro; every byte of each layer before the first dense one in LiteRT's
  reference kernels: its dense layers round once where tflite-micro's round twice. LiteRT's default (XNNPACK) rounds halves to even. What
  becomes of that in the scores is printed.
- QDQ ONNX: each layer, fed what Ocelli's layers before it computed, is within one step: ONNX rounds halves to even, and its softmax,
  sigmoid and others are float ones. What becomes of that from end to end is printed.
"""
import ctypes
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
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
class Difference:
    """How far two lists of outputs, or of layers, are apart."""

    largest: float
    equal: int
    count: int  # of inputs, or of the values of layers
    allowed: float | None = None  # None: any
    layers: int = 0

    def passed(self):
        return self.allowed is None or self.largest <= self.allowed


@dataclass
class Row:
    """A line of the table."""

    file: str
    runtime: str
    scores: Difference
    layers: Difference | None
    unit: str

    def passed(self):
        return self.scores.passed() and (self.layers is None or self.layers.passed())

    def cells(self):
        return [self.file, self.runtime, *shown(self.scores, self.unit), *shown(self.layers, "steps")]


def shown(difference, unit):
    """Largest difference, what is allowed, and how many are equal."""
    if difference is None:
        return ["", "", ""]
    number = lambda value: "any" if value is None else f"{value:.0e}" if unit == "relative" else f"{value:.0f}"
    if difference.layers:
        equal = f"{100 * difference.equal / difference.count:.3f} % in {difference.layers}"
    else:
        equal = "" if unit == "relative" else f"{difference.equal} of {difference.count}"
    return [number(difference.largest), number(difference.allowed), equal]


HEAD = ["file", "runtime", "scores off by", "allowed", "inputs equal", "layers off by", "allowed", "values equal, layers"]


def of_scores(path, case, outputs, unit, allowed):
    """What a runtime made of the inputs of a case."""
    ours = np.array(case["outputs"], np.float32)
    theirs = np.array(outputs, np.float32).reshape(ours.shape)
    assert np.isfinite(theirs).all(), f"{path}: values that are not finite"
    if unit == "relative":
        difference = np.max(np.abs(ours - theirs) / np.max(np.abs(ours), axis=1, keepdims=True))
    else:
        difference = np.max(np.abs(ours - theirs)) / case.get("step", 1.0)
    return Difference(float(difference), int(np.all(ours == theirs, axis=1).sum()), len(ours), allowed)


def of_layers(path, case, layers, allowed):
    """What a runtime made of each layer, for the first input; `layers` are in H, W, C order, by name."""
    assert layers, f"{path}: there are no layers to compare"
    worst, equal, count = (0, ""), 0, 0
    for name, values in layers.items():
        steps = np.abs(np.array(case["layers"][name], np.int32) - np.ravel(values).astype(np.int32))
        if steps.max() > worst[0]:
            worst = (int(steps.max()), name)
        equal, count = equal + int((steps == 0).sum()), count + len(steps)
    if worst[0] > allowed:
        print(f"{path.name}: layer '{worst[1]}' is off by {worst[0]} steps")
    return Difference(worst[0], equal, count, allowed, len(layers))


def onnx_session(file):
    """ONNX Runtime on one core, with all its optimizations: what it can, it computes in int8."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def onnx_runtime(path, case):
    """Outputs of ONNX Runtime."""
    session = onnx_session(path.read_bytes())
    entry = session.get_inputs()[0]
    shape = [1 if not isinstance(size, int) else size for size in entry.shape]
    values = [np.array(value, np.float32).reshape(shape) for value in case["inputs"]]
    return [session.run(None, {entry.name: value})[0][0] for value in values]


def onnx_runtime_layers(path, case):
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
    session = onnx_session(model.SerializeToString())
    fed[entry] = np.array(case["inputs"][0], np.float32).reshape(size)
    values = session.run(list(wanted), {name: fed[name] for name in (i.name for i in session.get_inputs())})
    turn = lambda value: value[0].transpose(1, 2, 0) if value.ndim == 4 else value
    return {wanted[name]: turn(value) for name, value in zip(wanted, values)}


def litert(blob, inputs, resolver):
    """Outputs of LiteRT: a list for each input."""
    interpreter = Interpreter(model_content=blob, experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    entry, ends = interpreter.get_input_details()[0], interpreter.get_output_details()
    for value in inputs:
        interpreter.set_tensor(entry["index"], np.array(value, np.int8).reshape(entry["shape"]))
        interpreter.invoke()
        yield [interpreter.get_tensor(end["index"])[0].copy() for end in ends]


def tflite_micro(blob, inputs, outputs=1):
    """Outputs of TensorFlow Lite Micro: a list for each input."""
    interpreter = micro.Interpreter.from_bytes(blob, arena_size=ARENA_BYTES)
    shape = interpreter.get_input_details(0)["shape"]
    for value in inputs:
        interpreter.set_input(np.array(value, np.int8).reshape(shape), 0)
        interpreter.invoke()
        yield [interpreter.get_output(index)[0].copy() for index in range(outputs)]


def with_all_outputs(path, case, before_dense=False):
    """The file with every layer (those before the first dense one) made an output of the network, and the layers' names."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
    graph = model.subgraphs[0]
    names = []
    for operator in graph.operators:
        if before_dense and model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            break
        name = graph.tensors[operator.outputs[0]].name.decode()
        names += [name] if name in case["layers"] else []
    places = {tensor.name.decode(): index for index, tensor in enumerate(graph.tensors)}
    graph.outputs, model.signatureDefs = [places[name] for name in names], None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), names


def c_array(path):
    """Compiles a C source, as C and where there is a compiler as C++, and compares the array in it with the file that it holds."""
    expected = Path(f"{path}.bytes").read_bytes()
    name = next(line for line in path.read_text().splitlines() if line.startswith("alignas")).split()[4].split("[")[0]
    same, compilers = 0, [["cc", "-std=c11"]]
    if shutil.which("c++"):
        compilers.append(["c++", "-x", "c++", "-std=c++11"])
    for compiler in compilers:
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "array.so"
            subprocess.run([*compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, path], check=True)
            loaded = ctypes.CDLL(str(library))
            length = ctypes.c_uint.in_dll(loaded, f"{name}_len").value
            array = (ctypes.c_ubyte * length).in_dll(loaded, name)
            assert ctypes.addressof(array) % 16 == 0, f"{path}: {name} is not aligned to 16 bytes"
            same += bytes(array) == expected
    names, count = ", ".join(compiler[0] for compiler in compilers), len(compilers)
    return Row(path.name, names, Difference(0 if same == count else 255, same, count, 0), None, "steps")


def rows(path):
    """All lines for a file."""
    if path.suffix == ".c":
        yield c_array(path)
        return
    case = json.loads(Path(f"{path}.outputs.json").read_text())
    if path.suffix == ".onnx":
        onnx.checker.check_model(onnx.load(str(path)), full_check=True)
        if case["format"] == "onnx":
            scores = of_scores(path, case, onnx_runtime(path, case), "relative", FLOAT)
            yield Row(path.name, "ONNX Runtime, float", scores, None, "relative")
            return
        layers = of_layers(path, case, onnx_runtime_layers(path, case), 1) if case["layers"] else None
        scores = of_scores(path, case, onnx_runtime(path, case), "steps", None if layers else 0)
        yield Row(path.name, "ONNX Runtime, QDQ", scores, layers, "steps")
        return
    blob, inputs, reference = path.read_bytes(), case["inputs"], OpResolverType.BUILTIN_REF
    scores = lambda lists, allowed: of_scores(path, case, [outputs[0] for outputs in lists], "steps", allowed)
    layers = early = None
    if case["layers"]:
        all_outputs, names = with_all_outputs(path, case)
        layers = of_layers(path, case, dict(zip(names, next(tflite_micro(all_outputs, inputs[:1], len(names))))), 0)
        all_outputs, names = with_all_outputs(path, case, before_dense=True)
        early = of_layers(path, case, dict(zip(names, next(litert(all_outputs, inputs[:1], reference)))), 0)
    yield Row(path.name, "tflite-micro", scores(tflite_micro(blob, inputs), 0), layers, "steps")
    yield Row(path.name, "LiteRT, reference kernels", scores(litert(blob, inputs, reference), None), early, "steps")
    yield Row(path.name, "LiteRT, default", scores(litert(blob, inputs, OpResolverType.AUTO), None), None, "steps")


def print_table(head, lines):
    """Prints cells in columns."""
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    for line in [head, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def summary(table):
    """A line for each runtime: all files together."""
    runtimes = dict.fromkeys(row.runtime for row in table)
    for runtime in runtimes:
        of = [row for row in table if row.runtime == runtime]
        layers = [row.layers for row in of if row.layers is not None]
        total = lambda parts: Difference(
            max(part.largest for part in parts), sum(part.equal for part in parts), sum(part.count for part in parts),
            parts[0].allowed, sum(part.layers for part in parts)) if parts else None
        row = Row(f"{len(of)} files", runtime, total([row.scores for row in of]), total(layers), of[0].unit)
        yield row.cells()


def main():
    folder = Path(sys.argv[1])
    files = sorted(path for path in folder.iterdir() if path.suffix in (".onnx", ".tflite", ".c"))
    assert files, f"{folder} has no exported files"
    table = [row for path in files for row in rows(path)]
    print_table(HEAD + [""], [row.cells() + ["" if row.passed() else "OFF"] for row in table])
    print("\nscores in steps of int8, float ones relative to the largest; layers in steps\n")
    print_table(HEAD, list(summary(table)))
    off = [row for row in table if not row.passed()]
    for module in (onnx, onnxruntime):
        print(f"{module.__name__} {module.__version__}", end=", ")
    print(f"ai-edge-litert {version('ai-edge-litert')}, tflite-micro {version('tflite-micro')}")
    print(f"{len(table) - len(off)} of {len(table)} as they must be")
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
