"""ResNets of PyTorch libraries, by their names and their arithmetic, in plain TensorFlow ops.

Shares no code with the library. Values are random; names are those of the libraries' own files.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

EPSILON = 1e-5  # of torch.nn.BatchNorm2d
IMAGENET = (np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]))
CIFAR10 = (np.float32([0.4914, 0.4822, 0.4465]), np.float32([0.247, 0.2435, 0.2616]))
BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
Tensors = dict[str, np.ndarray]


def state_dict(depth: int, kernel: int, width: int = 4, seed: int = 0) -> Tensors:
    """Torchvision's names; `width` stands for its 64."""
    rng, found = np.random.default_rng(seed), {}

    def conv(name, outputs, inputs, size):
        shape = (outputs, inputs, size, size)
        scale = (inputs * size * size) ** -0.5
        found[f"{name}.weight"] = rng.normal(0, scale, shape).astype(np.float32)

    def norm(name, channels):
        ranges = {"weight": (0.5, 1.5), "bias": (-0.2, 0.2), "running_mean": (-0.2, 0.2),
                  "running_var": (0.5, 1.5)}  # fmt: skip
        for leaf, (low, high) in ranges.items():
            found[f"{name}.{leaf}"] = rng.uniform(low, high, channels).astype(np.float32)
        found[f"{name}.num_batches_tracked"] = np.array(7)

    conv("conv1", width, 3, kernel)
    norm("bn1", width)
    inputs, expansion = width, 4 if depth == 50 else 1
    for group, count in enumerate(BLOCKS[depth]):
        planes = width * 2**group
        for index in range(count):
            block = f"layer{group + 1}.{index}"
            sizes = ([(planes, inputs, 1), (planes, planes, 3), (planes * 4, planes, 1)]
                     if depth == 50 else [(planes, inputs, 3), (planes, planes, 3)])  # fmt: skip
            for k, shape in enumerate(sizes, 1):
                conv(f"{block}.conv{k}", *shape)
                norm(f"{block}.bn{k}", shape[0])
            if index == 0 and (group > 0 or inputs != planes * expansion):
                conv(f"{block}.downsample.0", planes * expansion, inputs, 1)
                norm(f"{block}.downsample.1", planes * expansion)
            inputs = planes * expansion
    return found


def features(values: Tensors, images: np.ndarray, statistics, stem_padding: int) -> np.ndarray:
    """The pooled features of images (N, H, W, 3) in [0, 1]."""

    def conv(x, name, strides, padding):
        x = tf.pad(x, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]])
        kernel = values[f"{name}.weight"].transpose(2, 3, 1, 0)
        return tf.nn.conv2d(x, kernel, strides, "VALID")

    def norm(x, name):
        mean, variance = values[f"{name}.running_mean"], values[f"{name}.running_var"]
        scaled = (x - mean) / np.sqrt(variance + EPSILON)
        return scaled * values[f"{name}.weight"] + values[f"{name}.bias"]

    mean, deviation = statistics
    kernel = values["conv1.weight"].shape[-1]
    x = (tf.constant(images) - mean) / deviation
    x = tf.nn.relu(norm(conv(x, "conv1", 2 if kernel == 7 else 1, stem_padding), "bn1"))
    if kernel == 7:
        low = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-np.inf)
        x = tf.nn.max_pool2d(low, 3, 2, "VALID")
    deep = "layer1.0.conv3.weight" in values
    blocks = sorted({tuple(map(int, name[5:].split(".")[:2])) for name in values
                     if name.startswith("layer")})  # fmt: skip
    for group, index in blocks:
        block, strides = f"layer{group}.{index}", 2 if group > 1 and index == 0 else 1
        plan = [(1, 0), (strides, 1), (1, 0)] if deep else [(strides, 1), (1, 1)]
        y = x
        for k, (stride, padding) in enumerate(plan, 1):
            y = norm(conv(y, f"{block}.conv{k}", stride, padding), f"{block}.bn{k}")
            y = tf.nn.relu(y) if k < len(plan) else y
        if f"{block}.downsample.0.weight" in values:
            x = norm(conv(x, f"{block}.downsample.0", strides, 0), f"{block}.downsample.1")
        x = tf.nn.relu(x + y)
    return tf.reduce_mean(x, [1, 2]).numpy()


def renamed(values: Tensors, library: str) -> Tensors:
    """The same tensors as the files of a library call them, with what else lies beside them."""
    head = {"weight": np.ones((5, 4), np.float32)}
    if library == "torchvision":
        width = values["layer4.1.bn2.bias"].size * (4 if "layer1.0.conv3.weight" in values else 1)
        return {**values, "fc.weight": np.eye(7, width, dtype=np.float32),
                "fc.bias": np.arange(7, dtype=np.float32)}  # fmt: skip
    if library == "moco":
        query = {f"module.encoder_q.{name}": value for name, value in values.items()}
        key = {f"module.encoder_k.{name}": np.zeros_like(value) for name, value in values.items()}
        return {**query, **key, "module.queue": head["weight"]}
    if library == "VISSL":
        place = "classy_state_dict.base_model.model.trunk._feature_blocks."
        found = {place + name: value for name, value in values.items()}
        return {**found, "classy_state_dict.base_model.model.heads.0.clf.0.weight": head["weight"]}
    if library == "solo-learn":
        found = {f"state_dict.backbone.{name}": value for name, value in values.items()}
        found |= {
            f"state_dict.momentum_backbone.{n}": np.zeros_like(value) for n, value in values.items()
        }
        return {**found, "state_dict.projector.0.weight": head["weight"],
                "state_dict.classifier.weight": head["weight"]}  # fmt: skip
    first = 4 if library == "lightly" else 2  # of an nn.Sequential of torchvision's, of its own
    places = {"conv1": 0, "bn1": 1, **{f"layer{k + 1}": first + k for k in range(4)}}
    found = {}
    for name, value in values.items():
        part, _, rest = name.partition(".")
        rest = rest if library == "lightly" else rest.replace("downsample.", "shortcut.")
        found[f"state_dict.backbone.{places[part]}.{rest}"] = value
    return {**found, "state_dict.projection_head.layers.0.weight": head["weight"]}
