"""Encoders that are no ResNet of this library: where they come from, and their file in a run.

A run keeps the model that it started from, with its first weights, as `encoder.keras` beside its
checkpoints, so that whoever reads a checkpoint can build what the weights belong to.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf import run_folder
from simclr_tf.errors import InputError, first_line, require, require_choice
from simclr_tf.files import write_bytes_atomically
from simclr_tf.models.batch_norm import local_value
from simclr_tf.models.network import POLICIES
from simclr_tf.settings.model import OF_KERAS, EncoderConfig
from simclr_tf.weights.keras_files import check_config, open_keras_file, uncompiled

MakeBody = Callable[[], keras.Model]


def body_maker(
    config: EncoderConfig,
    image_size: int,
    precision: str = "float32",
    batch_norm_decay: float | None = None,
    model: keras.Model | None = None,
    copies: bool = False,
) -> MakeBody:
    """What makes the model that settings name, from random weights where they name no weights.

    Args:
        config: Whose `encoder` is no ResNet.
        image_size: Side of the images in pixels.
        precision: `float32` or `bfloat16`, for what is made here. A model that exists has the
            arithmetic of its own layers.
        batch_norm_decay: Of the running statistics in networks of `keras.applications`, whose own,
            0.99 or 0.999, is for longer trainings; None keeps it.
        model: The model itself, where it was handed over in Python.
        copies: Whether a copy of `model` is made, in the scope of the strategy that is open, where
            the variables of the model can't be used.

    Raises:
        InputError: There is no such network, file or function.
    """
    name = config.encoder
    exists = model is not None or name.endswith(".keras")
    require(not exists or precision == "float32", "precision", "must be float32 with an encoder "
            "that is made already: its layers have an arithmetic of their own "
            "(keras.mixed_precision)", precision)  # fmt: skip
    if model is not None:
        own: keras.Model = model
        return lambda: copy_of(own, (image_size, image_size, config.channels)) if copies else own
    require(not config.is_handed_over, "encoder", f"must be a model, or lie as "
            f"{run_folder.ENCODER} in the run's folder", name)  # fmt: skip
    if name.endswith(".keras"):
        return lambda: open_keras_file(os.path.expanduser(name))
    if name.startswith(OF_KERAS):
        _require_application(name)

        def make() -> keras.Model:
            body = _application(name.removeprefix(OF_KERAS), image_size, config.channels)
            for layer in body._flatten_layers():
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.momentum = batch_norm_decay or layer.momentum
            return body
    else:
        function = _imported(name)

        def make() -> keras.Model:
            return _called(function, name, image_size, config.channels)

    return lambda: _with_policy(make, POLICIES[precision])


def run_body(folder: str, custom_objects: dict[str, type] | None = None) -> keras.Model | None:
    """The model that a run started from, with its first weights; None where it keeps none.

    Args:
        folder: Of the run.
        custom_objects: Classes of the user's by name, beside those that are registered.

    Raises:
        InputError: It can't be read, or has layers that are neither Keras' nor known here.
    """
    path = os.path.join(folder, run_folder.ENCODER)
    if not tf.io.gfile.exists(path):
        return None
    return read_body(path, custom_objects)


def read_body(path: str, custom_objects: dict[str, type] | None = None) -> keras.Model:
    """The model in a file of `write_body`; see `run_body`."""
    try:
        with keras.saving.custom_object_scope(custom_objects or {}):
            return open_keras_file(path)
    except InputError as error:
        raise InputError("encoder", error.constraint, path) from None


def write_body(body: keras.Model, path: str) -> None:
    """Writes a model as `.keras`; the file appears when it is complete.

    Raises:
        InputError: Keras can't save it, or not such that it can be read again.
    """
    content = _saved(body)
    write_bytes_atomically(path, content)


def check_saves(body: keras.Model) -> None:
    """Refuses a model that a run could not keep.

    Raises:
        InputError: Says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, run_folder.ENCODER)
        write_body(body, path)
        try:
            read_body(path, own_classes(body))
        except InputError as error:
            raise InputError("encoder", "must be a model that Keras saves as .keras and opens again"
                             f" (its classes need get_config; {error.constraint})",
                             body.name) from None  # fmt: skip


def copy_of(
    body: keras.Model, example_shape: tuple[int, int, int], with_weights: bool = True
) -> keras.Model:
    """The same network anew, in the scope of the strategy that is open.

    Args:
        body: Any model that Keras saves.
        example_shape: Height, width and channels of an image.
        with_weights: Whether it has the same weights, or random ones.

    Raises:
        InputError: It can't be made from its configuration.
    """
    try:
        with keras.saving.custom_object_scope(own_classes(body)):
            copy = keras.saving.deserialize_keras_object(config_of(body))
            copy(tf.zeros([1, *example_shape]))
    except Exception as error:  # whatever a class of the user's raises
        raise InputError("encoder", "must be a model that can be made from its configuration: its "
                         f"classes need get_config ({first_line(error)[:200]})",
                         body.name) from None  # fmt: skip
    if with_weights:
        copy_weights(body, copy)
    return copy


