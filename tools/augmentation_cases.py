#!/usr/bin/env python3
"""Records what Keras' image movements (through scipy) and Pillow's colours give, for the tests of host/src/augment.

usage: augmentation_cases.py OUT.json     (needs numpy, scipy, pillow; with keras importable, its own function is compared too)
"""
import json, sys
import numpy as np
from PIL import Image, ImageEnhance
from scipy import ndimage

MODES = {"nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap", "constant": "grid-constant"}
FILL_VALUE = 60
# degrees; shift of x, y in pixels; degrees; zoom of x, y
MOVEMENTS = [
    (30, (0, 0), 0, (1, 1)),
    (0, (1.25, -2.5), 0, (1, 1)),
    (0, (0, 0), 25, (1, 1)),
    (0, (0, 0), 0, (0.6, 0.8)),
    (0, (0, 0), 0, (1.7, 1.3)),
    (-75, (3.2, 0.7), -12, (0.9, 1.4)),
    (180, (-9.0, 14.5), 0, (1, 1)),
]


def matrix(degrees, shift, shear, zoom, h, w):
    """Keras' product (apply_affine_transform), in x, y, about the centre of the image."""
    t, s = np.deg2rad(degrees), np.deg2rad(shear)
    m = np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]])
    m = m @ np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    m = m @ np.array([[1, -np.sin(s), 0], [0, np.cos(s), 0], [0, 0, 1]])
    m = m @ np.diag([zoom[0], zoom[1], 1])
    to, back = np.eye(3), np.eye(3)
    to[:2, 2], back[:2, 2] = ((w - 1) / 2, (h - 1) / 2), (-(w - 1) / 2, -(h - 1) / 2)
    return to @ m @ back


def move(image, movement, mode):
    m = matrix(*movement, *image.shape[:2])
    rows = m[[1, 0]][:, [1, 0, 2]]  # scipy counts rows first
    planes = [ndimage.affine_transform(image[..., c].astype(float), rows[:, :2], rows[:, 2], order=1, mode=MODES[mode],
                                       cval=FILL_VALUE) for c in range(image.shape[2])]
    return np.stack(planes, -1)


def compare_with_keras(image, movement, mode):
    try:
        from keras.src.legacy.preprocessing.image import apply_affine_transform
    except ImportError:
        return 0
    degrees, (tx, ty), shear, (zx, zy) = movement
    # what it calls tx and zx moves the columns since it counts x first
    keras = apply_affine_transform(image.astype(float), degrees, tx, ty, shear, zx, zy, row_axis=0, col_axis=1,
                                   channel_axis=2, fill_mode=mode, order=1)
    assert np.abs(keras - move(image, movement, mode)).max() < 1e-9, (movement, mode)
    return 1


rng = np.random.default_rng(4)
cases, compared = [], 0
for shape in [(6, 7, 1), (5, 5, 3)]:
    image = rng.integers(0, 256, shape)
    for movement in MOVEMENTS:
        for mode in MODES:
            expected = move(image, movement, mode)
            if shape[0] == shape[1] and mode in ("nearest", "reflect"):  # Keras mixes up the centres of other shapes
                compared += compare_with_keras(image, movement, mode)
            degrees, shift, shear, zoom = movement
            cases.append({"shape": shape, "image": image.ravel().tolist(), "rotation": degrees, "shift": shift, "shear": shear,
                          "zoom": zoom, "fill": mode, "expected": np.round(expected, 2).ravel().tolist()})
colors = []
photo = Image.fromarray(rng.integers(0, 256, (4, 4, 3)).astype(np.uint8))
for name, enhance in [("brightness", ImageEnhance.Brightness), ("saturation", ImageEnhance.Color)]:
    for factor in [0, 0.4, 1.6]:
        colors.append({"change": name, "factor": factor, "image": np.asarray(photo).ravel().tolist(),
                       "expected": np.asarray(enhance(photo).enhance(factor)).ravel().tolist()})
with open(sys.argv[1], "w") as file:
    json.dump({"fill_value": FILL_VALUE, "movements": cases, "colors": colors}, file, separators=(",", ":"))
    file.write("\n")
print(f"{len(cases)} movements ({compared} compared with Keras), {len(colors)} colours")
