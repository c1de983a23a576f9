"""The ResNet encoder f with named endpoints (section 2.1; SimCLRv2, arXiv 2006.10029).

Variables are created in the order of the reference implementation (shortcut first, then the
block's convolutions) and have the same names in every instance, for example
`encoder/block_group1/block_0/conv_1/kernel`: checkpoints are matched by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import InputError
from simclr_tf.models import saving
from simclr_tf.models.conv import LayerFactory, SelectiveKernelConv, SqueezeExcite, pad_fixed
from simclr_tf.models.remat import recomputed
from simclr_tf.settings import by_name
from simclr_tf.settings.model import BLOCKS_PER_GROUP, BatchNormConfig, EncoderConfig

BOTTLENECK_EXPANSION = 4
GROUP_CHANNELS = (64, 128, 256, 512)
SMALLEST_IMAGE = 32  # one pixel is left of it after the ImageNet stem and four groups


class Stem(keras.layers.Layer):
    """What stands before the first block group.

    `cifar`: one 3x3 convolution, no pooling. `imagenet`: 7x7 with stride 2 and 3x3 max pooling
    with stride 2; with `sk_ratio` above 0 three 3x3 convolutions instead of the 7x7 (ResNet-D).
    How they pad depends on `resnet_variant`.
    """

    def __init__(self, config: EncoderConfig, layers: LayerFactory, name: str = "stem"):
        super().__init__(name=name, dtype=layers.dtype)
        channels = int(GROUP_CHANNELS[0] * config.width_multiplier)
        self.pool = config.stem == "imagenet"
        self.deep = self.pool and config.sk_ratio > 0
        self.pads_pool, self.pads_input = config.pads_pool, config.pads_input
        if self.deep:
            self.conv_1 = layers.conv(channels // 2, 3, 2, name="conv_1")
            self.bn_1 = layers.norm("bn_1")
            self.conv_2 = layers.conv(channels // 2, 3, name="conv_2")
            self.bn_2 = layers.norm("bn_2")
            self.conv = layers.conv(channels, 3, name="conv")
        elif self.pool:
            self.conv = layers.conv(channels, 7, 2, name="conv")
        else:
            self.conv = layers.conv(channels, 3, name="conv")
        self.bn = layers.norm("bn")

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the last convolution's raw output and the input of the first block group."""
        x = pad_fixed(images, 3) if self.pads_input else images  # (N, H, W, C)
        if self.deep:
            x = tf.nn.relu(self.bn_1(self.conv_1(x), training=training))
            x = tf.nn.relu(self.bn_2(self.conv_2(x), training=training))
        initial_conv = self.conv(x)
        x = tf.nn.relu(self.bn(initial_conv, training=training))
        if self.pads_pool:  # zeros hide nothing: ReLU leaves nothing smaller
            x = tf.nn.max_pool2d(pad_fixed(x, 3), 3, 2, "VALID")
        elif self.pool:
            x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        return initial_conv, x


