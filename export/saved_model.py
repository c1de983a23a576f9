"""Writes the encoder and its heads as a SavedModel that needs nothing but TensorFlow to load.

The loaded object follows the contract of the published SimCLR modules: `module(images,
trainable=False)` with images (N, H, W, 3) float32 in [0, 1] of any size returns every endpoint by
name. It holds the network alone: no augmentation, one device, float32.
"""

from __future__ import annotations

import dataclasses
import os

import tensorflow as tf

from simclr_tf.config import ModelConfig
from simclr_tf.errors import require
from simclr_tf.models.simclr import SimCLR


def export_encoder(model: SimCLR, directory: str, overwrite: bool = False) -> str:
    """Writes `model` as a SavedModel; `directory` appears only when it is complete.

    Must be called outside a strategy's scope: the exported copy has one device.

    Args:
        model: Any built model; it may compute in bfloat16 or live on several replicas.
        directory: Where the SavedModel shall stand.
        overwrite: Whether an existing target is replaced.

    Returns:
        `directory`.

    Raises:
        InputError: The target exists, or a strategy's scope is open.
    """
    require(not tf.distribute.has_strategy(), "export",
            "must be called outside a strategy's scope",
            type(tf.distribute.get_strategy()).__name__)  # fmt: skip
    directory = directory.rstrip("/")
    require(overwrite or not tf.io.gfile.exists(directory), "directory",
            "must not exist yet (overwrite=True replaces it)", directory)  # fmt: skip
    parent, name = os.path.split(directory)
    partial = os.path.join(parent, f".{name}.partial-{os.getpid()}")
    try:
        tf.io.gfile.makedirs(partial)
        tf.saved_model.save(_module(plain_copy(model)), partial)
        _move_into_place(partial, directory)
    finally:
        if tf.io.gfile.exists(partial):
            tf.io.gfile.rmtree(partial)
    return directory


def export_step(model: SimCLR, model_dir: str, global_step: int, keep: int) -> str | None:
    """Writes `model_dir/saved_model/<step>` and keeps the newest few.

    Args:
        model: A built model.
        model_dir: Folder of the run.
        global_step: Step of the weights.
        keep: Exports to keep, at least 1.

    Returns:
        The folder of the SavedModel; None, with nothing written, when enough newer ones are there.
    """
    parent = os.path.join(model_dir, "saved_model")
    existing = tf.io.gfile.listdir(parent) if tf.io.gfile.isdir(parent) else []
    names = [name.rstrip("/") for name in existing]
    newer = [name for name in names if name.isdigit() and int(name) > global_step]
    if len(newer) >= keep:
        return None
    directory = export_encoder(model, os.path.join(parent, str(global_step)), overwrite=True)
    prune_exports(parent, keep)
    return directory


def plain_copy(model: SimCLR) -> SimCLR:
    """A float32 copy on one device, fully trainable, with the weights of `model`.

    The linear head of the copy has no stop-gradient: who fine-tunes an exported model through
    `logits_sup` means to train the encoder.
    """
    config: ModelConfig = dataclasses.replace(
        model.config, precision="float32", fine_tune_after_block=-1
    )
    copy = SimCLR(config, model.num_classes)
    copy.detach_linear_head = False
    sources = {variable.name: variable for variable in model.variables}
    for variable in copy.variables:
        variable.assign(sources[variable.name].numpy())
    return copy


def _module(model: SimCLR) -> tf.train.Checkpoint:
    """The object to save: a call with one trace per value of `trainable`, and its variables."""

    @tf.function
    def call(images: tf.Tensor, trainable: bool = False) -> dict[str, tf.Tensor]:
        return model(images, training=trainable)

    images = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
    for trainable in (False, True):
        call.get_concrete_function(images, trainable=trainable)
    module = tf.train.Checkpoint()
    module.__call__ = call
    module.variables = list(model.variables)
    module.trainable_variables = list(model.trainable_variables)
    module.regularization_losses = []
    return module


def _move_into_place(partial: str, directory: str) -> None:
    if not tf.io.gfile.exists(directory):
        tf.io.gfile.rename(partial, directory)
        return
    old = f"{partial}.old"
    tf.io.gfile.rename(directory, old)
    tf.io.gfile.rename(partial, directory)
    tf.io.gfile.rmtree(old)


def prune_exports(directory: str, keep: int) -> list[str]:
    """Removes all but the newest exports, sub-folders named by their step.

    Args:
        directory: The folder with one numeric sub-folder per export; others are left alone.
        keep: How many stay.

    Returns:
        The paths that were removed, oldest first.

    Raises:
        InputError: `keep` is less than 1.
    """
    require(keep >= 1, "keep_hub_module_max", "must be at least 1", keep)
    if not tf.io.gfile.isdir(directory):
        return []
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(directory)]
    steps = sorted((name for name in names if name.isdigit()), key=int)
    removed = [os.path.join(directory, name) for name in steps[:-keep]]
    for path in removed:
        tf.io.gfile.rmtree(path)
    return removed
