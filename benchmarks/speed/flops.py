"""Floating-point operations of a ResNet by formula; a multiplication and an addition are two."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from simclr_tf.config import BLOCKS_PER_GROUP

# Forward, the gradient of the activations and the gradient of the kernels cost the same.
TRAINING_PASSES = 3


class Convolution(NamedTuple):
    """One convolution of a square map; a dense layer is a 1x1 convolution of one pixel.

    Attributes:
        before: Height and width of the input.
        after: Height and width of the output.
        kernel: Height and width of the kernel.
        inputs: Channels of the input.
        outputs: Channels of the output.
        role: `stem`, `inner` or `last` of a block's branch, `shortcut`, or `dense`.
    """

    before: int
    after: int
    kernel: int
    inputs: int
    outputs: int
    role: str

    @property
    def flops(self) -> int:
        """Of one image's forward pass."""
        return 2 * self.output_size * self.kernel**2 * self.inputs

    @property
    def weights(self) -> int:
        """Numbers in the kernel."""
        return self.kernel**2 * self.inputs * self.outputs

    @property
    def input_size(self) -> int:
        """Numbers in one image's input."""
        return self.before**2 * self.inputs

    @property
    def output_size(self) -> int:
        """Numbers in one image's output."""
        return self.after**2 * self.outputs


def convolutions(depth: int, image_size: int, width: float = 1.0) -> list[Convolution]:
    """Every convolution of a ResNet, in forward order.

    Args:
        depth: From 50 on with bottlenecks, their stride in the 3x3 convolution.
        image_size: In pixels; up to 32 the stem is a 3x3 convolution of stride 1.
        width: Multiplies all channels.
    """
    channels = int(64 * width)
    if image_size <= 32:
        size, found = image_size, [Convolution(image_size, image_size, 3, 3, channels, "stem")]
    else:
        half = -(-image_size // 2)
        size, found = -(-half // 2), [Convolution(image_size, half, 7, 3, channels, "stem")]
    for group, count in enumerate(BLOCKS_PER_GROUP[depth]):
        filters = int(64 * 2**group * width)
        outputs = filters if depth < 50 else 4 * filters
        for block in range(count):
            after = -(-size // (2 if group and not block else 1))
            if depth < 50:
                found += [Convolution(size, after, 3, channels, filters, "inner"),
                          Convolution(after, after, 3, filters, outputs, "last")]  # fmt: skip
            else:
                found += [Convolution(size, size, 1, channels, filters, "inner"),
                          Convolution(size, after, 3, filters, filters, "inner"),
                          Convolution(after, after, 1, filters, outputs, "last")]  # fmt: skip
            if not block:
                found.append(Convolution(size, after, 1, channels, outputs, "shortcut"))
            size, channels = after, outputs
    return found


def dense(sizes: tuple[int, ...]) -> list[Convolution]:
    """Dense layers from each size to the next."""
    return [Convolution(1, 1, 1, *pair, "dense") for pair in itertools.pairwise(sizes)]


def forward_flops(
    depth: int, image_size: int, width: float = 1.0, head: tuple[int, ...] = ()
) -> int:
    """Convolutions and dense layers of one image's forward pass.

    Args:
        depth: Of the ResNet, see `convolutions`.
        image_size: In pixels.
        width: Multiplies all channels.
        head: Sizes of dense layers that follow.
    """
    layers = convolutions(depth, image_size, width)
    channels = next(layer.outputs for layer in reversed(layers) if layer.role == "last")
    return sum(layer.flops for layer in [*layers, *dense((channels, *head))])


def training_flops(layers: list[Convolution]) -> int:
    """Of one image's step: the first layer needs no gradient of its input."""
    return TRAINING_PASSES * sum(layer.flops for layer in layers) - layers[0].flops


def pair_flops(depth: int, image_size: int) -> int:
    """A training step's operations for each of its pairs, with the default projection head."""
    channels = 512 if depth < 50 else 2048
    forward = forward_flops(depth, image_size, head=(channels, channels, 128))
    return 2 * TRAINING_PASSES * forward
