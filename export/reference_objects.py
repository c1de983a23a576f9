"""Where the objects of a network lie in a checkpoint of the reference implementation.

Every variable has a place among the objects of its training program, from the root of
`tf.train.Checkpoint(model=...)`, and a full name whose numbers count the layers of a kind in order
of creation. Objects without variables are part of the checkpoint too.
"""

from __future__ import annotations

import collections
from typing import NamedTuple

from simclr_tf.settings.model import BLOCKS_PER_GROUP, EncoderConfig, ModelConfig

_STEM = "model/resnet_model/initial_conv_relu_max_pool"
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


class Place(NamedTuple):
    """Place and full name of a variable."""

    path: str
    full_name: str


class Places(NamedTuple):
    """All of a network.

    Attributes:
        variables: By our name, in order of creation; the whole projection head always.
        bare: Paths of the objects without variables; below those that come before them.
    """

    variables: dict[str, Place]
    bare: list[str]


def find_places(config: ModelConfig, linear_head: bool) -> Places:
    """Places and names for the reference's network of the same settings.

    Args:
        config: With a resolved stem.
        linear_head: Whether it has one.
    """
    builder = _Builder(config)
    builder.stem()
    for group, count in enumerate(BLOCKS_PER_GROUP[config.encoder.resnet_depth]):
        for index in range(count):
            builder.block(group, index)
    builder.heads(linear_head)
    return Places(builder.variables, builder.bare)


