"""What layers and models tell Keras to be saved by, and how they are made again.

A configuration consists of JSON values. Keras writes it into `.keras` files with the module that
the class lives in, and imports that module when it opens one, so a reader needs no import first.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import tf_keras as keras

Class = TypeVar("Class", bound=type)
Layer = TypeVar("Layer", bound=keras.layers.Layer)

_PACKAGE = "simclr_tf"
PREFIX = f"{_PACKAGE}>"  # of the names that Keras knows our classes by
# The classes that files may name, and their modules, which stay where they are for the files' sake.
MODULES = {
    "BatchNorm": "simclr_tf.models.batch_norm",
    "Encoder": "simclr_tf.encoder",
    "KerasEncoder": "simclr_tf.models.keras_encoder",
    "LARS": "simclr_tf.optimizers.lars",
    "LinearHead": "simclr_tf.models.heads",
    "Network": "simclr_tf.models.network",
    "ProjectionHead": "simclr_tf.models.heads",
    "ResNet": "simclr_tf.models.resnet",
    "SimCLR": "simclr_tf.training.simclr",
    "WarmupCosine": "simclr_tf.optimizers.schedule",
}


def registered(kind: Class) -> Class:
    """Makes a class known to Keras as `simclr_tf>NAME`."""
    known: Class = keras.saving.register_keras_serializable(package=_PACKAGE)(kind)
    return known


def custom_objects() -> dict[str, type]:
    """The classes of this library that `.keras` files may name.

    Keras finds a model that is one of them by itself. Where they are layers of another model, it
    has to be told, before or with the call.

    Example:
        >>> known = simclr_tf.custom_objects()
        >>> keras.models.load_model("a.keras", custom_objects=known)  # doctest: +SKIP
    """
    # By name: some of them stand above this module.
    return {name: getattr(importlib.import_module(home), name) for name, home in MODULES.items()}


def describe(layer: keras.layers.Layer, **settings: Any) -> dict[str, Any]:
    """The configuration of a layer: its name, its settings, and which parts of it are frozen.

    Args:
        layer: A layer or model.
        **settings: What its constructor takes, as JSON values.
    """
    parts = layer._flatten_layers()
    frozen = [place for place, part in enumerate(parts) if not part.trainable]
    return {"name": layer.name, **settings, "frozen": frozen}


def rebuild(
    make: Callable[..., Layer],
    config: Mapping[str, Any],
    custom_objects: Mapping[str, Any] | None = None,
) -> Layer:
    """The layer of a configuration.

    Args:
        make: Takes the name and the settings that `describe` was given.
        config: Result of `describe`.
        custom_objects: Classes of the user's that parts of the layer are made of, by name.
    """
    settings = dict(config)
    frozen = set(settings.pop("frozen", ()))
    scope = keras.saving.custom_object_scope(dict(custom_objects or {}))
    with scope if custom_objects else contextlib.nullcontext():
        layer = make(**settings)
    # Parents come before their parts, which they pass it on to.
    for place, part in enumerate(list(layer._flatten_layers())):
        part.trainable = place not in frozen
    return layer


def describe_part(layer: keras.layers.Layer) -> dict[str, Any]:
    """A layer inside another one, for the other one's settings; without optimizer and loss.

    Nor does it say how the layer is built: the other one calls it, which gives its variables their
    whole names.
    """
    config: dict[str, Any] = keras.saving.serialize_keras_object(layer)
    left_out = ("build_config", "compile_config")
    return {key: value for key, value in config.items() if key not in left_out}


def rebuild_part(config: Mapping[str, Any]) -> Any:
    """The inverse of `describe_part`."""
    return keras.saving.deserialize_keras_object(dict(config))
