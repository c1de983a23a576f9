"""Convolutions of the ResNet family: fixed padding, selective kernels, squeeze and excitation."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.models import cpu_conv
from simclr_tf.models.batch_norm import BatchNorm
from simclr_tf.settings.model import BatchNormConfig

SELECTIVE_KERNEL_MIN_CHANNELS = 32  # SimCLRv2, arXiv 2006.10029


def pad_fixed(inputs: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """Pads the two middle axes by `kernel_size - 1` zeros, the smaller half in front.

    Unlike SAME padding it does not depend on the input size, so a strided convolution samples
    the same positions at every resolution.

    Args:
        inputs: (N, H, W, C).
        kernel_size: Size of the window that follows.

    Returns:
        (N, H + kernel_size - 1, W + kernel_size - 1, C).
    """
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    return tf.pad(inputs, [[0, 0], [before, after], [before, after], [0, 0]])


class FixedPaddingConv(keras.layers.Conv2D):
    """A convolution whose padding depends on the kernel alone; no bias unless asked for.

    Initialised by variance scaling (fan-in, scale 1, truncated normal) as in the reference.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs: Any):
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding="same" if strides == 1 else "valid",
            use_bias=kwargs.pop("use_bias", False),
            kernel_initializer=keras.initializers.VarianceScaling(),
            **kwargs,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves (N, H, W, C) to (N, ceil(H / strides), ceil(W / strides), filters)."""
        size, strides = self.kernel_size[0], self.strides[0]
        if strides > 1 and size == 1:
            # oneDNN's gradient of such a kernel is wrong with AVX2 and can crash with AVX-512
            # where it has few input channels (docs/performance.md).
            inputs, strides = _sampled(inputs, strides), 1
        elif strides > 1:
            inputs = pad_fixed(inputs, size)
        if cpu_conv.applies(inputs, self.kernel, strides):
            outputs = cpu_conv.convolve(inputs, tf.convert_to_tensor(self.kernel), strides)
        else:
            padding = "SAME" if strides == 1 else "VALID"
            outputs = tf.nn.conv2d(inputs, self.kernel, strides=strides, padding=padding)
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs


def _sampled(inputs: tf.Tensor, strides: int) -> tf.Tensor:
    """Every `strides`-th position of (N, H, W, C) in both directions."""
    height, width, channels = inputs.shape[1:]
    if height is None or width is None or height % strides or width % strides:
        return inputs[:, ::strides, ::strides]
    # `tf.slice` and its gradient take less than half the time of slices with strides.
    cells = tf.reshape(inputs, [-1, strides, width // strides, strides * channels])
    firsts = tf.slice(cells, [0] * 4, [-1, 1, width // strides, channels])
    return tf.reshape(firsts, [-1, height // strides, width // strides, channels])


@dataclasses.dataclass(frozen=True)
class LayerFactory:
    """Makes convolutions and batch norms with the settings that a network shares.

    Attributes:
        batch_norm: Settings of every batch norm.
        dtype: Name of the Keras policy of every layer (`float32`, `mixed_bfloat16`).
    """

    batch_norm: BatchNormConfig
    dtype: str = "float32"

    def conv(
        self, filters: int, kernel_size: int, strides: int = 1, *, name: str, use_bias: bool = False
    ) -> FixedPaddingConv:
        """A convolution called `name`."""
        return FixedPaddingConv(
            filters, kernel_size, strides, name=name, dtype=self.dtype, use_bias=use_bias
        )

    def norm(self, name: str, zero_gamma: bool = False) -> BatchNorm:
        """A batch norm called `name`."""
        return BatchNorm(self.batch_norm, zero_gamma, name=name, dtype=self.dtype)


class SelectiveKernelConv(keras.layers.Layer):
    """Two 3x3 streams, mixed per image and channel by a softmax over the streams.

    As in SimCLRv2 (arXiv 2006.10029): the weights come from the pooled sum of the streams through
    a two-layer MLP. Normalisation and ReLU of the streams are part of the layer.
    """

    def __init__(
        self, filters: int, strides: int, sk_ratio: float, layers: LayerFactory, name: str
    ):
        super().__init__(name=name, dtype=layers.dtype)
        hidden = max(int(filters * sk_ratio), SELECTIVE_KERNEL_MIN_CHANNELS)
        self.streams = layers.conv(2 * filters, 3, strides, name="streams")
        self.streams_bn = layers.norm("streams_bn")
        self.reduce = layers.conv(hidden, 1, name="reduce")
        self.reduce_bn = layers.norm("reduce_bn")
        self.expand = layers.conv(2 * filters, 1, name="expand")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps (N, H, W, C) to (N, H / strides, W / strides, filters)."""
        both = tf.nn.relu(self.streams_bn(self.streams(inputs), training=training))
        streams = tf.stack(tf.split(both, 2, axis=-1))  # (2, N, h, w, filters)
        pooled = tf.reduce_mean(tf.reduce_sum(streams, axis=0), [1, 2], keepdims=True)
        hidden = tf.nn.relu(self.reduce_bn(self.reduce(pooled), training=training))
        logits = tf.stack(tf.split(self.expand(hidden), 2, axis=-1))  # (2, N, 1, 1, filters)
        return tf.reduce_sum(streams * tf.nn.softmax(logits, axis=0), axis=0)


class SqueezeExcite(keras.layers.Layer):
    """Scales every channel by a sigmoid gate computed from the pooled channels.

    Args:
        channels: Channels of the input.
        base_channels: Narrow width of the block; the gate's hidden layer has
            `max(1, int(base_channels * se_ratio))` channels, as in the reference.
        se_ratio: Ratio of the hidden layer.
        layers: Factory of the convolutions.
        name: Name of the layer.
    """

    def __init__(
        self, channels: int, base_channels: int, se_ratio: float, layers: LayerFactory, name: str
    ):
        super().__init__(name=name, dtype=layers.dtype)
        hidden = max(1, int(base_channels * se_ratio))
        self.reduce = layers.conv(hidden, 1, name="reduce", use_bias=True)
        self.expand = layers.conv(channels, 1, name="expand", use_bias=True)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gates (N, H, W, C)."""
        pooled = tf.reduce_mean(inputs, [1, 2], keepdims=True)  # (N, 1, 1, C)
        gate = tf.sigmoid(self.expand(tf.nn.relu(self.reduce(pooled))))
        return inputs * gate