def from_config(config: Any, path: str) -> keras.Model:
    """The model that a configuration describes, from random weights.

    Args:
        config: From `config_of`, out of a file that may be anybody's.
        path: Of that file, for errors.

    Raises:
        InputError: It can't be built, or has layers that are neither Keras' nor known here.
    """
    try:
        check_config(config)
        return keras.saving.deserialize_keras_object(config)
    except Exception as error:  # a foreign file may hold anything
        raise InputError(path, f"must describe a model of known layers ({first_line(error)[:200]})",
                         path) from None  # fmt: skip


def config_of(body: keras.Model) -> Any:
    """What `from_config` makes the same network of, for JSON."""
    return uncompiled(keras.saving.serialize_keras_object(body))


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives a model the weights of another one of the same architecture, in their order.

    Raises:
        InputError: It is of another architecture; nothing was changed.
    """
    require_same(source, target)
    for one, other in zip(weights_of(source), weights_of(target), strict=True):
        other.assign(local_value(one))


def weights_of(model: keras.Model) -> list[tf.Variable]:
    """All weights, layer by layer; `model.weights` has frozen ones in another order."""
    found: dict[int, tf.Variable] = {}
    for layer in model._flatten_layers():
        for variable in (*layer._trainable_weights, *layer._non_trainable_weights):
            found.setdefault(id(variable), variable)
    for variable in model.weights:
        found.setdefault(id(variable), variable)
    return list(found.values())


def require_same(expected: keras.Model, model: keras.Model) -> None:
    """Refuses a model whose weights are not those of another one in number and shapes.

    Raises:
        InputError: Names both.
    """
    shapes = [[tuple(v.shape) for v in weights_of(one)] for one in (expected, model)]
    require(shapes[0] == shapes[1], "encoder", f"must have the weights of {expected.name}: "
            f"{_sizes(expected)}", f"{model.name}: {_sizes(model)}")  # fmt: skip


def own_classes(model: keras.Model) -> dict[str, type]:
    """The classes of a model that are not Keras' own, under the names that its file has for them.

    Raises:
        InputError: Two of them have the same name.
    """
    found: dict[str, type] = {}
    for part in (model, *model.submodules):
        kind = type(part)
        is_layer = isinstance(part, keras.layers.Layer)
        if is_layer and not kind.__module__.startswith(("tf_keras.", "keras.")):
            other = found.setdefault(kind.__name__, kind)
            require(
                other is kind, "encoder", "must not have two classes of one name", kind.__name__
            )
            found[keras.saving.get_registered_name(kind)] = kind
    return found


@contextlib.contextmanager
def knowing(model: keras.Model | None) -> Iterator[None]:
    """Inside the block files of ours may hold the classes of a model."""
    with keras.saving.custom_object_scope({} if model is None else own_classes(model)):
        yield


def _sizes(model: keras.Model) -> str:
    return f"{len(model.weights)} of {model.count_params():,} numbers"


def _saved(body: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, run_folder.ENCODER)
        try:
            body.save(path)
        except Exception as error:  # whatever a class of the user's raises
            raise InputError("encoder", "must be a model that Keras saves as .keras "
                             f"({first_line(error)[:200]})", body.name) from None  # fmt: skip
        with open(path, "rb") as file:
            return file.read()


def applications() -> list[str]:
    """The networks of `keras.applications` by name."""
    found = vars(keras.applications).items()
    return sorted(name for name, value in found if inspect.isfunction(value))


def _require_application(name: str) -> None:
    known = [OF_KERAS + one for one in applications()]
    require_choice("encoder", name, known)


def _application(name: str, image_size: int, channels: int) -> keras.Model:
    try:
        return getattr(keras.applications, name)(
            include_top=False,
            weights=None,
            input_shape=(image_size, image_size, channels),
            pooling="avg",
        )
    except ValueError as error:
        raise InputError("encoder", f"must be a network for images of {image_size} px and "
                         f"{channels} channels ({first_line(error)[:200]})",
                         OF_KERAS + name) from None  # fmt: skip


def _imported(name: str) -> Callable[..., keras.Model]:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module's code may raise anything
        raise InputError("encoder", "must be a function that can be imported "
                         f"({type(error).__name__}: {first_line(error)[:200]})",
                         name) from None  # fmt: skip
    require(callable(found), "encoder", "must be a function", name)
    return found


def _called(
    function: Callable[..., keras.Model], name: str, image_size: int, channels: int
) -> keras.Model:
    """Called with the side of the images and, where it takes two arguments, their channels."""
    try:
        takes_two = len(inspect.signature(function).parameters) > 1
        return function(image_size, channels) if takes_two else function(image_size)
    except Exception as error:  # whatever the user's code raises
        raise InputError("encoder", "must return a model for the side of the images in pixels "
                         f"({type(error).__name__}: {first_line(error)[:200]})",
                         name) from None  # fmt: skip


def _with_policy(make: MakeBody, policy: str) -> keras.Model:
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        return make()
    finally:
        keras.mixed_precision.set_global_policy(before)
