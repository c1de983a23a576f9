"""Floating-point operations of a ResNet by formula; a multiplication and an addition are two."""

from __future__ import annotations

from simclr_tf.config import BLOCKS_PER_GROUP

# Forward, the gradient of the activations and the gradient of the kernels cost the same.
TRAINING_PASSES = 3


def _convolution(size: int, kernel: int, inputs: int, outputs: int) -> int:
    return 2 * size * size * kernel * kernel * inputs * outputs


def forward_flops(
    depth: int, image_size: int, width: float = 1.0, head: tuple[int, ...] = ()
) -> int:
    """Convolutions and dense layers of one image's forward pass.

    Args:
        depth: Of the ResNet; from 50 on with bottlenecks, their stride in the 3x3 convolution.
        image_size: In pixels; up to 32 the stem is a 3x3 convolution of stride 1.
        width: Multiplies all channels.
        head: Sizes of dense layers that follow.
    """
    base = int(64 * width)
    if image_size <= 32:
        size, total = image_size, _convolution(image_size, 3, 3, base)
    else:
        size = -(-image_size // 2)
        total = _convolution(size, 7, 3, base)
        size = -(-size // 2)
    channels = base
    for group, count in enumerate(BLOCKS_PER_GROUP[depth]):
        filters = base * 2**group
        outputs = filters if depth < 50 else 4 * filters
        for block in range(count):
            stride = 2 if group and not block else 1
            after = -(-size // stride)
            if depth < 50:
                total += _convolution(after, 3, channels, filters)
                total += _convolution(after, 3, filters, filters)
            else:
                total += _convolution(size, 1, channels, filters)
                total += _convolution(after, 3, filters, filters)
                total += _convolution(after, 1, filters, outputs)
            if not block and (stride > 1 or channels != outputs):
                total += _convolution(after, 1, channels, outputs)
            size, channels = after, outputs
    return total + sum(2 * inputs * outputs for inputs, outputs in
                       zip((channels, *head), head, strict=False))  # fmt: skip


def pair_flops(depth: int, image_size: int) -> int:
    """A training step's operations for each of its pairs, with the default projection head."""
    channels = 512 if depth < 50 else 2048
    forward = forward_flops(depth, image_size, head=(channels, channels, 128))
    return 2 * TRAINING_PASSES * forward
