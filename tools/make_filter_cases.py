"""Cases for `ocelli filter`: small pictures through kernels, computed by scipy. Writes tests/data/filter-cases.json.

Needs numpy and scipy; run at the top of the repository: python3 tools/make_filter_cases.py
"""

import json

import numpy as np
from scipy.signal import correlate2d

NAMED = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "sobel-x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel-y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "prewitt-x": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
    "box-blur": np.full((3, 3), 1 / 9),
    "gaussian-blur": np.outer([1, 2, 1], [1, 2, 1]) / 16,
    "outline": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "[[1, 2, -3, 0.5], [0, -1, 4, 2]]": [[1, 2, -3, 0.5], [0, -1, 4, 2]],
}


def same_padding(n, kernel, stride, dilation):
    """TensorFlow's rule: the odd cell goes after."""
    covered = (-(-n // stride) - 1) * stride + (kernel - 1) * dilation + 1
    total = max(covered - n, 0)
    return total // 2, total - total // 2


def filtered(picture, kernel, stride, dilation, padding):
    spread = np.zeros([(n - 1) * dilation + 1 for n in kernel.shape])
    spread[::dilation, ::dilation] = kernel
    if padding == "same":
        pads = [same_padding(n, k, stride, dilation) for n, k in zip(picture.shape, kernel.shape)]
        picture = np.pad(picture, pads)
    return correlate2d(picture / 255, spread, mode="valid")[::stride, ::stride]


def main():
    rng = np.random.default_rng(20)
    cases = []
    settings = [(1, 1, "same"), (1, 1, "valid"), (2, 1, "same"), (1, 2, "same"), (2, 2, "valid"), (3, 1, "same")]
    for i, (name, rows) in enumerate(NAMED.items()):
        for stride, dilation, padding in [settings[0], settings[1 + i % 5]]:
            picture = rng.integers(0, 256, (8, 11))
            expected = filtered(picture, np.array(rows, float), stride, dilation, padding)
            cases.append({
                "kernel": name, "stride": stride, "dilation": dilation, "padding": padding,
                "picture": picture.tolist(), "expected": np.round(expected, 6).tolist(),
            })
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    with open("tests/data/filter-cases.json", "w") as file:
        file.write("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()
