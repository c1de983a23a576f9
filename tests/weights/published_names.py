"""Names, object keys and shapes of the reference implementation's variables, for any size.

The listings under `tests/fixtures/foreign` pin the rules down; this writes them out for networks
that are too large to keep a listing of, such as the ResNet-152 of three times the width. Squeeze
and excitation is left to the listings.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import NamedTuple

from tests.weights.oracle import BLOCKS, Architecture

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


class Variable(NamedTuple):
    """One variable, as each of the three formats knows it."""

    tf1_name: str
    full_name: str
    key: str
    shape: list[int]


@dataclasses.dataclass(frozen=True)
class Size:
    """What an `Architecture` leaves to the shapes; SK's mixing layer has at least 32 channels."""

    width: int = 1
    sk_ratio: float = 0.0625
    num_classes: int = 1000
    projection: tuple[int, ...] = (0, 0, 128)  # 0: as wide as the features


def tf1_listing(architecture: Architecture, size: Size) -> dict[str, list[int]]:
    """Shape by name."""
    return {variable.tf1_name: variable.shape for variable in _variables(architecture, size)}


def checkpoint_listing(architecture: Architecture, size: Size) -> dict[str, dict]:
    """Shape and full name by object key; no optimizer."""
    return {
        variable.key + _VALUE: {"shape": variable.shape, "full_name": variable.full_name}
        for variable in _variables(architecture, size)
    }


def saved_model_listing(architecture: Architecture, size: Size) -> dict[str, dict]:
    """Shape and full name by the flat keys of an export, whose numbers mean nothing."""
    found = {}
    for number, variable in enumerate(_variables(architecture, size)):
        moving = "/moving_" in variable.full_name
        folder = "model/resnet_model/variables" if moving else "trainable_variables_list"
        entry = {"shape": variable.shape, "full_name": variable.full_name}
        found[f"{folder}/{number}{_VALUE}"] = entry
    return found


def _variables(architecture: Architecture, size: Size) -> list[Variable]:
    network = _Network(architecture, size)
    features = network.encoder()
    network.heads(features)
    return network.variables


