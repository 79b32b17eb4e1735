"""Makes the ONNX files of tests/models: a small network as PyTorch exports it, the same quantized by ONNX Runtime, and what ONNX Runtime
computes with both.

    python -m venv venv && venv/bin/pip install torch onnx==1.17.0 onnxruntime
    venv/bin/python tools/onnx_models.py tests/models

Random weights, seed 1: no data set has a part in it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

SIDE, CLASSES, CASES = 16, 6, 4


class Small(nn.Module):
    """What small classifiers are made of: batch norms, a residual, a depthwise convolution, hard swish, squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Conv2d(8, 12, 3)
        self.hidden = nn.Linear(12 * 3 * 3, 10)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        y = self.point(nn.functional.relu6(self.depthwise(x)))
        gate = torch.sigmoid(self.excite(nn.functional.relu(self.squeeze(self.pool(y)))))
        x = nn.functional.hardswish(x + y * gate)
        x = nn.functional.max_pool2d(nn.functional.relu(self.last(x)), 2)
        x = nn.functional.relu(self.hidden(x.view(x.size(0), -1)))
        return self.head(nn.functional.dropout(x, 0.2, self.training))


class Noise(CalibrationDataReader):
    """Pictures of noise."""

    def __init__(self, count):
        rng = np.random.default_rng(2)
        self.items = iter([{"input": picture(rng)} for _ in range(count)])

    def get_next(self):
        return next(self.items, None)


def picture(rng):
    return rng.uniform(-1, 1, (1, 3, SIDE, SIDE)).astype(np.float32)


def record(path):
    """Inputs and ONNX Runtime's outputs, without its optimizations: those join quantized operators."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(3)
    cases = []
    for _ in range(CASES):
        x = (np.round(picture(rng) * 100) / 100).astype(np.float32)
        (y,) = session.run(None, {"input": x})
        cases.append({"input": [round(float(v), 2) for v in x.ravel()], "output": [float(v) for v in y.ravel()]})
    source = f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__.split('+')[0]}, onnx {onnx.__version__}"
    path.with_suffix(".json").write_text(json.dumps({"source": source, "cases": cases}) + "\n")


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(1)
    network = Small().eval()
    norm = network.stem[1]
    norm.running_mean.uniform_(-0.3, 0.3)
    norm.running_var.uniform_(0.5, 1.5)
    exported = folder / "torch_small.onnx"
    shape = torch.zeros(1, 3, SIDE, SIDE)
    names = {"input_names": ["input"], "output_names": ["logits"], "dynamic_axes": {"input": {0: "batch"}}}
    torch.onnx.export(network, shape, str(exported), opset_version=17, dynamo=False, do_constant_folding=False, **names)
    record(exported)
    folded = folder / "folded.onnx"
    torch.onnx.export(network, shape, str(folded), opset_version=17, dynamo=False, input_names=["input"], output_names=["logits"])
    quantized = folder / "ort_qdq_small.onnx"
    quantize_static(
        folded,
        quantized,
        Noise(32),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    folded.unlink()
    record(quantized)


if __name__ == "__main__":
    main()
