"""Training steps on demand by Keras or PyTorch, for `cargo xtask bench train`.

usage: bench_train.py keras|torch NET_TOML BATCH THREADS      (needs: pip install tensorflow-cpu, or torch)

Says "ready", then answers each line of its input, a number of steps, with a line: the seconds they took. A step is forward, backward and
Adam on a batch of noise. The network is built from the same net.toml as ours.
"""
import os
import sys
import time
import tomllib

import numpy as np


def layers(path):
    """The input's height, width and channels, and the layers, each with its name and the names of its inputs."""
    with open(path, "rb") as file:
        network = tomllib.load(file)
    read = []
    for i, layer in enumerate(network["layer"]):
        layer.setdefault("name", f"layer{i}")
        layer.setdefault("inputs", [read[-1]["name"] if read else "input"])
        read.append(layer)
    size = network["input"]
    return (size["height"], size["width"], 1 if size["color"] == "gray" else 3), read


def noise(shape, classes, batch, steps):
    rng = np.random.default_rng(7)
    x = rng.uniform(-1, 1, (batch * steps, *shape)).astype(np.float32)
    return x, (np.arange(batch * steps) % classes).astype(np.int64)


def keras(path, batch, threads):
    """A function that runs steps."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import tensorflow as tf
    from tensorflow.keras import layers as L

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    shape, read = layers(path)
    tensors = {"input": L.Input(shape)}
    for layer in read:
        inputs = [tensors[name] for name in layer["inputs"]]
        get = layer.get
        x = inputs[0]
        match layer["type"]:
            case "conv2d":
                y = L.Conv2D(layer["filters"], layer["kernel"], get("stride", 1), get("padding", "valid"), activation=get("activation"))(x)
            case "depthwise_conv2d":
                y = L.DepthwiseConv2D(layer["kernel"], get("stride", 1), get("padding", "valid"), activation=get("activation"))(x)
            case "batch_norm":
                y = L.BatchNormalization()(x)
            case "relu":
                y = L.ReLU()(x)
            case "max_pool2d":
                y = L.MaxPooling2D(layer["kernel"], get("stride"), get("padding", "valid"))(x)
            case "global_average_pool2d":
                y = L.GlobalAveragePooling2D()(x)
            case "flatten":
                y = L.Flatten()(x)
            case "dense":
                y = L.Dense(layer["units"], activation=get("activation"))(x)
                classes = layer["units"]
            case "add":
                y = L.Add()(inputs)
                y = L.Activation(layer["activation"])(y) if get("activation") else y
            case "softmax":
                y = x
            case other:
                sys.exit(f"no layer {other} here")
        tensors[layer["name"]] = y
    model = tf.keras.Model(tensors["input"], y)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.Adam(1e-3), loss)
    made = {}

    def run(steps):
        if steps not in made:
            data = tf.data.Dataset.from_tensor_slices(noise(shape, classes, batch, 1)).batch(batch).cache().repeat(steps)
            made[steps] = data.prefetch(2)
        model.fit(made[steps], epochs=1, steps_per_epoch=steps, verbose=0)

    return run


def torch(path, batch, threads):
    """A function that runs steps."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    shape, read = layers(path)
    channels = {"input": (shape[2], *shape[:2])}
    parts = nn.ModuleDict()
    pads = {}
    for layer in read:
        c, h, w = channels[layer["inputs"][0]]
        get, key = layer.get, layer["name"].replace(".", "_")
        stride, kernel = get("stride", 1), get("kernel", 1)
        if layer["type"] == "max_pool2d":
            stride = get("stride", kernel)
        if layer["type"] in ("conv2d", "depthwise_conv2d", "max_pool2d"):
            out = [-(-n // stride) if get("padding") == "same" else (n - kernel) // stride + 1 for n in (h, w)]
            over = [max((o - 1) * stride + kernel - n, 0) for o, n in zip(out, (h, w))]
            pads[key] = (over[1] // 2, over[1] - over[1] // 2, over[0] // 2, over[0] - over[0] // 2)
            filters = get("filters", c)
            if layer["type"] != "max_pool2d":
                # an even padding is the convolution's own: the fastest way
                even = pads[key][0] == pads[key][1] and pads[key][2] == pads[key][3]
                padding = (pads[key][2], pads[key][0]) if even else 0
                pads[key] = None if even else pads[key]
                groups = c if layer["type"] == "depthwise_conv2d" else 1
                parts[key] = nn.Conv2d(c, filters, kernel, stride, padding, groups=groups)
            c, h, w = filters, *out
        elif layer["type"] == "batch_norm":
            parts[key] = nn.BatchNorm2d(c)
        elif layer["type"] == "global_average_pool2d":
            h, w = 1, 1
        elif layer["type"] == "flatten":
            c, h, w = c * h * w, 1, 1
        elif layer["type"] == "dense":
            parts[key] = nn.Linear(c, layer["units"])
            c, h, w = layer["units"], 1, 1
        channels[layer["name"]] = c, h, w

    def forward(x):
        tensors = {"input": x}
        for layer in read:
            inputs = [tensors[name] for name in layer["inputs"]]
            key, y = layer["name"].replace(".", "_"), inputs[0]
            match layer["type"]:
                case "max_pool2d":
                    y = F.max_pool2d(y, layer["kernel"], layer.get("stride"))
                case "relu":
                    y = F.relu(y)
                case "global_average_pool2d":
                    y = y.mean((2, 3))
                case "flatten":
                    y = y.flatten(1)
                case "add":
                    y = inputs[0] + inputs[1]
                case "softmax":
                    pass
                case _:
                    y = parts[key](F.pad(y, pads[key]) if pads.get(key) else y)
            tensors[layer["name"]] = F.relu(y) if layer.get("activation") == "relu" else y
        return y

    model = parts.to(memory_format=torch_memory(torch))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-7)
    classes = [layer["units"] for layer in read if layer["type"] == "dense"][-1]
    x, y = noise(shape, classes, batch, 1)
    x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(memory_format=torch_memory(torch))
    y = torch.from_numpy(y)

    def run(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(forward(x.clone()), y)
            loss.backward()
            optimizer.step()
            loss.item()

    return run


def torch_memory(torch):
    return torch.channels_last


def main():
    framework, path, batch, threads = sys.argv[1:]
    run = {"keras": keras, "torch": torch}[framework](path, int(batch), int(threads))
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
