"""SimCLR's networks in inference mode, from TensorFlow ops and a flat list of variables.

Knows nothing of the library: layers are taken in the order in which their variables were created
(the number in `conv2d_7`), and what each does follows from the papers: ResNet (1512.03385) with
the stride in the 3x3 convolution, ResNet-D (1812.01187), selective kernels (1903.06586), squeeze
and excitation (1709.01507), and SimCLR's heads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

EPSILON = 1e-5
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
_LAYER = re.compile(r"(conv2d|dense|(?:sync_)?batch_normalization)(?:_(\d+))?/(\w+)$")
_ENCODER = ("base_model", "resnet")
_PROJECTION = ("head_contrastive", "projection_head")
_SUPERVISED = ("head_supervised",)

Layer = dict[str, np.ndarray]


class Architecture(NamedTuple):
    """What the caller knows of a network; widths follow from the shapes."""

    depth: int = 18
    cifar_stem: bool = True
    selective_kernels: bool = False
    squeeze: bool = False
    ft_proj_selector: int = 0


def endpoints(
    arrays: Mapping[str, np.ndarray], images: np.ndarray, architecture: Architecture
) -> dict[str, tf.Tensor]:
    """Every endpoint of the published contract for which there are variables.

    Args:
        arrays: Values by full name, TF1's (`base_model/conv2d_7/kernel`) or TF2's
            (`resnet/.../conv2d_7/kernel`); other variables are passed over.
        images: (N, H, W, 3) in [0, 1]; may be symbolic, as the values may be variables.
        architecture: The network.

    Raises:
        ValueError: Layers are left over.
    """
    encoder = _Encoder(arrays, architecture)
    found = encoder(tf.convert_to_tensor(images, tf.float32))
    features = found["final_avg_pool"]  # (N, D)
    hidden = [features]
    for dense, norm in _head_layers(arrays):
        if len(hidden) > 1:
            hidden[-1] = tf.nn.relu(hidden[-1])
        hidden.append(_normalize(hidden[-1] @ dense["kernel"], norm))
    if len(hidden) > 1:
        found |= {"proj_head_input": features, "proj_head_output": hidden[-1]}
    for linear in _layers(arrays, _SUPERVISED, "dense"):
        chosen = hidden[architecture.ft_proj_selector]
        found["logits_sup"] = chosen @ linear["kernel"] + linear["bias"]  # (N, classes)
    return found


def _layers(arrays: Mapping[str, np.ndarray], scopes: tuple[str, ...], kind: str) -> list[Layer]:
    """Variables of all layers of one kind under `scopes`, in creation order."""
    layers: dict[tuple[int, str], Layer] = {}
    for name, value in arrays.items():
        match = _LAYER.search(name)
        if name.split("/")[0] not in scopes or not match or not match[1].endswith(kind):
            continue
        # The heads of TF1 count from zero in each scope nl_0, nl_1, ...; these names sort.
        place = (int(match[2] or 0), name[: match.start()])
        layers.setdefault(place, {})[match[3]] = value
    return [layers[place] for place in sorted(layers)]


def _head_layers(arrays: Mapping[str, np.ndarray]) -> list[tuple[Layer, Layer]]:
    dense = _layers(arrays, _PROJECTION, "dense")
    norms = _layers(arrays, _PROJECTION, "batch_normalization")
    return list(zip(dense, norms, strict=True))


def _normalize(inputs: tf.Tensor, norm: Layer) -> tf.Tensor:
    """Batch normalization with stored statistics."""
    return tf.nn.batch_normalization(
        inputs,
        norm["moving_mean"],
        norm["moving_variance"],
        norm.get("beta"),
        norm["gamma"],
        EPSILON,
    )


def _squeeze(inputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(inputs, [1, 2], keepdims=True)  # (N, 1, 1, C)


class _Encoder:
    """Walks through the network and takes the next convolution or norm off the stack each time."""

    def __init__(self, arrays: Mapping[str, np.ndarray], architecture: Architecture):
        self.architecture = architecture
        self.convolutions = iter(_layers(arrays, _ENCODER, "conv2d"))
        self.norms = iter(_layers(arrays, _ENCODER, "batch_normalization"))

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = self.stem(images)
        inputs = found["initial_max_pool"]
        bottleneck = self.architecture.depth >= 50
        for group, blocks in enumerate(BLOCKS[self.architecture.depth], start=1):
            for block in range(blocks):
                stride = 2 if group > 1 and block == 0 else 1
                shortcut = self.shortcut(inputs, stride) if block == 0 else inputs
                branch = self.bottleneck if bottleneck else self.basic
                inputs = tf.nn.relu(self.excite(branch(inputs, stride)) + shortcut)
            found[f"block_group{group}"] = inputs
        found["final_avg_pool"] = tf.reduce_mean(inputs, [1, 2])  # (N, D)
        left = len([*self.convolutions, *self.norms])
        if left:
            raise ValueError(f"{left} layers are left over")
        return found

    def convolve(self, inputs: tf.Tensor, stride: int = 1) -> tf.Tensor:
        layer = next(self.convolutions)
        kernel = layer["kernel"]
        side = kernel.shape[0] // 2
        padding = [[0, 0], [side, side], [side, side], [0, 0]]
        outputs = tf.nn.conv2d(inputs, kernel, stride, padding)
        return outputs + layer["bias"] if "bias" in layer else outputs

    def normalize(self, inputs: tf.Tensor) -> tf.Tensor:
        return _normalize(inputs, next(self.norms))

    def unit(self, inputs: tf.Tensor, stride: int = 1) -> tf.Tensor:
        return tf.nn.relu(self.normalize(self.convolve(inputs, stride)))

    def stem(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        if self.architecture.cifar_stem:
            initial = self.convolve(images)
        elif self.architecture.selective_kernels:
            initial = self.convolve(self.unit(self.unit(images, stride=2)))
        else:
            initial = self.convolve(images, stride=2)
        outputs = tf.nn.relu(self.normalize(initial))
        if not self.architecture.cifar_stem:
            outputs = tf.nn.max_pool2d(outputs, 3, 2, "SAME")
        return {"initial_conv": initial, "initial_max_pool": outputs}

    def shortcut(self, inputs: tf.Tensor, stride: int) -> tf.Tensor:
        if not self.architecture.selective_kernels:
            return self.normalize(self.convolve(inputs, stride))
        if stride == 2:  # a map with an odd side is averaged with zeros beyond its far edges
            inputs = tf.pad(inputs, [[0, 0], [0, 1], [0, 1], [0, 0]])
            inputs = tf.nn.avg_pool2d(inputs, 2, 2, "VALID")
        else:
            inputs = tf.nn.avg_pool2d(inputs, 2, 1, "SAME")
        return self.normalize(self.convolve(inputs))

    def basic(self, inputs: tf.Tensor, stride: int) -> tf.Tensor:
        return self.normalize(self.convolve(self.unit(inputs, stride)))

    def bottleneck(self, inputs: tf.Tensor, stride: int) -> tf.Tensor:
        inputs = self.unit(inputs)
        select = self.architecture.selective_kernels
        inputs = self.select(inputs, stride) if select else self.unit(inputs, stride)
        return self.normalize(self.convolve(inputs))

    def select(self, inputs: tf.Tensor, stride: int) -> tf.Tensor:
        """Two 3x3 branches in one convolution, mixed per channel."""
        first, second = tf.split(self.unit(inputs, stride), 2, axis=-1)
        scores = self.convolve(self.unit(_squeeze(first + second)))  # (N, 1, 1, 2C)
        first_score, second_score = tf.split(scores, 2, axis=-1)
        share = tf.sigmoid(first_score - second_score)  # softmax over two
        return first * share + second * (1 - share)

    def excite(self, inputs: tf.Tensor) -> tf.Tensor:
        if not self.architecture.squeeze:
            return inputs
        reduced = tf.nn.relu(self.convolve(_squeeze(inputs)))
        return inputs * tf.sigmoid(self.convolve(reduced))