class Shortcut(keras.layers.Layer):
    """Projects a block's input to its output shape; with `pool` as in ResNet-D (average first)."""

    def __init__(self, filters: int, strides: int, pool: bool, layers: LayerFactory):
        super().__init__(name="shortcut", dtype=layers.dtype)
        self.strides = strides
        self.pool = pool
        self.conv = layers.conv(filters, 1, 1 if pool else strides, name="conv")
        self.bn = layers.norm("bn")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps (N, H, W, C) to (N, H / strides, W / strides, filters)."""
        x = inputs
        if self.pool and self.strides > 1:
            x = tf.nn.avg_pool2d(pad_fixed(x, 2), 2, self.strides, "VALID")
        elif self.pool:
            x = tf.nn.avg_pool2d(x, 2, 1, "SAME")
        return self.bn(self.conv(x), training=training)


class ResidualBlock(keras.layers.Layer):
    """Convolutions plus shortcut, then ReLU; subclasses say which convolutions.

    The scale of the last batch norm starts at zero: at first a block is its shortcut.
    """

    expansion = 1

    def __init__(
        self,
        filters: int,
        strides: int,
        project: bool,
        config: EncoderConfig,
        layers: LayerFactory,
        name: str,
    ):
        super().__init__(name=name, dtype=layers.dtype)
        channels = filters * self.expansion
        self.shortcut = (
            Shortcut(channels, strides, config.sk_ratio > 0, layers) if project else None
        )
        self.add_convolutions(filters, strides, config, layers)
        self.squeeze_excite = (
            SqueezeExcite(channels, filters, config.se_ratio, layers, name="squeeze_excite")
            if config.se_ratio > 0
            else None
        )

    def add_convolutions(
        self, filters: int, strides: int, config: EncoderConfig, layers: LayerFactory
    ) -> None:
        """Creates the layers of `convolve`."""
        raise NotImplementedError

    def convolve(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """The residual branch before squeeze and excitation."""
        raise NotImplementedError

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps (N, H, W, C) to (N, H / strides, W / strides, filters * expansion)."""
        shortcut = inputs
        if self.shortcut is not None:
            shortcut = self.shortcut(inputs, training=training)
        residual = self.convolve(inputs, training)
        if self.squeeze_excite is not None:
            residual = self.squeeze_excite(residual)
        return tf.nn.relu(residual + shortcut)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (ResNet-18 and 34)."""

    def add_convolutions(
        self, filters: int, strides: int, config: EncoderConfig, layers: LayerFactory
    ) -> None:
        """Creates the layers of `convolve`."""
        self.conv_1 = layers.conv(filters, 3, strides, name="conv_1")
        self.bn_1 = layers.norm("bn_1")
        self.conv_2 = layers.conv(filters, 3, name="conv_2")
        self.bn_2 = layers.norm("bn_2", zero_gamma=True)

    def convolve(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """The residual branch before squeeze and excitation."""
        x = tf.nn.relu(self.bn_1(self.conv_1(inputs), training=training))
        return self.bn_2(self.conv_2(x), training=training)


class BottleneckBlock(ResidualBlock):
    """1x1, 3x3 (or selective kernels) and 1x1 convolutions (ResNet-50 and deeper)."""

    expansion = BOTTLENECK_EXPANSION

    def add_convolutions(
        self, filters: int, strides: int, config: EncoderConfig, layers: LayerFactory
    ) -> None:
        """Creates the layers of `convolve`."""
        self.selective = config.sk_ratio > 0
        self.conv_1 = layers.conv(filters, 1, name="conv_1")
        self.bn_1 = layers.norm("bn_1")
        if self.selective:
            self.sk = SelectiveKernelConv(
                filters, strides, config.sk_ratio, layers, name="selective_kernel"
            )
        else:
            self.conv_2 = layers.conv(filters, 3, strides, name="conv_2")
            self.bn_2 = layers.norm("bn_2")
        self.conv_3 = layers.conv(filters * self.expansion, 1, name="conv_3")
        self.bn_3 = layers.norm("bn_3", zero_gamma=True)

    def convolve(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """The residual branch before squeeze and excitation."""
        x = tf.nn.relu(self.bn_1(self.conv_1(inputs), training=training))
        if self.selective:
            x = self.sk(x, training=training)
        else:
            x = tf.nn.relu(self.bn_2(self.conv_2(x), training=training))
        return self.bn_3(self.conv_3(x), training=training)


class BlockGroup(keras.layers.Layer):
    """Residual blocks of one width; the first one strides and projects its shortcut.

    With `project=False` no block does: the input has their width already.
    """

    def __init__(
        self,
        filters: int,
        num_blocks: int,
        strides: int,
        config: EncoderConfig,
        layers: LayerFactory,
        name: str,
        project: bool = True,
    ):
        super().__init__(name=name, dtype=layers.dtype)
        self.recompute = False  # see `ResNet.recompute_blocks`
        block = BasicBlock if config.resnet_depth < 50 else BottleneckBlock
        self.blocks = [
            block(filters, strides if i == 0 else 1, project and i == 0, config, layers,
                  name=f"block_{i}")
            for i in range(num_blocks)
        ]  # fmt: skip

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Applies the blocks one after the other."""
        x = inputs
        for block in self.blocks:
            # A first call creates variables, which a gradient function may not.
            again = self.recompute and block.built
            x = recomputed(block, x, training) if again else block(x, training=training)
        return x


