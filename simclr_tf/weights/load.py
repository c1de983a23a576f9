"""A model with the weights and the architecture that a file holds."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from simclr_tf import capacity
from simclr_tf.errors import InputError, require
from simclr_tf.models.network import Network
from simclr_tf.settings.model import ModelConfig, ProjectionConfig, kept_layers
from simclr_tf.weights import archives, infer, integrity, load_keras, locate
from simclr_tf.weights.network import Record, StoredNetwork, open_network, read_record
from simclr_tf.weights.readings import HEAD, SHORTCUTS, Reading, projection_kernels
from simclr_tf.weights.report import RestoreReport
from simclr_tf.weights.restore import restore_network

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
        prefix: Path of the checkpoint without `.index`, None for SavedModels, which hold no state
            of an optimizer.
    """

    model: Network
    image_size: int
    class_names: tuple[str, ...] | None
    global_step: int
    report: RestoreReport
    source: str
    run_dir: str | None
    prefix: str | None = None


def load_model(
    path: str | os.PathLike[str],
    ft_proj_selector: int | None = None,
    image_size: int | None = None,
    sk_ratio: float | None = None,
    resnet_variant: str | None = None,
    input_norm: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> LoadedModel:
    """Builds the network that a checkpoint holds, and reads its weights.

    Example:
        >>> loaded = simclr_tf.load_model("runs/a")  # doctest: +SKIP
        >>> loaded.model(images)["final_avg_pool"]  # doctest: +SKIP

    Args:
        path: A run, a checkpoint of ours, a SavedModel of ours, or a published TF2 checkpoint,
            SavedModel or TF1 checkpoint; a TF-Hub archive (`.tar.gz`) of a SavedModel, local or on
            an http server; the name of a published encoder (`simclr_tf.published`), or any of these
            in a bucket (`gs://...`); a `.safetensors` file or a state dict of PyTorch with the
            ResNet of torchvision, lightly, solo-learn, VISSL or MoCo. See `locate.locate` and
            `locate.unpacked`.
        ft_proj_selector: The layer of the projection head that the linear head of foreign weights
            reads, 0 for none of them, -1 for the last (SimCLRv2 fine-tunes from layer 1). Names and
            shapes do not tell; a graph or the optimizer's variables beside them often do, and
            weights of ours know it. Where nothing tells, the linear head is left out without this.
        image_size: Replaces the recorded or assumed size.
        sk_ratio: Whether the shortcuts of a foreign ResNet-18 or 34 with the CIFAR stem pool: 0 or
            above. Where nothing tells and this does not say, 0 is assumed, and the linear head is
            left out.
        resnet_variant: How the CIFAR stem of weights of PyTorch pads: see `EncoderConfig`. None
            takes `torchvision`, or `solo_learn` where the names are its.
        input_norm: How images were scaled for weights of PyTorch: see `EncoderConfig`. None takes
            `imagenet`, or `cifar10` with solo-learn's CIFAR stem.
        cache_dir: Folder for what is fetched, instead of `$TFHUB_CACHE_DIR` or
            `~/.cache/simclr_tf/tfhub`.

    Returns:
        The model and what is known about it.

    Raises:
        InputError: There are no such weights, or they are not a whole SimCLR network.
    """
    path = os.path.expanduser(os.fspath(path))
    with archives.caching_in(cache_dir), locate.unpacked(path) as unpacked:
        location = locate.locate(unpacked)
        record = read_record(location)
        if record is not None and not record.model.encoder.is_resnet:
            return _keras_model(location, record, ft_proj_selector, image_size)
        network = open_network(location)
        if ft_proj_selector is not None:
            depth = _depth(network, record)
            ft_proj_selector = kept_layers(ft_proj_selector, depth) if depth else ft_proj_selector
        given = _check_given(network, {HEAD: ft_proj_selector, SHORTCUTS: sk_ratio})
        network, chosen = _with_choices(network, resnet_variant, input_norm)
        open_readings = [r for r in network.readings.values()
                         if r.is_open and r.setting not in given]  # fmt: skip
        with_head = network.num_classes is not None and not open_readings
        config = _model_config(network, record, given, with_head)
        names = record.class_names if record else None
        require(names is None or network.num_classes in (None, len(names)), "class_names",
                f"must be as many as the linear head's {network.num_classes} classes",
                names)  # fmt: skip
        _check_size(network, config)
        size = _image_size(config, record, image_size)
        whole = config.train_mode == "finetune" and (record is None or record.whole_head)
        model = Network(config, network.num_classes if with_head else None, whole_head=whole)
        model.detach_linear_head = False  # who trains this model means to train the encoder
        report = _without_head(restore_network(model, network, {*given, *chosen}), open_readings)
    _check_heads(report, model, path)
    place = network.location
    return LoadedModel(
        model, size, names, report.global_step, report, network.source, place.run_dir,
        _checkpoint_of(place),
    )  # fmt: skip


def read_model_config(path: str | os.PathLike[str]) -> ModelConfig:
    """The architecture that a checkpoint holds, without reading its weights.

    Args:
        path: As in `load_model`.

    Raises:
        InputError: As in `load_model`.
    """
    with locate.unpacked(os.path.expanduser(os.fspath(path))) as unpacked:
        location = locate.locate(unpacked)
        record = read_record(location)
        if record is not None:
            return record.model
        return _model_config(open_network(location), None, {}, with_head=False)


def _checkpoint_of(location: locate.Location) -> str | None:
    """The prefix of a checkpoint; None for SavedModels and files of PyTorch."""
    return None if location.torch or location.saved_model is not None else location.prefix


def _with_choices(
    network: StoredNetwork, variant: str | None, norm: str | None
) -> tuple[StoredNetwork, dict[str, str]]:
    """The network as somebody says that it computes, where nothing beside the weights tells it.

    Raises:
        InputError: Something tells otherwise.
    """
    choices = {"resnet_variant": variant, "input_norm": norm}
    chosen = {name: value for name, value in choices.items() if value is not None}
    for name, value in chosen.items():
        known = getattr(network.encoder, name)
        free = network.unknown or name in network.assumed
        require(free or value == known, name, f"must be {known}, as the weights tell", value)
    choice: dict[str, Any] = {**chosen}
    encoder = dataclasses.replace(network.encoder, **choice)
    require(encoder.projects_first == network.encoder.projects_first, "resnet_variant",
            f"must be {network.encoder.resnet_variant}, as the weights tell",
            encoder.resnet_variant)  # fmt: skip
    return dataclasses.replace(network, encoder=encoder), chosen


def _keras_model(
    location: locate.Location,
    record: Record,
    ft_proj_selector: int | None,
    image_size: int | None,
) -> LoadedModel:
    """The model of a run or export of ours whose encoder is a Keras model."""
    for name, value in (("ft_proj_selector", ft_proj_selector), ("image_size", image_size)):
        known = {"image_size": record.image_size,
                 "ft_proj_selector": record.model.projection.ft_proj_selector}[name]  # fmt: skip
        require(value in (None, known), name, f"must be {known}, as the weights were trained "
                f"(encoder={record.model.encoder.encoder})", value)  # fmt: skip
    model, report = load_keras.load(location, record)
    return LoadedModel(
        model=model,
        image_size=record.image_size,
        class_names=record.class_names,
        global_step=report.global_step,
        report=report,
        source=report.source,
        run_dir=location.run_dir,
        prefix=_checkpoint_of(location),
    )


def _check_heads(report: RestoreReport, model: Network, path: str) -> None:
    """A model with a whole head needs all that is stored; others lack layers of it."""
    faults = list(report.new)
    if model.whole_head:
        faults += [f"{name} has no place in the model" for name in report.unused]
    if faults:
        raise InputError("checkpoint", f"must hold complete heads ({'; '.join(faults[:5])})", path)


def _image_size(config: ModelConfig, record: Record | None, given: int | None) -> int:
    """Side of the images: as given, recorded, or usual; refuses what the network shrinks away."""
    known = record.image_size if record else USUAL_IMAGE_SIZES[config.encoder.stem]
    size = known if given is None else given
    config.encoder.resolve_stem(size)
    return size


def _check_size(network: StoredNetwork, config: ModelConfig) -> None:
    """Refuses, before anything is built, weights that are not there or that nobody can hold."""
    prefix = network.location.prefix
    paths = [prefix] if network.location.torch else integrity.files_of(prefix)
    sizes = [tf.io.gfile.stat(path).length for path in paths]
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
    projection, kernels = record.model.projection, _kernels(network)
    kept = projection.depth if record.model.pretrains else projection.ft_proj_selector
    require(kept <= len(kernels), record.path,
            f"{constraint} {len(kernels)} layers of the projection head", kept)  # fmt: skip
    if kernels and kept == projection.depth == len(kernels):
        width = kernels[-1][-1]
        require(width == projection.proj_out_dim, record.path,
                f"{constraint} proj_out_dim={width}", projection.proj_out_dim)  # fmt: skip


def _depth(network: StoredNetwork, record: Record | None) -> int:
    """Layers of the projection head, those that fine-tuning has dropped included."""
    stored = len(projection_kernels(network.shapes))
    return stored if record is None else record.model.projection.depth


def _check_given(network: StoredNetwork, settings: Mapping[str, float | None]) -> dict[str, float]:
    """The settings that were given; none may contradict what tells how to read the weights."""
    given = {name: value for name, value in settings.items() if value is not None}
    for name, value in given.items():
        if name in network.readings:
            network.readings[name].check(value)
        elif value:
            raise InputError(name, "must be 0 or left out: the weights have no linear head", value)
    return given


def _without_head(report: RestoreReport, open_readings: Sequence[Reading]) -> RestoreReport:
    """Says why the linear head was left out."""
    head = [name for name in report.unused if name.startswith("linear_head/")]
    if not head or not open_readings:
        return report
    doubts = tuple(InputError(r.setting, r.constraint(), None) for r in open_readings)
    why = [f"{d.name} {d.constraint}" for d in doubts if d.name == HEAD]
    why = why or [f"{d.name} must be given" for d in doubts]
    unused = tuple(name for name in report.unused if name not in head)
    notes = (*report.notes, f"the linear head is left out: {why[0]}")
    return dataclasses.replace(report, unused=unused, left_out=tuple(head), notes=notes,
                               doubts=doubts)  # fmt: skip


def _model_config(
    network: StoredNetwork, record: Record | None, given: Mapping[str, float], with_head: bool
) -> ModelConfig:
    """The recorded settings, or those that shapes and readings imply; all trainable, in float32."""
    if record is None:
        readings = {name: reading.value for name, reading in network.readings.items()}
        settings = {**readings, **given}
        selector = int(settings.get(HEAD, 0)) if with_head else 0
        ratio = given.get(SHORTCUTS, network.encoder.sk_ratio)
        config = ModelConfig(
            encoder=dataclasses.replace(network.encoder, sk_ratio=ratio),
            projection=_projection(network, selector),
            train_mode="finetune" if selector else "pretrain",
        )
    else:
        _check_record(record, network)
        config = record.model
    return dataclasses.replace(config, precision="float32", fine_tune_after_block=-1)


def _projection(network: StoredNetwork, ft_proj_selector: int) -> ProjectionConfig:
    projection = infer.infer_projection(_kernels(network))
    return dataclasses.replace(projection, ft_proj_selector=ft_proj_selector)


def _kernels(network: StoredNetwork) -> list[tuple[int, ...]]:
    """Shapes of the projection head's kernels."""
    return [network.shapes[name] for name in projection_kernels(network.shapes)]
