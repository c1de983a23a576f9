"""Layers of a network in a checkpoint, in the order in which they were created.

The reference implementation's names say little more than that order: `base_model/conv2d_7/kernel`
in TF1, `resnet/block_group1/residual_block/conv2d_fixed_padding_2/conv2d_2/kernel` in TF2. The
numbers count the layers of a kind, from anything on, so only their order means something.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from simclr_tf.errors import InputError
from simclr_tf.settings.model import BLOCKS_PER_GROUP, EncoderConfig

OURS, REFERENCE_TF2, REFERENCE_TF1 = "simclr_tf", "reference, TF2", "reference, TF1"
TORCH = "PyTorch"
_STYLES = {"encoder": OURS, "resnet": REFERENCE_TF2, "base_model": REFERENCE_TF1}

_NUMBERED = re.compile(
    r"(?:resnet|base_model)/(?:.+/)?"
    r"(?P<kind>conv2d|(?:sync_)?batch_normalization)(?:_(?P<number>\d+))?/(?P<leaf>\w+)"
)
_HEADS = [
    (r"(?:projection_head|head_contrastive)/n?l_(\d+)/dense(?:_\d+)?/(kernel|bias)",
     r"projection_head/layer_\1/dense/\2"),
    (r"(?:projection_head|head_contrastive)/n?l_(\d+)/(?:.+/)?"
     r"(?:sync_)?batch_normalization(?:_\d+)?/(gamma|beta|moving_mean|moving_variance)",
     r"projection_head/layer_\1/bn/\2"),
    (r"head_supervised/linear_layer/dense(?:_\d+)?/(kernel|bias)", r"linear_head/\1"),
]  # fmt: skip
# Order of creation inside a block (and, conv_1 to conv, inside the deep stem).
_RANKS = ("shortcut/conv", "conv_1", "selective_kernel/streams", "selective_kernel/reduce",
          "selective_kernel/expand", "conv_2", "conv_3", "conv",
          "squeeze_excite/reduce", "squeeze_excite/expand")  # fmt: skip

Leaves = dict[str, str]  # "kernel" -> the variable's full name


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layers of a stored network.

    Attributes:
        style: Whose names they are.
        convs: The encoder's convolutions without bias, in order of creation.
        gates: Its convolutions with bias, those of squeeze and excitation.
        norms: Its batch norms.
        heads: Our name of every head variable -> its stored name.
    """

    style: str
    convs: list[Leaves]
    gates: list[Leaves]
    norms: list[Leaves]
    heads: dict[str, str]


def read_layout(names: Iterable[str], prefix: str) -> Layout:
    """Sorts the full names of a network's variables into its layers.

    Args:
        names: Full names, as `stored.open_variables` lists them.
        prefix: The checkpoint, for errors.

    Raises:
        InputError: They are not those of a SimCLR network, or not all of them are understood.
    """
    names = sorted(names)
    style = next((_STYLES[scope] for scope in map(_scope, names) if scope in _STYLES), None)
    if style is None:
        raise InputError(
            "checkpoint", "must hold a SimCLR encoder (variables under encoder/, resnet/ or "
            "base_model/)", prefix)  # fmt: skip
    layers: dict[tuple, Leaves] = {}
    heads: dict[str, str] = {}
    unknown = []
    for name in names:
        if head := _head_name(name):
            heads[head] = name
        elif place := _place(name):
            kind, order, leaf = place
            layers.setdefault((kind, *order), {})[leaf] = name
        else:
            unknown.append(name)
    if unknown:
        listed = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise InputError("checkpoint", "must hold the variables of a SimCLR network and no others "
                         f"beside it (not understood: {listed})", prefix)  # fmt: skip
    ordered = [(key[0], layers[key]) for key in sorted(layers)]
    convs = [leaves for kind, leaves in ordered if kind == "conv"]
    return Layout(
        style=style,
        convs=[leaves for leaves in convs if "bias" not in leaves],
        gates=[leaves for leaves in convs if "bias" in leaves],
        norms=[leaves for kind, leaves in ordered if kind == "norm"],
        heads=heads,
    )


def _scope(name: str) -> str:
    return name.split("/")[0]


def _head_name(name: str) -> str | None:
    if name.startswith(("projection_head/layer_", "linear_head/")):
        return name
    for pattern, ours in _HEADS:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    return None


def _place(name: str) -> tuple[str, tuple[int, ...], str] | None:
    """Kind of the layer that owns an encoder variable, its place in the order, and the leaf."""
    if match := _NUMBERED.fullmatch(name):
        kind = "conv" if match["kind"] == "conv2d" else "norm"
        return kind, (int(match["number"] or 0),), match["leaf"]
    match = re.fullmatch(r"encoder/(stem|block_group(\d)/block_(\d+))/(.+)/(\w+)", name)
    if match is None:
        return None
    block = (0, 0) if match[1] == "stem" else (int(match[2]), int(match[3]))
    layer, leaf = match[4], match[5]
    kind = "norm" if re.search(r"(^|_|/)bn(_\d)?$", layer) else "conv"
    layer = re.sub(r"(^|/)bn", r"\1conv", layer).removesuffix("_bn")
    return (kind, (*block, _RANKS.index(layer)), leaf) if layer in _RANKS else None


def encoder_layers(config: EncoderConfig) -> tuple[list[str], list[str], list[str]]:
    """Our names of a network's convolutions, gates and batch norms in order of creation.

    Args:
        config: With a resolved stem.
    """
    deep = config.stem == "imagenet" and config.sk_ratio > 0
    convs = [f"encoder/stem/{name}" for name in (("conv_1", "conv_2") if deep else ())]
    convs.append("encoder/stem/conv")
    gates = []
    for group, num_blocks in enumerate(BLOCKS_PER_GROUP[config.resnet_depth], start=1):
        for index in range(num_blocks):
            block = f"encoder/block_group{group}/block_{index}"
            project = index == 0 and (group > 1 or config.projects_first)
            convs += [f"{block}/{name}" for name in _block_convs(config, project)]
            if config.se_ratio > 0:
                gates += [f"{block}/squeeze_excite/{name}" for name in ("reduce", "expand")]
    norms = [_norm_of(name) for name in convs if not name.endswith("/expand")]
    return convs, gates, norms


def _block_convs(config: EncoderConfig, project: bool) -> list[str]:
    names = ["shortcut/conv"] if project else []
    if config.resnet_depth < 50:
        return [*names, "conv_1", "conv_2"]
    if config.sk_ratio > 0:
        middle = [f"selective_kernel/{name}" for name in ("streams", "reduce", "expand")]
    else:
        middle = ["conv_2"]
    return [*names, "conv_1", *middle, "conv_3"]


def _norm_of(conv: str) -> str:
    """`.../conv_1` -> `.../bn_1`, `.../streams` -> `.../streams_bn`."""
    parent, _, layer = conv.rpartition("/")
    return f"{parent}/{layer.replace('conv', 'bn') if 'conv' in layer else layer + '_bn'}"
