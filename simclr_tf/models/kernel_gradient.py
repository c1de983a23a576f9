"""Gradients of kernels as matrix products, where a CPU computes them faster that way.

oneDNN's gradient with respect to a kernel takes two to three times as long as the convolution
itself where a feature map is small and has many channels, as in the last blocks of a ResNet
(docs/performance.md). The same sum is one product of the patches with the outputs' gradient.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

LARGEST_MAP = 7 * 7  # positions; beyond them copying the patches takes what the product gains

_by_products = contextvars.ContextVar("kernel_gradients_by_products", default=False)


@contextlib.contextmanager
def by_products(wanted: bool) -> Iterator[None]:
    """Whether layers take gradients of kernels as matrix products, see `applies`.

    Acts on the calls that the same thread makes inside it. In a graph it acts while the graph is
    traced; under a strategy, enter it inside the replica function.
    """
    token = _by_products.set(wanted)
    try:
        yield
    finally:
        _by_products.reset(token)


def applies(inputs: tf.Tensor, kernel: tf.Tensor) -> bool:
    """Whether a convolution inside `by_products` is worth it: a small map, an odd square kernel."""
    height, width = inputs.shape[1:3]
    rows, columns = kernel.shape[:2]
    known = height is not None and width is not None
    small = known and height * width <= LARGEST_MAP
    return _by_products.get() and small and rows == columns and rows % 2 == 1


@tf.custom_gradient
def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
    """`tf.nn.conv2d` with stride 1 and SAME padding, whose kernel's gradient is a matrix product.

    Args:
        inputs: (N, H, W, C) with known H and W.
        kernel: (k, k, C, F), k odd.

    Returns:
        (N, H, W, F).
    """

    def backward(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        d_inputs = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(inputs), filter=kernel, out_backprop=dy, strides=[1] * 4,
            padding="SAME",
        )  # fmt: skip
        patches = _patches(inputs, kernel.shape[0])  # (N H W, k k C)
        products = tf.matmul(patches, tf.reshape(dy, [-1, dy.shape[-1]]), transpose_a=True)
        return d_inputs, tf.reshape(products, kernel.shape)

    return tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME"), backward


def _patches(inputs: tf.Tensor, size: int) -> tf.Tensor:
    """The `size` x `size` neighbourhood of every position, zero beyond the border.

    (N, H, W, C) -> (N H W, size size C).
    """
    height, width, channels = inputs.shape[1:]
    if size == 1:
        return tf.reshape(inputs, [-1, channels])
    half = size // 2
    padded = tf.pad(inputs, [[0, 0], [half, half], [half, half], [0, 0]])
    shifted = [
        padded[:, i : i + height, j : j + width] for i in range(size) for j in range(size)
    ]  # (N, H, W, C) each
    return tf.reshape(tf.concat(shifted, axis=-1), [-1, size * size * channels])
