"""A network as it lies in a file: its variables under our names, and what it is."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf import run_folder
from simclr_tf.errors import InputError, require
from simclr_tf.json_files import field, read_json, texts
from simclr_tf.settings import by_name
from simclr_tf.settings.checks import IMAGE_SIZE
from simclr_tf.settings.model import EncoderConfig, ModelConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.weights import (
    graph,
    infer,
    layout,
    locate,
    readings,
    stored,
    torch_files,
    torch_network,
)

# Written beside the graph of an exported SavedModel, where TensorFlow ignores it.
EXPORT_RECORD = os.path.join("assets.extra", "simclr_tf.json")
WHOLE_HEAD = "whole_head"  # in a record, see `Record`


@dataclasses.dataclass(frozen=True)
class StoredNetwork:
    """The variables of an encoder and its heads in a checkpoint, by our names.

    Attributes:
        location: Where they lie.
        style: Whose names they have in the file (`layout.OURS`, ...).
        encoder: The architecture, inferred from the shapes and what else tells.
        shapes: Shape by our name, without `:0`.
        others: Names of what is not the network's: optimizer slots, counters.
        readings: How it is read where the shapes allow more than one way; by setting.
        assumed: Settings of `encoder` that nothing tells, with what was assumed, in words.
        notes: What else is to be said, in words.
        unknown: Whether nothing at all tells `resnet_variant` and `input_norm`.
    """

    location: locate.Location
    style: str
    encoder: EncoderConfig
    shapes: dict[str, tuple[int, ...]]
    others: tuple[str, ...]
    readings: dict[str, readings.Reading]
    _variables: stored.StoredVariables | torch_network.TorchVariables
    _names: dict[str, str]
    assumed: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unknown: bool = False

    @property
    def source(self) -> str:
        """The format in words."""
        if isinstance(self._variables, torch_network.TorchVariables):
            return self._variables.source
        if self.location.saved_model is not None:
            kind = "SavedModel"
        else:
            kind = "TF2 checkpoint" if self._variables.object_based else "TF1 checkpoint"
        return kind if self.style == layout.OURS else f"{kind} of the reference implementation"

    @property
    def num_classes(self) -> int | None:
        """Width of the linear head, None without one."""
        return (
            self.shapes["linear_head/kernel"][-1] if "linear_head/kernel" in self.shapes else None
        )

    @property
    def global_step(self) -> int:
        """Step of the weights, 0 where neither the name nor a record says."""
        exported = self.location.saved_model or self.location.torch
        record = read_record(self.location) if exported else None
        if record is not None and record.global_step is not None:
            return record.global_step
        folder = os.path.basename(self.location.saved_model or "")
        if folder.isdigit():  # the reference calls an export after its step
            return int(folder)
        return locate.checkpoint_step(self.location.prefix) or 0

    def read(self, name: str) -> np.ndarray:
        """The value of the variable that we call `name`.

        Raises:
            InputError: The file is damaged.
        """
        return self._variables.read(self._names[name])

    def stored_name(self, name: str) -> str:
        """The full name in the file of the variable that we call `name`.

        Raises:
            KeyError: It is not in the file.
        """
        return self._names[name]

    def check_complete(self) -> None:
        """Reads every value once, so that a damaged file is noticed before anything changes.

        Raises:
            InputError: The file is damaged.
        """
        for name in self._names:
            self.read(name)


def open_network(location: locate.Location) -> StoredNetwork:
    """Recognises the format of a checkpoint and lists its network.

    The graph of a SavedModel is never loaded: its custom gradients may be broken, its variables
    are not. Where names and shapes leave something open it is parsed, see `readings`.

    Args:
        location: From `locate.locate`.

    Raises:
        InputError: It can't be read, or holds no ResNet of this library.
    """
    if location.torch:
        return _open_torch(location)
    prefix = location.prefix
    variables = stored.open_variables(prefix)
    layers = layout.read_layout(variables.shapes, prefix)
    encoder = infer.infer_encoder(
        _kernel_shapes(layers.convs, variables), _kernel_shapes(layers.gates, variables), prefix
    )
    if layers.style == layout.OURS:
        names = {name: name for name in variables.shapes}
    else:
        names = {**_encoder_names(layers, encoder, prefix), **layers.heads}
    shapes = {ours: variables.shapes[name] for ours, name in names.items()}
    found = _readings(location, layers.style, encoder, shapes, names, variables)
    encoder = dataclasses.replace(encoder, sk_ratio=found[readings.SHORTCUTS].value)
    record = read_record(location)
    return StoredNetwork(
        location=location,
        style=layers.style,
        encoder=encoder if record is None else _as_recorded(encoder, record),
        shapes=shapes,
        others=variables.others,
        readings=found,
        _variables=variables,
        _names=names,
        unknown=record is None and layers.style == layout.OURS,
    )


def _open_torch(location: locate.Location) -> StoredNetwork:
    """The same for a file of PyTorch."""
    variables = torch_network.open_variables(location.prefix)
    layers = layout.read_layout(variables.shapes, location.prefix)
    encoder = infer.infer_encoder(
        _kernel_shapes(layers.convs, variables),
        _kernel_shapes(layers.gates, variables),
        location.prefix,
    )
    record = read_record(location)
    if record is None:
        encoder, assumed = variables.settle(encoder)
        found = [readings.Reading(readings.SHORTCUTS, encoder.sk_ratio)]
        found += [readings.Reading(readings.HEAD, 0)] * (readings.LINEAR_KERNEL in variables.shapes)
    else:
        encoder, assumed = _as_recorded(encoder, record), {}
        found = list(readings.recorded(record.model))
    return StoredNetwork(
        location=location,
        style=layout.TORCH,
        encoder=encoder,
        shapes=variables.shapes,
        others=(),
        readings={reading.setting: reading for reading in found},
        notes=variables.note(),
        _variables=variables,
        _names={name: name for name in variables.shapes},
        assumed=assumed,
    )


def _as_recorded(encoder: EncoderConfig, record: Record) -> EncoderConfig:
    told = record.model.encoder
    return dataclasses.replace(encoder, sk_ratio=told.sk_ratio, input_norm=told.input_norm,
                               resnet_variant=told.resnet_variant)  # fmt: skip


def _readings(
    location: locate.Location,
    style: str,
    encoder: EncoderConfig,
    shapes: dict[str, tuple[int, ...]],
    names: dict[str, str],
    variables: stored.StoredVariables,
) -> dict[str, readings.Reading]:
    record = read_record(location)
    if record is not None:
        return {reading.setting: reading for reading in readings.recorded(record.model)}
    beside = functools.cache(lambda: graph.read_graph(location))
    by_reference = style == layout.REFERENCE_TF2
    shortcuts = readings.read_shortcuts(encoder, names, variables, beside, by_reference)
    if style == layout.OURS:
        head = readings.head_of_ours(shapes)
    else:
        head = readings.read_head(shapes, names, variables, beside)
    return {reading.setting: reading for reading in (shortcuts, head) if reading is not None}


def _kernel_shapes(
    layers: list[layout.Leaves], variables: stored.StoredVariables | torch_network.TorchVariables
) -> list[tuple[int, ...]]:
    return [variables.shapes[leaves["kernel"]] for leaves in layers if "kernel" in leaves]


def _encoder_names(layers: layout.Layout, encoder: EncoderConfig, prefix: str) -> dict[str, str]:
    """Our name of every encoder variable -> its stored name, paired by order of creation."""
    names = {}
    ordered = (layers.convs, layers.gates, layers.norms)
    for ours, found in zip(layout.encoder_layers(encoder), ordered, strict=True):
        if len(ours) != len(found):
            raise InputError(
                "checkpoint",
                f"must be complete: a ResNet of its kind has {len(ours)} layers like {ours[-1]}",
                f"{prefix} with {len(found)}",
            )
        for layer, leaves in zip(ours, found, strict=True):
            names.update({f"{layer}/{leaf}": name for leaf, name in leaves.items()})
    _check_groups(names, prefix)
    return names


def _check_groups(names: dict[str, str], prefix: str) -> None:
    """Where stored names tell the block group, as in TF2, the pairing must agree with them."""
    for ours, name in names.items():
        told, paired = (re.search(r"block_group(\d)", text) for text in (name, ours))
        if told and (paired is None or told[0] != paired[0]):
            raise InputError("checkpoint", "must number its layers in order of creation "
                             f"({name} would become {ours})", prefix)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run or an export of ours says about its network.

    Attributes:
        model: The settings of the network.
        image_size: Side of the training images in pixels.
        class_names: Names of the linear head's classes, None where unknown.
        global_step: Step of the weights, None where the record does not say.
        path: Of the file.
        whole_head: Whether fine-tuned weights have layers of the projection head that the linear
            head does not read, as those of the reference implementation.
    """

    model: ModelConfig
    image_size: int
    class_names: tuple[str, ...] | None
    global_step: int | None = None
    path: str = ""
    whole_head: bool = False


