"""Writes the network as a `.keras` file of stock layers, for tf_keras and for Keras 3.

Our layers are custom classes, which a `.keras` file can only name. So the network is built once
more as a functional model of stock layers with the same weights. What has no stock layer is
rewritten: two selective-kernel streams are two convolutions with half the filters each, and a
softmax over two streams is a sigmoid of the difference of their logits.

In inference the two networks are the same function. In training they differ in one number: the
running variance of a stock batch norm follows the unbiased variance (divisor N - 1), ours the
population variance (N).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import require
from simclr_tf.models.batch_norm import BatchNorm
from simclr_tf.models.conv import FixedPaddingConv, SelectiveKernelConv, SqueezeExcite
from simclr_tf.models.endpoints import LOGITS_ENDPOINT, PROJECTED_ENDPOINT, endpoints_of
from simclr_tf.models.heads import ProjectionHead
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.models.resnet import BottleneckBlock, ResidualBlock, ResNet, Shortcut, Stem
from simclr_tf.weights import keras_encoders

from .module import images_spec

CONFIG_MEMBER = "config.json"  # the description of the model inside the archive
SEPARATOR = "__"  # stands for the "/" of our variable names, which Keras 3 refuses in layer names
ALL_CHANNELS = slice(None)

# The file itself.


def write_keras_file(model: Network, path: str) -> None:
    """Writes `model` as one `.keras` file; it appears, or replaces an older one, when complete.

    `tf_keras.models.load_model` and Keras 3's `keras.models.load_model` both open it, without this
    package. The loaded model maps `images` (N, H, W, 3), float32 in [0, 1], any size, to the
    endpoints of `Network.call` by name, and all its layers are trainable.

    Args:
        model: Any built model; it may compute in bfloat16 or live on several replicas.
        path: Local path, or one that `tf.io.gfile` understands, ending in `.keras`.

    Raises:
        InputError: The path does not end in `.keras` or is a folder, or a strategy's scope is open.
    """
    require(path.endswith(".keras"), "path", "must end in .keras", path)
    require(not tf.io.gfile.isdir(path), "path", "must be a file, not a folder", path)
    with tempfile.TemporaryDirectory() as folder:
        written = os.path.join(folder, "written.keras")
        portable = os.path.join(folder, "portable.keras")
        stock_model(model).save(written)
        _copy_archive(written, portable)
        os.remove(written)  # large networks: not three files at a time
        _put_in_place(portable, path)


def _copy_archive(source: str, target: str) -> None:
    """Copies the archive with the description of the model replaced by a portable one."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            if info.filename == CONFIG_MEMBER:
                config = portable_config(json.loads(old.read(info)))
                new.writestr(info, json.dumps(config))
                continue
            with old.open(info) as reader, new.open(info, "w", force_zip64=True) as writer:
                shutil.copyfileobj(reader, writer, 2**20)


def portable_config(config: dict[str, Any]) -> dict[str, Any]:
    """The description of a functional model such that both Keras generations accept it.

    Keras 3 still reads the spelling of tf_keras, save for three things, which are changed: the
    model's class, a private module of tf_keras, becomes the public `keras.Model`; the inputs, a
    list with one tensor, become that tensor (Keras 3 would warn at every call that it expected a
    list); and the axis of a batch norm, a list with one number, becomes that number.

    Args:
        config: Content of `config.json` as tf_keras writes it.
    """
    graph = config["config"]
    (images,) = graph["input_layers"]
    layers = [_one_axis(layer) for layer in graph["layers"]]
    return {
        "module": "keras",
        "class_name": "Model",
        "registered_name": None,
        "config": {**graph, "layers": layers, "input_layers": images},
    }


def _one_axis(layer: dict[str, Any]) -> dict[str, Any]:
    if layer["class_name"] != "BatchNormalization":
        return layer
    (axis,) = layer["config"]["axis"]
    return {**layer, "config": {**layer["config"], "axis": axis}}


