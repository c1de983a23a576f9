"""A model with the weights and the architecture that a file holds."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import NamedTuple

import tensorflow as tf

from simclr_tf import capacity
from simclr_tf.config import ModelConfig, ProjectionConfig, kept_layers
from simclr_tf.errors import InputError, require
from simclr_tf.models.simclr import SimCLR
from simclr_tf.weights import infer, integrity, locate
from simclr_tf.weights.network import Record, StoredNetwork, open_network, read_record
from simclr_tf.weights.restore import RestoreReport, restore_network

_LEAST_BYTES = 2  # of a stored number, in half precision
USUAL_IMAGE_SIZES = {"cifar": 32, "imagenet": 224}


class LoadedModel(NamedTuple):
    """A model from a file.

    Attributes:
        model: Encoder and heads, float32, all of it trainable; its linear head has no
            stop-gradient in front.
        image_size: Side of the images it was trained on; for foreign weights 32 with the CIFAR
            stem and 224 with ImageNet's.
        class_names: Names of the linear head's classes, None where unknown.
        global_step: Step of the weights, 0 where unknown.
        report: What was read.
        source: The format, in words.
        run_dir: Folder of the run of ours that it is from, None for others.
    """

    model: SimCLR
    image_size: int
    class_names: tuple[str, ...] | None
    global_step: int
    report: RestoreReport
    source: str
    run_dir: str | None


def load_model(
    path: str | os.PathLike[str], ft_proj_selector: int = 0, image_size: int | None = None
) -> LoadedModel:
    """Builds the network that a checkpoint holds, and reads its weights.

    Args:
        path: A run, a checkpoint of ours, a SavedModel of ours, or a published TF2 checkpoint,
            SavedModel or TF1 checkpoint; a TF-Hub archive (`.tar.gz`) of a SavedModel, local or on
            an http server. See `locate.locate` and `locate.unpacked`.
        ft_proj_selector: For foreign weights that were fine-tuned: the layer of the projection
            head that the linear head reads (SimCLRv2), which cannot be seen in the weights. Weights
            of ours know it.
        image_size: Replaces the recorded or assumed size.

    Returns:
        The model and what is known about it.

    Raises:
        InputError: There are no such weights, or they are not a whole SimCLR network.
    """
    path = os.path.expanduser(os.fspath(path))
    with locate.unpacked(path) as unpacked:
        network = open_network(locate.locate(unpacked))
        record = read_record(network.location)
        config = _model_config(network, record, ft_proj_selector)
        names = record.class_names if record else None
        require(names is None or network.num_classes in (None, len(names)), "class_names",
                f"must be as many as the linear head's {network.num_classes} classes",
                names)  # fmt: skip
        _check_size(network, config)
        model = SimCLR(config, network.num_classes)
        model.detach_linear_head = False  # who trains this model means to train the encoder
        report = restore_network(model, network)
    _check_heads(report, config, path)
    stem = config.encoder.stem
    known_size = record.image_size if record else USUAL_IMAGE_SIZES[stem]
    size = image_size if image_size is not None else known_size
    config.encoder.resolve_stem(size)  # refuses images that the network would shrink away
    return LoadedModel(
        model=model,
        image_size=size,
        class_names=names,
        global_step=report.global_step,
        report=report,
        source=network.source,
        run_dir=network.location.run_dir,
    )


def _check_heads(report: RestoreReport, config: ModelConfig, path: str) -> None:
    """Only pretraining needs all that is stored; the others drop layers of the projection head."""
    faults = list(report.new)
    if config.pretrains:
        faults += [f"{name} has no place in the model" for name in report.unused]
    if faults:
        raise InputError("checkpoint", f"must hold complete heads ({'; '.join(faults[:5])})", path)


def _check_size(network: StoredNetwork, config: ModelConfig) -> None:
    """Refuses, before anything is built, weights that are not there or that nobody can hold."""
    sizes = [tf.io.gfile.stat(path).length for path in integrity.files_of(network.location.prefix)]
    elements = sum(math.prod(shape) for shape in network.shapes.values())
    require(_LEAST_BYTES * elements <= sum(sizes), "checkpoint",
            f"must hold its weights: it names {elements} numbers in {sum(sizes)} bytes",
            network.location.prefix)  # fmt: skip
    capacity.check_network(config, network.num_classes, "checkpoint")


def _check_record(record: Record, network: StoredNetwork) -> None:
    """Refuses a record of another network than that of the weights' shapes."""
    told, stored = record.model.encoder, network.encoder
    pairs = {
        "resnet_depth": (told.resnet_depth, stored.resnet_depth),
        "width_multiplier": (capacity.channels(told), capacity.channels(stored)),
        "stem": (told.stem, stored.stem),
    }
    constraint = "must be the record of the weights beside it, which have"
    for name, (there, found) in pairs.items():
        require(there == found, record.path, f"{constraint} {name}={getattr(stored, name)}",
                f"{name}={getattr(told, name)}")  # fmt: skip
    projection, kernels = record.model.projection, _projection_kernels(network)
    kept = projection.depth if record.model.pretrains else projection.ft_proj_selector
    require(kept <= len(kernels), record.path,
            f"{constraint} {len(kernels)} layers of the projection head", kept)  # fmt: skip
    if kernels and kept == projection.depth == len(kernels):
        width = kernels[-1][-1]
        require(width == projection.proj_out_dim, record.path,
                f"{constraint} proj_out_dim={width}", projection.proj_out_dim)  # fmt: skip


def _model_config(
    network: StoredNetwork, record: Record | None, ft_proj_selector: int
) -> ModelConfig:
    """The recorded settings, or those that the shapes imply; all trainable, in float32."""
    if record is None:
        config = ModelConfig(
            encoder=network.encoder,
            projection=_projection(network, ft_proj_selector),
            train_mode="finetune" if ft_proj_selector else "pretrain",
        )
    else:
        _check_record(record, network)
        known = record.model.projection.ft_proj_selector
        asked = kept_layers(ft_proj_selector, record.model.projection.depth)
        require(asked in (0, known), "ft_proj_selector",
                f"must be {known}, as recorded beside the weights", ft_proj_selector)  # fmt: skip
        config = record.model
    return dataclasses.replace(config, precision="float32", fine_tune_after_block=-1)


def _projection(network: StoredNetwork, ft_proj_selector: int) -> ProjectionConfig:
    projection = infer.infer_projection(_projection_kernels(network))
    return dataclasses.replace(projection, ft_proj_selector=ft_proj_selector)


def _projection_kernels(network: StoredNetwork) -> list[tuple[int, ...]]:
    kernels: list[tuple[int, ...]] = []
    while (name := f"projection_head/layer_{len(kernels)}/dense/kernel") in network.shapes:
        kernels.append(network.shapes[name])
    return kernels
