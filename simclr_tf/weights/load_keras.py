"""Weights of networks whose encoder is a Keras model: those of runs and exports of ours.

The encoder's variables have the names that its author gave them, which may differ from one process
to the next (`conv2d_3`). So they are not matched by name: in a checkpoint by their place in the
object, in an export by the order that its record lists them in, from model to model by their order.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf import run_folder
from simclr_tf.errors import InputError, one_line, require
from simclr_tf.json_files import read_json, texts
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.weights import keras_encoders, locate, stored
from simclr_tf.weights.keras_files import open_keras_file
from simclr_tf.weights.network import EXPORT_RECORD, Record, read_record
from simclr_tf.weights.report import RestoreReport, plain_name

# Beside the record of an export: the configuration of the encoder.
EXPORT_CONFIG = os.path.join("assets.extra", "encoder.json")
VARIABLES = "encoder_variables"  # in the record: names in the order of the model's weights
_HEADS = ("projection_head/", "linear_head/")


def load(location: locate.Location, record: Record) -> tuple[Network, RestoreReport]:
    """Builds the network of a run or an export, and reads its weights.

    Args:
        location: Where they lie.
        record: What lies beside them; its encoder is no ResNet.

    Returns:
        The model, all of it trainable and with no stop-gradient before its linear head.

    Raises:
        InputError: The encoder's file is gone or has layers that are not known here, or the weights
            don't fit it.
    """
    variables = stored.open_variables(location.prefix)
    kernel = variables.shapes.get("linear_head/kernel")
    config = dataclasses.replace(record.model, precision="float32", fine_tune_after_block=-1)
    body = _body(location)
    encoder = KerasEncoder(body, record.image_size, config.encoder.channels)
    whole = record.whole_head
    model = Network(config, kernel[-1] if kernel else None, whole_head=whole, encoder=encoder)
    model.detach_linear_head = False
    if location.run_dir is not None:
        _read_objects(model, location.prefix)
        kind, step = "TF2 checkpoint", locate.checkpoint_step(location.prefix) or 0
    else:
        _read_listed(model, location, variables)
        kind, step = "SavedModel", record.global_step or 0
    names = tuple(plain_name(variable) for variable in model.variables)
    others = variables.others if location.run_dir is not None else ()
    return model, RestoreReport(kind, names, (), (), tuple(_beside(others)), step)


def restore(model: Network, path: str) -> RestoreReport:
    """As `restore.restore_weights`, for a model whose encoder is a Keras model.

    Args:
        model: Changed only if the whole encoder fits.
        path: Of a run or export with such an encoder, or a `.keras` file of the encoder alone.

    Raises:
        InputError: It is another encoder.
    """
    assert isinstance(model.encoder, KerasEncoder)
    if path.endswith(".keras"):
        with keras_encoders.knowing(model.encoder.body):
            body = open_keras_file(path)
        _copy_encoder(body, model, path)
        missing = [plain_name(v) for v in model.variables if plain_name(v).startswith(_HEADS)]
        return RestoreReport(".keras file", _names(model.encoder.body), tuple(missing), ())
    location = locate.locate(path)
    record = read_record(location)
    ours = model.config.encoder.encoder
    require(record is not None and not record.model.encoder.is_resnet, "checkpoint",
            f"must hold the run's encoder, {ours}, not a ResNet of this library", path)  # fmt: skip
    assert record is not None
    with keras_encoders.knowing(model.encoder.body):
        found, report = load(location, record)
    assert isinstance(found.encoder, KerasEncoder)
    _copy_encoder(found.encoder.body, model, path)
    heads = {plain_name(v): v for v in found.variables if plain_name(v).startswith(_HEADS)}
    restored, new = list(_names(model.encoder.body)), []
    for variable in model.variables:
        name = plain_name(variable)
        if not name.startswith(_HEADS):
            continue
        other = heads.pop(name, None)
        if other is not None and other.shape == variable.shape:
            variable.assign(other)
            restored.append(name)
        else:
            there = "absent from the checkpoint" if other is None else f"{other.shape} there"
            new.append(f"{name} {variable.shape.as_list()}, {there}")
    return dataclasses.replace(
        report, restored=tuple(restored), new=tuple(new), unused=tuple(sorted(heads))
    )


def _copy_encoder(body: keras.Model, model: Network, path: str) -> None:
    assert isinstance(model.encoder, KerasEncoder)
    try:
        keras_encoders.copy_weights(body, model.encoder.body)
    except InputError as error:
        raise InputError("checkpoint", f"must hold the run's encoder ({error.constraint} is what "
                         f"it holds; the run has {error.received})", path) from None  # fmt: skip


def body_of(path: str) -> keras.Model | None:
    """The encoder that a run or export has, with weights that don't count; None for a ResNet.

    Raises:
        InputError: There are no such weights, or the encoder has layers that are not known here.
    """
    with locate.unpacked(path) as unpacked:
        location = locate.locate(unpacked)
        record = read_record(location)
        if record is None or record.model.encoder.is_resnet:
            return None
        return _body(location)


def _body(location: locate.Location) -> keras.Model:
    if location.run_dir is not None:
        body = keras_encoders.run_body(location.run_dir)
        require(body is not None, "checkpoint", f"must have {run_folder.ENCODER}, the model that "
                "the run started from, beside it", location.run_dir)  # fmt: skip
        return body
    path = os.path.join(location.saved_model or "", EXPORT_CONFIG)
    require(tf.io.gfile.exists(path), "checkpoint", f"must have {EXPORT_CONFIG}, which describes "
            "its encoder", location.saved_model)  # fmt: skip
    return keras_encoders.from_config(read_json(path), path)


def _read_objects(model: Network, prefix: str) -> None:
    try:
        status = tf.train.Checkpoint(model=model).read(prefix)
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
        raise InputError("checkpoint", f"must fit {run_folder.ENCODER} beside it "
                         f"({one_line(error)[:200]})", prefix) from None  # fmt: skip


def _read_listed(
    model: Network, location: locate.Location, variables: stored.StoredVariables
) -> None:
    assert isinstance(model.encoder, KerasEncoder)
    path = os.path.join(location.saved_model or "", EXPORT_RECORD)
    names = texts(read_json(path), VARIABLES, path)
    weights = keras_encoders.weights_of(model.encoder.body)
    require(names is not None and len(names) == len(weights), path,
            f"must list the {len(weights)} variables of the encoder",
            len(names or ()))  # fmt: skip
    assert names is not None
    heads = [v for v in model.variables if plain_name(v).startswith(_HEADS)]
    pairs = [*zip(names, weights, strict=True), *((plain_name(v), v) for v in heads)]
    for name, variable in pairs:
        value = variables.read_any(name)
        require(value.shape == tuple(variable.shape), path, f"must list {name} where the encoder "
                f"has {variable.shape.as_list()}", list(value.shape))  # fmt: skip
        variable.assign(value)


def describe(model: Network) -> dict[str, Any]:
    """What the record of an export says of the encoder beside its settings."""
    assert isinstance(model.encoder, KerasEncoder)
    return {VARIABLES: list(_names(model.encoder.body))}


def _names(body: keras.Model) -> tuple[str, ...]:
    return tuple(plain_name(variable) for variable in keras_encoders.weights_of(body))


def _beside(others: tuple[str, ...]) -> list[str]:
    """What is stored beside the network."""
    return [name for name in others if not name.startswith("model/")]
