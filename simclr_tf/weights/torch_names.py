"""Names of our variables in PyTorch: torchvision's, where it has such a layer.

`encoder/block_group1/block_0/conv_1/kernel` is `layer1.0.conv1.weight`. What torchvision's ResNets
lack, such as selective kernels, gates and heads, has names of ours. Kernels have their axes in
another order: (out, in, h, w) in place of (h, w, in, out).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

_LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_NORM_LEAVES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
                "running_var": "moving_variance"}  # fmt: skip
_STEM = {
    "conv": "conv1", "bn": "bn1", "conv_1": "stem.conv1", "bn_1": "stem.bn1",
    "conv_2": "stem.conv2", "bn_2": "stem.bn2",
}  # fmt: skip
_BLOCK = {
    "shortcut/conv": "downsample.0", "shortcut/bn": "downsample.1",
    **{f"{kind}_{k}": f"{kind}{k}" for kind in ("conv", "bn") for k in (1, 2, 3)},
    **{f"selective_kernel/{name}": f"sk.{name}"
       for name in ("streams", "streams_bn", "reduce", "reduce_bn", "expand")},
    **{f"squeeze_excite/{name}": f"se.{name}" for name in ("reduce", "expand")},
}  # fmt: skip
_STEM_BACK = {theirs: ours for ours, theirs in _STEM.items()}
_BLOCK_BACK = {theirs: ours for ours, theirs in _BLOCK.items()}
# Copies of an encoder that follow another one, and encoders of what is compared with it.
_FOLLOWERS = ("momentum", "teacher", "target", "encoder_k", "ema", "key_encoder")
_FIRST_BLOCK = re.compile(r"(.*?)(?:layer1|(\d+))\.0\.conv1\.weight")


def torch_name(name: str) -> str:
    """The name in PyTorch of the variable that we call `name`.

    Raises:
        KeyError: There is no such variable in a ResNet of ours.
    """
    layer, _, leaf = name.rpartition("/")
    leaf = _LEAVES[leaf]
    if match := re.fullmatch(r"encoder/stem/(.+)", layer):
        return f"{_STEM[match[1]]}.{leaf}"
    if match := re.fullmatch(r"encoder/block_group(\d)/block_(\d+)/(.+)", layer):
        return f"layer{match[1]}.{match[2]}.{_BLOCK[match[3]]}.{leaf}"
    if match := re.fullmatch(r"projection_head/layer_(\d+)/(dense|bn)", layer):
        return f"projection_head.{match[1]}.{match[2]}.{leaf}"
    return {"linear_head": f"linear_head.{leaf}"}[layer]


def our_name(name: str) -> str | None:
    """Our name of a tensor with a name of `torch_name`; None for what no network of ours has."""
    layer, _, leaf = name.rpartition(".")
    if match := re.fullmatch(r"layer([1-4])\.(\d{1,3})\.(.+)", layer):
        ours = _BLOCK_BACK.get(match[3])
        place = f"encoder/block_group{match[1]}/block_{match[2]}/{ours}"
    elif match := re.fullmatch(r"projection_head\.(\d{1,3})\.(dense|bn)", layer):
        ours, place = match[2], f"projection_head/layer_{match[1]}/{match[2]}"
    elif layer == "linear_head":
        ours, place = layer, layer
    else:
        ours = _STEM_BACK.get(layer)
        place = f"encoder/stem/{ours}"
    if ours is None:
        return None
    is_norm = re.search(r"(^|[/_])bn(_\d)?$", ours) is not None
    ours_leaf = _NORM_LEAVES.get(leaf) if is_norm else {"weight": "kernel"}.get(leaf, leaf)
    return f"{place}/{ours_leaf}" if ours_leaf in _LEAVES else None


def to_torch(value: np.ndarray) -> np.ndarray:
    """A value of ours with PyTorch's order of axes."""
    if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(value.T if value.ndim == 2 else value)


def from_torch(value: np.ndarray) -> np.ndarray:
    """The opposite of `to_torch`."""
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value


def our_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of `from_torch` of a tensor."""
    if len(shape) == 4:
        return (shape[2], shape[3], shape[1], shape[0])
    return shape[::-1] if len(shape) == 2 else shape


def encoders_in(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The ResNets in a state dict, by the prefix of their names.

    Known are those that give the layers torchvision's names (torchvision, solo-learn, VISSL, MoCo),
    and those that number them, in an `nn.Sequential` of a ResNet's children (lightly), with the
    first block group at any place. lightly's own ResNets call `shortcut` what is `downsample`.

    Returns:
        By prefix torchvision's name of every tensor of the encoder -> its name in the file.
    """
    names = list(names)
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = _FIRST_BLOCK.fullmatch(name)
        if match is None:
            continue
        prefix, first = match[1], match[2]
        renamed = _plain_names(names, prefix, None if first is None else int(first))
        if "conv1.weight" in renamed or "stem.conv1.weight" in renamed:
            found.setdefault(prefix, renamed)
    return found


def _plain_names(names: Iterable[str], prefix: str, first: int | None) -> dict[str, str]:
    plain = {}
    for name in names:
        if not name.startswith(prefix):
            continue
        inner = name[len(prefix) :].replace(".shortcut.", ".downsample.")
        if first is not None:
            number, _, rest = inner.partition(".")
            if not number.isdigit():
                continue
            place = int(number) - first
            layers = {
                0 - first: "conv1",
                1 - first: "bn1",
                **{k: f"layer{k + 1}" for k in range(4)},
            }
            if place not in layers:
                continue
            inner = f"{layers[place]}.{rest}"
        plain[inner] = name
    return plain


def without_followers(found: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The encoders that gradients train, where copies that follow them lie beside them."""
    leading = {prefix: names for prefix, names in found.items()
               if not any(word in prefix for word in _FOLLOWERS)}  # fmt: skip
    return leading or dict(found)