@saving.registered
class ResNet(keras.Model):
    """A ResNet that returns all its endpoints by name.

    Example:
        >>> config = simclr_tf.EncoderConfig(18, width_multiplier=0.0625, stem="cifar")
        >>> simclr_tf.ResNet(config)(np.zeros([1, 32, 32, 3], np.float32))["final_avg_pool"].shape
        TensorShape([1, 32])

    Attributes:
        example_shape: Height, width and channels of small images that it takes.
        feature_width: D, the width of `final_avg_pool`.

    Args:
        config: Depth, width, SK and SE ratios and stem; `stem='auto'` must be resolved before.
        batch_norm: Settings of every batch norm.
        dtype: Name of the Keras policy of all layers: `float32` or `mixed_bfloat16`.
        name: First part of every variable's name.

    Raises:
        InputError: `config.stem` is `auto`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        batch_norm: BatchNormConfig | None = None,
        dtype: str = "float32",
        name: str = "encoder",
    ):
        super().__init__(name=name, dtype=dtype)
        if config.stem == "auto":
            raise InputError("stem", "must be resolved from the image size first", config.stem)
        self._norm_config = batch_norm or BatchNormConfig()
        self._encoder_config, self._policy_name = config, dtype
        layers = LayerFactory(self._norm_config, dtype)
        self.example_shape = (SMALLEST_IMAGE, SMALLEST_IMAGE, config.channels)
        self.frozen_after_block = -1
        self.pixel_statistics = config.pixel_statistics
        self.stem = Stem(config, layers)
        self.groups = [
            BlockGroup(
                int(channels * config.width_multiplier),
                num_blocks,
                1 if k == 0 else 2,
                config,
                layers,
                name=f"block_group{k + 1}",
                project=k > 0 or config.projects_first,
            )
            for k, (channels, num_blocks) in enumerate(
                zip(GROUP_CHANNELS, BLOCKS_PER_GROUP[config.resnet_depth], strict=True)
            )
        ]

        images = tf.zeros([1, *self.example_shape])
        self.feature_width: int = self(images)["final_avg_pool"].shape[-1]  # creates all variables

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs, as JSON values."""
        return saving.describe(
            self,
            settings=by_name.flatten(self._encoder_config),
            batch_norm=by_name.flatten(self._norm_config),
            dtype=self._policy_name,
            frozen_after_block=self.frozen_after_block,
        )

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> ResNet:
        """An encoder like the one that gave the configuration, with new weights."""
        return saving.rebuild(_resnet, config, custom_objects)

    def get_build_config(self) -> None:
        """Nothing: the constructor creates all variables."""

    def freeze(self, after_block: int) -> None:
        """Fixes parameters and BN statistics of the stem (0) and block groups 1 to `after_block`.

        -1 freezes nothing. No gradient flows into what is frozen.
        """
        self.frozen_after_block = after_block
        parts: list[keras.layers.Layer] = [self.stem, *self.groups]
        for k, part in enumerate(parts):
            part.trainable = k > after_block

    def recompute_blocks(self, recompute: bool) -> None:
        """Whether the backward pass computes the activations inside residual blocks again.

        Of each block only the input then waits in memory for the gradient, for the time of a
        second forward pass. Outputs and gradients are the same. Acts on later traces and calls.
        """
        for group in self.groups:
            group.recompute = recompute

    def call(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Embeds images.

        Args:
            images: (N, H, W, C), floats in [0, 1], any size.
            training: Whether batch norm uses the batch's statistics.

        Returns:
            `initial_conv` (before batch norm and ReLU), `initial_max_pool` (after them and after
            pooling where the stem pools) and `block_group1` to `block_group4`, maps (N, h, w, c)
            in the arithmetic of the layers, and `final_avg_pool` (N, D), always float32.

        Raises:
            ValueError: The images are not floating point.
        """
        if not images.dtype.is_floating:  # Keras can only pass on errors made from one string
            raise ValueError(f"images must be floats in [0, 1]. Received: {images.dtype.name}")
        x = tf.cast(self._normalized(images), self.compute_dtype)
        initial_conv, x = self.stem(x, training=training)
        x = self._cut(x, 0)
        endpoints = {"initial_conv": initial_conv, "initial_max_pool": x}
        for k, group in enumerate(self.groups, start=1):
            x = self._cut(group(x, training=training), k)
            endpoints[f"block_group{k}"] = x
        endpoints["final_avg_pool"] = tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])  # (N, D)
        return endpoints

    def _normalized(self, images: tf.Tensor) -> tf.Tensor:
        if self.pixel_statistics is None:
            return images
        mean, deviation = self.pixel_statistics
        return (tf.cast(images, tf.float32) - tf.constant(mean)) / tf.constant(deviation)

    def _cut(self, x: tf.Tensor, part: int) -> tf.Tensor:
        return tf.stop_gradient(x) if part <= self.frozen_after_block else x


def _resnet(
    name: str,
    settings: Mapping[str, Any],
    batch_norm: Mapping[str, Any],
    dtype: str,
    frozen_after_block: int,
) -> ResNet:
    encoder = ResNet(
        by_name.build_config(EncoderConfig, settings),
        by_name.build_config(BatchNormConfig, batch_norm),
        dtype,
        name,
    )
    encoder.freeze(frozen_after_block)
    return encoder