class _Network:
    """Goes through the network in creation order and numbers its layers."""

    def __init__(self, architecture: Architecture, size: Size):
        self.architecture, self.size = architecture, size
        self.variables: list[Variable] = []
        self.counts: collections.Counter[str] = collections.Counter()

    def number(self, kind: str) -> str:
        """`conv2d`, then `conv2d_1`, ..."""
        count = self.counts[kind]
        self.counts[kind] += 1
        return f"{kind}_{count}" if count else kind

    def add(self, tf1_scope: str, tf2_scope: str, key: str, shapes: dict[str, list[int]]) -> None:
        for name, shape in shapes.items():
            names = (f"{scope}/{name}" for scope in (tf1_scope, tf2_scope, key))
            self.variables.append(Variable(*names, shape))

    def convolve(self, scope: str, key: str, side: int, channels: tuple[int, int]) -> None:
        """A convolution in its wrapper, which pads where the stride is 2."""
        wrapper = self.number("conv2d_fixed_padding")
        self.bare(f"{scope}/{wrapper}", f"{key}/conv2d", side, channels)

    def bare(self, scope: str, key: str, side: int, channels: tuple[int, int]) -> None:
        name = self.number("conv2d")
        self.add(f"base_model/{name}", f"{scope}/{name}", key, {"kernel": [side, side, *channels]})

    def normalize(
        self, scope: str, key: str, width: int, tf1_scope: str = "", beta: bool = True
    ) -> None:
        wrapper = self.number("batch_norm_relu")
        name = wrapper.replace("batch_norm_relu", "batch_normalization")
        names = ["gamma", "beta", "moving_mean", "moving_variance"]
        shapes = {each: [width] for each in names if beta or each != "beta"}
        tf1_scope = tf1_scope or f"base_model/{name}"
        self.add(tf1_scope, f"{scope}/{wrapper}/sync_{name}", f"{key}/bn", shapes)

    def encoder(self) -> int:
        """Returns the number of features."""
        channels = self.stem()
        bottleneck = self.architecture.depth >= 50
        for group, blocks in enumerate(BLOCKS[self.architecture.depth]):
            width = 64 * 2**group * self.size.width
            for block in range(blocks):
                kind = "bottleneck_block" if bottleneck else "residual_block"
                scope = f"resnet/block_group{group + 1}/{self.number(kind)}"
                key = f"model/resnet_model/block_groups/{group}/layers/{block}"
                out = 4 * width if bottleneck else width
                if block == 0:
                    self.shortcut(scope, key, group, (channels, out))
                branch = self.bottleneck if bottleneck else self.basic
                branch(scope, key, channels, width)
                channels = out
        return channels

    def stem(self) -> int:
        width, key = 64 * self.size.width, "model/resnet_model/initial_conv_relu_max_pool"
        sides, widths, norm = [3], [width], 2
        if not self.architecture.cifar_stem:
            select = self.architecture.selective_kernels
            sides = [3, 3, 3] if select else [7]
            widths = [width // 2, width // 2, width] if select else [width]
        channels = 3
        for index, (side, out) in enumerate(zip(sides, widths, strict=True)):
            # An identity that marks the endpoint `initial_conv` stands before the last norm.
            norm = 2 * index + (2 if index == len(sides) - 1 else 1)
            self.convolve("resnet", f"{key}/{2 * index}", side, (channels, out))
            self.normalize("resnet", f"{key}/{norm}", out)
            channels = out
        return channels

    def shortcut(self, scope: str, key: str, group: int, channels: tuple[int, int]) -> None:
        name = "projection_layers" if self.architecture.depth >= 50 else "shortcut_layers"
        # ResNet-D pools first, and pads before that where it shrinks the map.
        first = (1 if group == 0 else 2) if self.architecture.selective_kernels else 0
        self.convolve(scope, f"{key}/{name}/{first}", 1, channels)
        self.normalize(scope, f"{key}/{name}/{first + 1}", channels[1])

    def basic(self, scope: str, key: str, channels: int, width: int) -> None:
        layers = f"{key}/conv2d_bn_layers"
        self.convolve(scope, f"{layers}/0", 3, (channels, width))
        self.normalize(scope, f"{layers}/1", width)
        self.convolve(scope, f"{layers}/2", 3, (width, width))
        self.normalize(scope, f"{layers}/3", width)

    def bottleneck(self, scope: str, key: str, channels: int, width: int) -> None:
        """Every third entry of the list of layers is a DropBlock without variables."""
        layers = f"{key}/conv_relu_dropblock_layers"
        self.convolve(scope, f"{layers}/0", 1, (channels, width))
        self.normalize(scope, f"{layers}/1", width)
        if self.architecture.selective_kernels:
            self.select(f"{scope}/{self.number('sk__conv2d')}", f"{layers}/3", width)
            last = 5
        else:
            self.convolve(scope, f"{layers}/3", 3, (width, width))
            self.normalize(scope, f"{layers}/4", width)
            last = 6
        self.convolve(scope, f"{layers}/{last}", 1, (width, 4 * width))
        self.normalize(scope, f"{layers}/{last + 1}", 4 * width)

    def select(self, scope: str, key: str, width: int) -> None:
        middle = max(int(width * self.size.sk_ratio), 32)
        self.convolve(scope, f"{key}/conv2d_fixed_padding", 3, (width, 2 * width))
        self.normalize(scope, f"{key}/batch_norm_relu", 2 * width)
        self.bare(scope, f"{key}/conv2d_0", 1, (width, middle))
        self.normalize(scope, f"{key}/batch_norm_relu_1", middle)
        self.bare(scope, f"{key}/conv2d_1", 1, (middle, 2 * width))

    def heads(self, features: int) -> None:
        channels, last = features, len(self.size.projection) - 1
        for index, out in enumerate(self.size.projection):
            out = out or features
            tf1_scope, scope = f"head_contrastive/nl_{index}", f"projection_head/nl_{index}"
            key = f"model/_projection_head/linear_layers/{index}"
            name = self.number("dense")
            shapes = {"kernel": [channels, out]}
            self.add(f"{tf1_scope}/dense", f"{scope}/{name}", f"{key}/dense", shapes)
            self.normalize(scope, f"{key}/bn_relu", out, f"{tf1_scope}/batch_normalization",
                           beta=index != last)  # fmt: skip
            channels = out
        head = "head_supervised/linear_layer"
        classes = self.size.num_classes
        self.add(f"{head}/dense", f"{head}/{self.number('dense')}",
                 "model/supervised_head/linear_layer/dense",
                 {"kernel": [features, classes], "bias": [classes]})  # fmt: skip
