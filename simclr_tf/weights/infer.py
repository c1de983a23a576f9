"""The architecture that a stored network must have, from the shapes of its kernels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from simclr_tf.errors import InputError
from simclr_tf.models.conv import SELECTIVE_KERNEL_MIN_CHANNELS
from simclr_tf.models.resnet import BOTTLENECK_EXPANSION, GROUP_CHANNELS
from simclr_tf.settings.model import BLOCKS_PER_GROUP, EncoderConfig, ProjectionConfig

Shape = tuple[int, ...]
PUBLISHED_SK_RATIO = 0.0625  # SimCLRv2, arXiv 2006.10029


def infer_encoder(convs: Sequence[Shape], gates: Sequence[Shape], prefix: str) -> EncoderConfig:
    """Depth, width, selective kernels, squeeze and excitation, and stem.

    Ratios come out as one that gives the stored widths; different ratios can. Selective kernels of
    a network of basic blocks with the CIFAR stem leave no trace in the shapes; nor does
    `resnet_variant` but in basic blocks, or `input_norm`.

    Args:
        convs: Shapes of the kernels without bias in order of creation, (k, k, in, out).
        gates: Shapes of those with bias.
        prefix: The checkpoint, for errors.

    Raises:
        InputError: No ResNet of this library has such kernels.
    """
    if not convs or any(len(shape) != 4 for shape in [*convs, *gates]):
        raise _unknown(prefix, "its convolutions are not two-dimensional")
    # Of a deep stem the third convolution widens; elsewhere none does without a shortcut beside it.
    deep = len(convs) > 2 and all(k[0] == 3 for k in convs[:3]) and convs[2][3] > convs[2][2]
    stem_convs = 3 if deep else 1
    stem = "imagenet" if deep or convs[0][0] == 7 else "cifar"
    blocks = convs[stem_convs:]
    if len(blocks) < 3:
        raise _unknown(prefix, f"it has {len(convs)} convolutions")
    channels = convs[stem_convs - 1][3]
    bottleneck = blocks[0][3] == BOTTLENECK_EXPANSION * channels
    selective = bottleneck and blocks[2][3] == 2 * channels
    per_block = (5 if selective else 3) if bottleneck else 2
    # A shortcut in every group, in torchvision's basic blocks but for the first.
    projects_first = bottleneck or blocks[0][0] == 1
    num_blocks = (len(blocks) - len(GROUP_CHANNELS) + (not projects_first)) / per_block
    depths = [
        depth
        for depth, counts in BLOCKS_PER_GROUP.items()
        if sum(counts) == num_blocks and (depth >= 50) == bottleneck
    ]
    if not depths:
        raise _unknown(prefix, f"it has {len(blocks)} convolutions after the stem")
    sk_ratio = PUBLISHED_SK_RATIO if deep else 0.0
    if selective:
        sk_ratio = _selective_ratio(blocks, prefix)
    width = _width(channels, blocks, bottleneck, prefix)
    se_ratio = _squeeze_ratio(gates, bottleneck, prefix)
    variant = "simclr" if projects_first else "torchvision"
    try:
        return EncoderConfig(depths[0], width, sk_ratio, se_ratio, stem, channels=convs[0][2],
                             resnet_variant=variant)  # fmt: skip
    except InputError as error:  # out of all limits
        raise _unknown(prefix, str(error)) from None


def _unknown(prefix: str, found: str) -> InputError:
    return InputError("checkpoint", f"must hold a ResNet-18, 34, 50, 101, 152 or 200 ({found})",
                      prefix)  # fmt: skip


def _width(channels: int, blocks: Sequence[Shape], bottleneck: bool, prefix: str) -> float:
    """The width multiplier; any that gives the channels of the first and the last group."""
    last = blocks[-1][3] // (BOTTLENECK_EXPANSION if bottleneck else 1)
    wanted = [channels, last]
    base = [GROUP_CHANNELS[0], GROUP_CHANNELS[-1]]
    ratio = _ratio(wanted, base, lambda width, ratio: int(width * ratio))
    if ratio is None:
        raise _unknown(prefix, f"its first group has {channels} channels, its last {last}")
    return ratio


def _selective_ratio(blocks: Sequence[Shape], prefix: str) -> float:
    """From the (filters, hidden) kernels that follow the streams, (3, 3, in, 2 * filters)."""
    pairs = [after[2:] for before, after in itertools.pairwise(blocks) if before[0] == 3]

    def hidden(filters: int, ratio: float) -> int:
        return max(int(filters * ratio), SELECTIVE_KERNEL_MIN_CHANNELS)

    ratio = _ratio([h for _, h in pairs], [f for f, _ in pairs], hidden, PUBLISHED_SK_RATIO)
    if ratio is None:
        raise _unknown(prefix, f"its selective kernels have the widths {sorted(set(pairs))}")
    return ratio


def _squeeze_ratio(gates: Sequence[Shape], bottleneck: bool, prefix: str) -> float:
    """From the first of each pair of gates, (1, 1, channels, hidden)."""
    if not gates:
        return 0.0
    expansion = BOTTLENECK_EXPANSION if bottleneck else 1
    pairs = [(shape[2] // expansion, shape[3]) for shape in gates[::2]]

    def hidden(base: int, ratio: float) -> int:
        return max(1, int(base * ratio))

    ratio = _ratio([h for _, h in pairs], [b for b, _ in pairs], hidden)
    if ratio is None:
        raise _unknown(prefix, f"its gates have the widths {sorted(set(pairs))}")
    return ratio


def _ratio(
    wanted: Sequence[int],
    base: Sequence[int],
    width: Callable[[int, float], int],
    *candidates: float,
) -> float | None:
    """A ratio with `width(base, ratio) == wanted` everywhere, None if there is none.

    The largest width narrows it down most; the middle of what would be rounded down to it serves
    where rounding error spoils the plain quotient.
    """
    largest = max(range(len(base)), key=lambda index: base[index])
    for numerator in (wanted[largest], wanted[largest] + 0.5):
        candidates += (numerator / base[largest],)
    for ratio in candidates:
        if all(width(b, ratio) == w for b, w in zip(base, wanted, strict=True)):
            return ratio
    return None


def infer_projection(kernels: Sequence[Shape]) -> ProjectionConfig:
    """Mode, depth and output width of a projection head.

    Args:
        kernels: Shapes of its dense kernels, (in, out), from the first layer on.
    """
    if not kernels:
        return ProjectionConfig(proj_head_mode="none")
    if len(kernels) == 1:
        return ProjectionConfig(proj_head_mode="linear", proj_out_dim=kernels[0][1])
    return ProjectionConfig(num_proj_layers=len(kernels), proj_out_dim=kernels[-1][1])
