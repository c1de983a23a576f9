"""Writes the encoder and its heads as a SavedModel that needs nothing but TensorFlow to load."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import tensorflow as tf

from simclr_tf.data.reading import READING
from simclr_tf.errors import require
from simclr_tf.files import write_json, write_text_atomically
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.settings import by_name
from simclr_tf.weights import keras_encoders, load_keras
from simclr_tf.weights.load import USUAL_IMAGE_SIZES
from simclr_tf.weights.network import EXPORT_RECORD, WHOLE_HEAD

from .card import History, model_card
from .folders import appearing
from .module import build_module, plain_copy, trace_passes
from .serving import build_functions, build_signatures

RECORD_FORMAT = 1
CARD_FILE = os.path.join("assets.extra", "README.md")


def export_encoder(
    model: Network,
    directory: str,
    overwrite: bool = False,
    history: History | None = None,
) -> str:
    """Writes `model` as a SavedModel; `directory` appears only when it is complete.

    Must be called outside a strategy's scope: the exported copy has one device.

    Args:
        model: Any built model; it may compute in bfloat16 or live on several replicas.
        directory: Where the SavedModel shall stand.
        overwrite: Whether an existing export is replaced.
        history: What is known about the model; ends up in the model card.

    Returns:
        `directory`.

    Raises:
        InputError: The target exists, or a strategy's scope is open.
    """
    _check_no_scope()
    directory = directory.rstrip("/")
    with appearing(directory, overwrite, "directory") as partial:
        write_saved_model(model, partial, history)
    return directory


def write_saved_model(
    model: Network, folder: str, history: History | None = None, for_server: bool = False
) -> None:
    """Writes the SavedModel straight into `folder`, which need not exist; see `export_encoder`.

    Args:
        model: Any built model.
        folder: Where the SavedModel shall stand.
        history: What is known about the model.
        for_server: Whether `from_bytes` and `training_default` are signatures, as TensorFlow
            Serving needs them, rather than functions of the object, which leaves the SavedModel
            to every converter.
    """
    _check_no_scope()
    history = history or History()
    network = plain_copy(model)
    record = describe(network, history)
    passes = trace_passes(network)
    signatures = build_signatures(passes)
    reading = dataclasses.replace(history.reading, with_python=False)
    functions = build_functions(passes, record["image_size"], reading)
    module = build_module(passes)
    if for_server:
        signatures.update(functions)
    else:
        for name, function in functions.items():
            setattr(module, name, function)
    tf.saved_model.save(
        module,
        folder,
        signatures=signatures,
        options=tf.saved_model.SaveOptions(save_debug_info=False),  # it names the writer's files
    )
    write_json(os.path.join(folder, EXPORT_RECORD), record)
    if isinstance(network.encoder, KerasEncoder):
        config = keras_encoders.config_of(network.encoder.body)
        write_json(os.path.join(folder, load_keras.EXPORT_CONFIG), config)
    write_text_atomically(os.path.join(folder, CARD_FILE), model_card(record, history))


def describe(model: Network, history: History) -> dict[str, Any]:
    """What `assets.extra/simclr_tf.json` says, which is enough to rebuild the network.

    Args:
        model: The network as it is saved.
        history: What is known about it.

    Returns:
        `format`, the flat settings of the `model`, `num_classes` and `class_names` (None where
        there are none or nobody knows), `image_size` and `global_step`; `reading`, how `from_bytes`
        sees files; for readers of the model card also the number of `parameters` and the channels
        of each of the `endpoints`. Of a Keras model also the names of its variables in their
        order; its configuration lies beside the record.
    """
    endpoints = model(tf.zeros([1, *model.encoder.example_shape]), training=False)
    names = history.class_names
    return {
        "format": RECORD_FORMAT,
        "model": by_name.flatten(model.config),
        WHOLE_HEAD: model.whole_head,
        "num_classes": model.num_classes,
        "class_names": None if names is None else list(names),
        "image_size": history.image_size or _usual_size(model),
        "global_step": history.global_step,
        READING: history.reading.record(),
        "parameters": model.count_params(),
        "endpoints": {name: int(value.shape[-1]) for name, value in endpoints.items()},
        **(load_keras.describe(model) if isinstance(model.encoder, KerasEncoder) else {}),
    }


def _usual_size(model: Network) -> int:
    if isinstance(model.encoder, KerasEncoder):
        return model.encoder.example_shape[0]
    return USUAL_IMAGE_SIZES[model.config.encoder.stem]


def _check_no_scope() -> None:
    require(not tf.distribute.has_strategy(), "export",
            "must be called outside a strategy's scope",
            type(tf.distribute.get_strategy()).__name__)  # fmt: skip