class _Builder:
    """Walks through a network as the reference creates it."""

    def __init__(self, config: ModelConfig):
        self.config = config
        self.encoder: EncoderConfig = config.encoder
        self.variables: dict[str, Place] = {}
        self.bare: list[str] = []
        self._counts: collections.Counter[str] = collections.Counter()

    def number(self, kind: str) -> str:
        """`conv2d`, `conv2d_1`, `conv2d_2`, ..."""
        count = self._counts[kind]
        self._counts[kind] += 1
        return f"{kind}_{count}" if count else kind

    def layer(self, ours: str, path: str, scope: str, *leaves: str) -> None:
        for leaf in leaves:
            self.variables[f"{ours}/{leaf}"] = Place(f"{path}/{leaf}", f"{scope}/{leaf}")

    def conv(self, ours: str, path: str, scope: str, strided: bool = False) -> None:
        """A convolution in its wrapper, which pads by itself where it strides."""
        wrapper = self.number("conv2d_fixed_padding")
        self.plain_conv(ours, f"{path}/conv2d", f"{scope}/{wrapper}", "kernel")
        if strided:
            self.bare.append(f"{path}/fixed_padding")

    def plain_conv(self, ours: str, path: str, scope: str, *leaves: str) -> None:
        self.layer(ours, path, f"{scope}/{self.number('conv2d')}", *leaves)

    def norm(self, ours: str, path: str, scope: str, beta: bool = True) -> None:
        wrapper = self.number("batch_norm_relu")
        kind = "sync_batch_normalization" if self.config.batch_norm.global_bn else (
            "batch_normalization")  # fmt: skip
        leaves = [leaf for leaf in _NORM if beta or leaf != "beta"]
        self.layer(ours, f"{path}/bn", f"{scope}/{wrapper}/{self.number(kind)}", *leaves)
        self.bare.append(f"{path}/bn/axis")

    def stem(self) -> None:
        ours, pools = "encoder/stem", self.encoder.stem == "imagenet"
        convs = ["conv_1", "conv_2", "conv"] if pools and self.encoder.sk_ratio > 0 else ["conv"]
        at = 0
        for name in convs:
            self.conv(f"{ours}/{name}", f"{_STEM}/{at}", "resnet", strided=pools and at == 0)
            if name == "conv":  # the endpoint `initial_conv` is marked between it and its norm
                at += 1
                self.bare.append(f"{_STEM}/{at}")
            bn = name.replace("conv", "bn")
            self.norm(f"{ours}/{bn}", f"{_STEM}/{at + 1}", "resnet")
            at += 2
        self.bare += [f"{_STEM}/{at + k}" for k in range(2 if pools else 1)]  # pooling, endpoint

    def block(self, group: int, index: int) -> None:
        bottleneck = self.encoder.resnet_depth >= 50
        kind = "bottleneck_block" if bottleneck else "residual_block"
        ours = f"encoder/block_group{group + 1}/block_{index}"
        path = f"model/resnet_model/block_groups/{group}/layers/{index}"
        scope = f"resnet/block_group{group + 1}/{self.number(kind)}"
        strided = group > 0 and index == 0
        shortcut = f"{path}/{'projection' if bottleneck else 'shortcut'}_layers"
        if index == 0:
            self.shortcut(f"{ours}/shortcut", shortcut, scope, strided)
        else:
            self.bare.append(shortcut)  # an empty list
        (self.bottleneck if bottleneck else self.basic)(ours, path, scope, strided)

    def shortcut(self, ours: str, path: str, scope: str, strided: bool) -> None:
        pools = self.encoder.sk_ratio > 0  # ResNet-D, which pads before it where it strides
        before = 0 if not pools else 2 if strided else 1
        self.conv(f"{ours}/conv", f"{path}/{before}", scope, strided and not pools)
        self.norm(f"{ours}/bn", f"{path}/{before + 1}", scope)
        self.bare += [f"{path}/{at}" for at in range(before)]

    def basic(self, ours: str, path: str, scope: str, strided: bool) -> None:
        layers = f"{path}/conv2d_bn_layers"
        self.conv(f"{ours}/conv_1", f"{layers}/0", scope, strided)
        self.norm(f"{ours}/bn_1", f"{layers}/1", scope)
        self.conv(f"{ours}/conv_2", f"{layers}/2", scope)
        self.norm(f"{ours}/bn_2", f"{layers}/3", scope)
        self.gate(ours, f"{path}/se_layer", scope)

    def bottleneck(self, ours: str, path: str, scope: str, strided: bool) -> None:
        """Behind each of its three parts stands an object that drops blocks, or would."""
        layers = f"{path}/conv_relu_dropblock_layers"
        self.conv(f"{ours}/conv_1", f"{layers}/0", scope)
        self.norm(f"{ours}/bn_1", f"{layers}/1", scope)
        if self.encoder.sk_ratio > 0:
            self.select(f"{ours}/selective_kernel", f"{layers}/3", scope, strided)
            last = 5
        else:
            self.conv(f"{ours}/conv_2", f"{layers}/3", scope, strided)
            self.norm(f"{ours}/bn_2", f"{layers}/4", scope)
            last = 6
        self.conv(f"{ours}/conv_3", f"{layers}/{last}", scope)
        self.norm(f"{ours}/bn_3", f"{layers}/{last + 1}", scope)
        self.bare += [f"{path}/shortcut_dropblock"]
        self.bare += [f"{layers}/{at}" for at in (2, last - 1, last + 2)]
        self.gate(ours, f"{layers}/{last + 3}", scope)

    def select(self, ours: str, path: str, scope: str, strided: bool) -> None:
        scope = f"{scope}/{self.number('sk__conv2d')}"
        self.conv(f"{ours}/streams", f"{path}/conv2d_fixed_padding", scope, strided)
        self.norm(f"{ours}/streams_bn", f"{path}/batch_norm_relu", scope)
        self.plain_conv(f"{ours}/reduce", f"{path}/conv2d_0", scope, "kernel")
        self.norm(f"{ours}/reduce_bn", f"{path}/batch_norm_relu_1", scope)
        self.plain_conv(f"{ours}/expand", f"{path}/conv2d_1", scope, "kernel")

    def gate(self, ours: str, path: str, scope: str) -> None:
        if self.encoder.se_ratio > 0:
            scope = f"{scope}/{self.number('se__layer')}"
            for name in ("reduce", "expand"):
                self.plain_conv(
                    f"{ours}/squeeze_excite/{name}", f"{path}/se_{name}", scope, "kernel", "bias"
                )

    def heads(self, linear_head: bool) -> None:
        layers = self.config.projection.num_proj_layers
        for at in range(layers):
            ours, scope = f"projection_head/layer_{at}", f"projection_head/nl_{at}"
            path = f"model/_projection_head/linear_layers/{at}"
            self.norm(f"{ours}/bn", f"{path}/bn_relu", scope, beta=at < layers - 1)
            self.layer(
                f"{ours}/dense", f"{path}/dense", f"{scope}/{self.number('dense')}", "kernel"
            )
        if linear_head:
            scope = f"head_supervised/linear_layer/{self.number('dense')}"
            path = "model/supervised_head/linear_layer/dense"
            self.layer("linear_head", path, scope, "kernel", "bias")
