"""What layers and models tell Keras to be saved by, and how they are made again.

A configuration consists of JSON values. Keras writes it into `.keras` files with the module that
the class lives in, and imports that module when it opens one, so a reader needs no import first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import tf_keras as keras

Class = TypeVar("Class", bound=type)
Layer = TypeVar("Layer", bound=keras.layers.Layer)

PACKAGE = "simclr_tf"


def registered(kind: Class) -> Class:
    """Makes a class known to Keras as `simclr_tf>NAME`."""
    known: Class = keras.saving.register_keras_serializable(package=PACKAGE)(kind)
    return known


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
    """A layer inside another one, for the other one's settings; without optimizer and loss."""
    config: dict[str, Any] = keras.saving.serialize_keras_object(layer)
    return {key: value for key, value in config.items() if key != "compile_config"}


def rebuild_part(config: Mapping[str, Any]) -> Any:
    """The inverse of `describe_part`."""
    return keras.saving.deserialize_keras_object(dict(config))
