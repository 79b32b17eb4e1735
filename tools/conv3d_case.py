#!/usr/bin/env python3
"""Records what Keras' Conv3D makes of small volumes, and the gradients of a weighted sum of its output, as tests/data/conv3d.json.

    pip install tensorflow-cpu && python3 tools/conv3d_case.py > tests/data/conv3d.json

All numbers are small multiples of powers of two, so that sums are exact in float32 whatever their order.
"""
import json

import numpy as np
import tensorflow as tf

CASES = [
    # depth, rows, columns, channels; filters; kernel; stride; padding
    ((4, 5, 6, 2), 3, (2, 3, 2), (1, 1, 1), "valid"),
    ((5, 6, 7, 2), 2, (3, 2, 3), (2, 2, 3), "same"),
    ((3, 4, 4, 1), 2, (2, 3, 3), (1, 2, 1), "same"),
]


def main():
    rng = np.random.default_rng(5)
    cases = []
    for shape, filters, kernel, stride, padding in CASES:
        layer = tf.keras.layers.Conv3D(filters, kernel, strides=stride, padding=padding)
        layer.build((None, *shape))
        weights = rng.integers(-8, 9, (*kernel, shape[3], filters)) / 8
        bias = rng.integers(-8, 9, filters) / 8
        layer.set_weights([weights, bias])
        x = tf.constant(rng.integers(-8, 9, (1, *shape)) / 4, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            slopes = tf.constant(rng.integers(-4, 5, y.shape) / 2, tf.float32)
            loss = tf.reduce_sum(y * slopes)
        dx, dw, db = tape.gradient(loss, [x, *layer.trainable_variables])
        values = lambda tensor: np.asarray(tensor, np.float64).ravel().tolist()
        cases.append(
            {
                "shape": shape,
                "filters": filters,
                "kernel": kernel,
                "stride": stride,
                "padding": padding,
                "parameters": layer.count_params(),
                "output_shape": list(y.shape[1:]),
                # [d, h, w, c] and, of the weights, [d, h, w, c, filters]
                "x": values(x),
                "weights": values(weights),
                "bias": values(bias),
                "y": values(y),
                "slopes": values(slopes),
                "dx": values(dx),
                "dweights": values(dw),
                "dbias": values(db),
            }
        )
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    print(f'{{"keras":"{tf.keras.__version__}","cases":[\n{lines}\n]}}')


main()