def read_record(location: locate.Location) -> Record | None:
    """The record that our runs and exports keep beside the weights; None for foreign weights.

    Raises:
        InputError: There is one that can't be read.
    """
    if location.run_dir is not None:
        return _read_run(os.path.join(location.run_dir, run_folder.CONFIG))
    if location.torch:
        content = torch_files.read_record(location.prefix)
        return None if content is None else _read_export(content, location.prefix)
    if location.saved_model is not None:
        path = os.path.join(location.saved_model, EXPORT_RECORD)
        return _read_export(read_json(path), path) if tf.io.gfile.exists(path) else None
    return None


def _read_run(path: str) -> Record:
    settings = read_json(path)
    with _naming(path, "must be the record of a run"):
        run = by_name.build_run_config(_known(settings, RunConfig))
    names, whole = _class_names(settings, path), settings.get(WHOLE_HEAD) is True
    return Record(run.model, run.data.image_size, names, path=path, whole_head=whole)


def _read_export(content: dict[str, Any], path: str) -> Record:
    version, settings = field(content, "format", int, path), field(content, "model", dict, path)
    size, step = field(content, "image_size", int, path), field(content, "global_step", int, path)
    require(version == 1, path, "must have the format 1", version)
    require(0 < size <= IMAGE_SIZE.high and step >= 0, path,
            "must have an image_size and a global_step that can be", (size, step))  # fmt: skip
    with _naming(path, "must be a record of an export"):
        model = by_name.build_config(ModelConfig, _known(settings, ModelConfig))
        settled = model.encoder.stem != "auto" or not model.encoder.is_resnet
        require(settled, "stem", "must be given", model.encoder.stem)
    names, whole = _class_names(content, path), content.get(WHOLE_HEAD) is True
    return Record(model, size, names, step, path, whole)


@contextlib.contextmanager
def _naming(path: str, constraint: str) -> Iterator[None]:
    """Turns whatever a damaged record leads to into an error that names the file."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(path, f"{constraint} ({what})", path) from None


def _known(settings: dict[str, Any], config_class: type) -> dict[str, Any]:
    """Leaves out settings that another version of this library wrote."""
    return {name: settings[name] for name in by_name.setting_names(config_class)
            if name in settings}  # fmt: skip


def _class_names(content: dict[str, Any], path: str) -> tuple[str, ...] | None:
    names = texts(content, "class_names", path, None)
    return None if names is None else tuple(names)
