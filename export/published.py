"""Reads the published TF2 object-based checkpoints into our own layers.

Their keys follow the attributes of the reference implementation's objects; a table of patterns
turns the name of one of our variables into its key. Networks of basic blocks (ResNet-18 and 34)
without SK and SE only: anything else is refused as missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from simclr_tf.errors import InputError, require
from simclr_tf.models.simclr import SimCLR

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_BLOCK = r"encoder/block_group(\d)/block_(\d+)"
_BLOCK_KEY = "resnet_model/block_groups/{group}/layers/{block}"


def _block_key(tail: Callable[[int], str]) -> Callable[[re.Match[str]], str]:
    """Key of a part of block (group, block); `tail` gets the number of the convolution."""

    def key(match: re.Match[str]) -> str:
        group, block, *rest = match.groups()
        start = _BLOCK_KEY.format(group=int(group) - 1, block=block)
        number = int(rest[0]) if len(rest) > 1 else 1
        return f"{start}/{tail(number)}/{rest[-1]}"

    return key


_KEYS: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"encoder/stem/conv/(\w+)", r"resnet_model/initial_conv_relu_max_pool/0/conv2d/\1"),
    (r"encoder/stem/bn/(\w+)", r"resnet_model/initial_conv_relu_max_pool/2/bn/\1"),
    (_BLOCK + r"/shortcut/conv/(\w+)", _block_key(lambda _: "shortcut_layers/0/conv2d")),
    (_BLOCK + r"/shortcut/bn/(\w+)", _block_key(lambda _: "shortcut_layers/1/bn")),
    (_BLOCK + r"/conv_(\d)/(\w+)", _block_key(lambda i: f"conv2d_bn_layers/{2 * i - 2}/conv2d")),
    (_BLOCK + r"/bn_(\d)/(\w+)", _block_key(lambda i: f"conv2d_bn_layers/{2 * i - 1}/bn")),
    (r"projection_head/layer_(\d+)/dense/(\w+)", r"_projection_head/linear_layers/\1/dense/\2"),
    (r"projection_head/layer_(\d+)/bn/(\w+)", r"_projection_head/linear_layers/\1/bn_relu/bn/\2"),
    (r"linear_head/(\w+)", r"supervised_head/linear_layer/dense/\1"),
]


def published_key(name: str) -> str | None:
    """The checkpoint key of our variable `name` (without `:0`); None if there is no such layer."""
    for pattern, key in _KEYS:
        match = re.fullmatch(pattern, name)
        if match:
            return f"model/{match.expand(key) if isinstance(key, str) else key(match)}{SUFFIX}"
    return None


def load_published_checkpoint(model: SimCLR, prefix: str) -> None:
    """Fills all variables of `model` from a published TF2 checkpoint, or changes nothing.

    Heads that the checkpoint has and the model has not are left out; the encoders must be equal.

    Args:
        model: A built model.
        prefix: Path of the checkpoint without `.index`.

    Raises:
        InputError: There is no checkpoint, or variables are missing or differ in shape; the
            message names them.
    """
    require(tf.io.gfile.exists(f"{prefix}.index"), "checkpoint", "must exist", prefix)
    reader = tf.train.load_checkpoint(prefix)
    shapes = {key: tuple(shape) for key, shape in reader.get_variable_to_shape_map().items()}
    keys = {v.name: published_key(v.name.split(":")[0]) for v in model.variables}
    faults = [_fault(v, keys[v.name], shapes) for v in model.variables]
    faults += [
        f"{key.removesuffix(SUFFIX)} has no place in the model"
        for key in sorted(shapes)
        if key.startswith("model/resnet_model/") and key not in keys.values()
    ]
    faults = [fault for fault in faults if fault]
    if faults:
        raise InputError("checkpoint", f"must match the model: {'; '.join(faults)}", prefix)
    values: dict[str, np.ndarray] = {name: reader.get_tensor(key) for name, key in keys.items()}
    for variable in model.variables:
        variable.assign(values[variable.name])


def _fault(variable: tf.Variable, key: str | None, shapes: dict[str, tuple[int, ...]]) -> str:
    name, shape = variable.name.split(":")[0], tuple(variable.shape)
    if key is None or key not in shapes:
        return f"{name} {shape} is missing"
    if shapes[key] != shape:
        return f"{name} has shape {shape}, the checkpoint {shapes[key]}"
    return ""