def _put_in_place(source: str, target: str) -> None:
    folder, name = os.path.split(target)
    partial = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}.tmp")
    if folder:
        tf.io.gfile.makedirs(folder)
    try:
        tf.io.gfile.copy(source, partial)
        tf.io.gfile.rename(partial, target, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(partial)
        raise


# The network of stock layers. Each function takes the name of its part, adds the layers to the
# graph behind the symbolic tensor `x` and returns the new end.


def stock_model(model: Network) -> keras.Model:
    """The network of `model` as a functional model of stock layers, float32, on one device.

    A layer's name is the path of our variables with `__` for `/`, for example
    `encoder__block_group1__block_0__conv_1`; no stop-gradient is left, everything is trainable.

    Args:
        model: Any built model.

    Returns:
        A model with the input `images` (N, H, W, 3), float32 in [0, 1], any size, and the
        endpoints of `Network.call` as a dictionary.

    Raises:
        InputError: A strategy's scope is open.
    """
    require(not tf.distribute.has_strategy(), "export",
            "must be called outside a strategy's scope",
            type(tf.distribute.get_strategy()).__name__)  # fmt: skip
    spec = images_spec(model)
    images = keras.Input(spec.shape[1:], dtype="float32", name=spec.name)
    if isinstance(model.encoder, KerasEncoder):
        endpoints = _keras_encoder(images, model.encoder)
    else:
        endpoints = _encoder(images, model.encoder)
    features = endpoints["final_avg_pool"]  # (N, D)
    hiddens = [features]
    if model.projection_head is not None:
        hiddens += _projection_head(features, model.projection_head)
    if model.whole_head:
        endpoints["proj_head_input"] = features
        endpoints[PROJECTED_ENDPOINT] = hiddens[-1]
    if model.linear_head is not None:
        classified = hiddens[model.config.linear_head_layer]
        endpoints[LOGITS_ENDPOINT] = _dense(classified, model.linear_head)  # (N, classes)
    return keras.Model(images, endpoints, name=model.name)


def _keras_encoder(images: tf.Tensor, encoder: KerasEncoder) -> dict[str, tf.Tensor]:
    x = images
    if encoder.image_scale != 1:
        scaled = f"{encoder.name}{SEPARATOR}in_bytes"
        x = _stock(keras.layers.Rescaling, x, scaled, scale=encoder.image_scale)
    with encoder.thawed():
        body = keras_encoders.copy_of(encoder.body, encoder.example_shape)
    body._name = _path(encoder.name, "body")
    return endpoints_of(body(x))


def _encoder(images: tf.Tensor, encoder: ResNet) -> dict[str, tf.Tensor]:
    x = images
    if encoder.pixel_statistics is not None:
        mean, deviation = encoder.pixel_statistics
        x = _stock(keras.layers.Normalization, x, _path(encoder.name, "normalized"),
                   mean=list(mean), variance=[one**2 for one in deviation])  # fmt: skip
    initial_conv, x = _stem(x, encoder.stem, _path(encoder.name, encoder.stem))
    endpoints = {"initial_conv": initial_conv, "initial_max_pool": x}
    for k, group in enumerate(encoder.groups, start=1):
        for block in group.blocks:
            x = _block(x, block, _path(encoder.name, group, block))
        endpoints[f"block_group{k}"] = x
    endpoints["final_avg_pool"] = _pool(x, _path(encoder.name, "final_avg_pool"))
    return endpoints


def _stem(x: tf.Tensor, stem: Stem, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    if stem.pads_input:
        x = _pad(x, 3, name)
    if stem.deep:
        x = _conv_norm_relu(x, stem.conv_1, stem.bn_1, name)
        x = _conv_norm_relu(x, stem.conv_2, stem.bn_2, name)
    initial_conv = _conv(x, stem.conv, name)
    x = _relu(_norm(initial_conv, stem.bn, name), _path(name, stem.bn))
    if stem.pads_pool:
        x = _pad(x, 3, _path(name, "max_pool"))
    if stem.pool:
        x = _stock(keras.layers.MaxPooling2D, x, _path(name, "max_pool"), pool_size=3,
                   strides=2, padding="valid" if stem.pads_pool else "same")  # fmt: skip
    return initial_conv, x


def _block(x: tf.Tensor, block: ResidualBlock, name: str) -> tf.Tensor:
    shortcut = x
    if block.shortcut is not None:
        shortcut = _shortcut(x, block.shortcut, _path(name, block.shortcut))
    x = _conv_norm_relu(x, block.conv_1, block.bn_1, name)
    if isinstance(block, BottleneckBlock):
        if block.selective:
            x = _selective_kernel(x, block.sk, _path(name, block.sk))
        else:
            x = _conv_norm_relu(x, block.conv_2, block.bn_2, name)
        x = _norm(_conv(x, block.conv_3, name), block.bn_3, name)
    else:
        x = _norm(_conv(x, block.conv_2, name), block.bn_2, name)
    if block.squeeze_excite is not None:
        x = _squeeze_excite(x, block.squeeze_excite, _path(name, block.squeeze_excite))
    return _relu(_stock(keras.layers.Add, [x, shortcut], _path(name, "add")), name)


def _shortcut(x: tf.Tensor, shortcut: Shortcut, name: str) -> tf.Tensor:
    if shortcut.pool:
        strides = shortcut.strides
        if strides > 1:
            x = _pad(x, 2, name)
        x = _stock(keras.layers.AveragePooling2D, x, _path(name, "avg_pool"), pool_size=2,
                   strides=strides, padding="valid" if strides > 1 else "same")  # fmt: skip
    return _norm(_conv(x, shortcut.conv, name), shortcut.bn, name)


def _selective_kernel(x: tf.Tensor, kernel: SelectiveKernelConv, name: str) -> tf.Tensor:
    filters = kernel.streams.filters // 2
    halves = (slice(0, filters), slice(filters, None))
    streams = [
        _conv_norm_relu(x, kernel.streams, kernel.streams_bn, name, half, f"_{i}")
        for i, half in enumerate(halves)
    ]  # (N, h, w, filters) each
    total = _stock(keras.layers.Add, streams, _path(name, "sum"))
    pooled = _pool(total, _path(name, "pool"), keepdims=True)  # (N, 1, 1, filters)
    hidden = _conv_norm_relu(pooled, kernel.reduce, kernel.reduce_bn, name)
    logits = [_conv(hidden, kernel.expand, name, half, f"_{i}") for i, half in enumerate(halves)]
    mixed = []
    for i, (stream, ordered) in enumerate(zip(streams, (logits, logits[::-1]), strict=True)):
        difference = _stock(keras.layers.Subtract, ordered, _path(name, f"difference_{i}"))
        weight = _sigmoid(difference, _path(name, f"weight_{i}"))  # (N, 1, 1, filters)
        mixed.append(_stock(keras.layers.Multiply, [stream, weight], _path(name, f"weighted_{i}")))
    return _stock(keras.layers.Add, mixed, _path(name, "mix"))


def _squeeze_excite(x: tf.Tensor, gate: SqueezeExcite, name: str) -> tf.Tensor:
    pooled = _pool(x, _path(name, "pool"), keepdims=True)  # (N, 1, 1, C)
    hidden = _relu(_conv(pooled, gate.reduce, name), _path(name, gate.reduce))
    weight = _sigmoid(_conv(hidden, gate.expand, name), _path(name, gate.expand, "sigmoid"))
    return _stock(keras.layers.Multiply, [x, weight], _path(name, "multiply"))


def _projection_head(x: tf.Tensor, head: ProjectionHead) -> list[tf.Tensor]:
    """The outputs of its layers."""
    outputs = []
    for layer in head.projection_layers:
        name = _path(head.name, layer)
        x = _norm(_dense(x, layer.dense, name), layer.bn, name)
        x = _relu(x, name) if layer.hidden else x
        outputs.append(x)
    return outputs


# Single layers.


def _conv_norm_relu(
    x: tf.Tensor,
    conv: FixedPaddingConv,
    norm: BatchNorm,
    parent: str,
    channels: slice = ALL_CHANNELS,
    suffix: str = "",
) -> tf.Tensor:
    x = _norm(_conv(x, conv, parent, channels, suffix), norm, parent, channels, suffix)
    return _relu(x, _path(parent, norm) + suffix)


def _conv(
    x: tf.Tensor,
    source: FixedPaddingConv,
    parent: str,
    channels: slice = ALL_CHANNELS,
    suffix: str = "",
) -> tf.Tensor:
    """The convolution, or the part of it that computes some of its output channels."""
    name = _path(parent, source) + suffix
    size, strides = source.kernel_size[0], source.strides[0]
    if strides > 1 and size > 1:
        x = _pad(x, size, name)
    weights = _values(source.kernel, source.bias, channels=channels)
    return _stock(keras.layers.Conv2D, x, name, weights, filters=weights[0].shape[-1],
                  kernel_size=size, strides=strides, padding=source.padding,
                  use_bias=source.use_bias)  # fmt: skip


def _norm(
    x: tf.Tensor,
    source: BatchNorm,
    parent: str,
    channels: slice = ALL_CHANNELS,
    suffix: str = "",
) -> tf.Tensor:
    weights = _values(
        source.gamma, source.beta, source.moving_mean, source.moving_variance, channels=channels
    )
    return _stock(keras.layers.BatchNormalization, x, _path(parent, source) + suffix, weights,
                  momentum=source.momentum, epsilon=source.epsilon,
                  center=source.center)  # fmt: skip


def _dense(x: tf.Tensor, source: keras.layers.Dense, parent: str = "") -> tf.Tensor:
    weights = _values(source.kernel, source.bias)
    return _stock(keras.layers.Dense, x, _path(parent, source), weights,
                  units=source.units, use_bias=source.use_bias)  # fmt: skip


def _pad(x: tf.Tensor, size: int, parent: str) -> tf.Tensor:
    """As `simclr_tf.models.conv.pad_fixed`: the smaller half in front."""
    ends = ((size - 1) // 2, size // 2)
    return _stock(keras.layers.ZeroPadding2D, x, _path(parent, "pad"), padding=(ends, ends))


def _pool(x: tf.Tensor, name: str, keepdims: bool = False) -> tf.Tensor:
    return _stock(keras.layers.GlobalAveragePooling2D, x, name, keepdims=keepdims)


def _relu(x: tf.Tensor, parent: str) -> tf.Tensor:
    return _stock(keras.layers.Activation, x, _path(parent, "relu"), activation="relu")


def _sigmoid(x: tf.Tensor, name: str) -> tf.Tensor:
    return _stock(keras.layers.Activation, x, name, activation="sigmoid")


def _stock(
    kind: type[keras.layers.Layer],
    inputs: tf.Tensor | list[tf.Tensor],
    name: str,
    weights: Sequence[np.ndarray] = (),
    **settings: Any,
) -> tf.Tensor:
    """Calls a new layer, float32 whatever the process's policy, and gives it its weights."""
    layer = kind(name=name, dtype="float32", **settings)
    outputs = layer(inputs)
    layer.set_weights(weights)
    return outputs


def _values(*variables: tf.Variable | None, channels: slice = ALL_CHANNELS) -> list[np.ndarray]:
    """Arrays of the variables that exist, cut to the output channels, their last axis."""
    return [v.numpy()[..., channels] for v in variables if v is not None]


def _path(*parts: str | keras.layers.Layer) -> str:
    names = (part if isinstance(part, str) else part.name for part in parts)
    return SEPARATOR.join(name for name in names if name)
