"""An optimizer's state in a checkpoint: momenta and the like, by the variable they belong to."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from simclr_tf.errors import InputError, first_line
from simclr_tf.weights import integrity
from simclr_tf.weights.object_graph import read_graph, read_value

# What an optimizer keeps for every variable, as ours call it.
KINDS = {"lars": ("velocity",), "momentum": ("m",), "adam": ("m", "v")}
# The reference's LARS, and the SGD and Adam that it takes from Keras up to TensorFlow 2.10, keep
# slots beside the variable. Later optimizers, ours among them, have variables of their own.
_SLOTS = {"Momentum": "velocity", "momentum": "m", "m": "m", "v": "v"}
_VARIABLE = re.compile(r"(?:\w+/)?(velocity|m|v)/(.+)")
_STEP = "global_step/.ATTRIBUTES/VARIABLE_VALUE"
_OPTIMIZER = "optimizer/"


@dataclasses.dataclass(frozen=True)
class StoredSlots:
    """The state of an optimizer in a checkpoint; values are read one by one.

    Attributes:
        prefix: Path of the checkpoint without `.index`.
        step: The global step, None where the checkpoint does not hold it.
        keys: (slot, full name of the variable) -> the key in the file.
    """

    prefix: str
    step: int | None
    keys: Mapping[tuple[str, str], str]
    _reader: tf.train.CheckpointReader

    @property
    def kind(self) -> str | None:
        """`lars`, `momentum` or `adam`; None without state."""
        return kind_of(slot for slot, _ in self.keys)

    def shape(self, slot: str, name: str) -> tuple[int, ...]:
        """The shape of what `read` returns; nothing is read."""
        return tuple(self._reader.get_variable_to_shape_map()[self.keys[slot, name]])

    def read(self, slot: str, name: str) -> np.ndarray:
        """The state `slot` of the variable with the full name `name`.

        Raises:
            InputError: The file is damaged.
        """
        return read_value(self._reader, self.keys[slot, name], self.prefix)


def kind_of(slots: Iterable[str]) -> str | None:
    """The optimizer of `KINDS` that has these slots, None for none of them."""
    found = set(slots)
    return next((kind for kind, names in KINDS.items() if set(names) == found), None)


def parse_name(name: str) -> tuple[str, str] | None:
    """Slot and variable from the name of an optimizer's variable; None for another (a counter)."""
    match = _VARIABLE.fullmatch(name)
    return None if match is None else (match[1], match[2])


def open_slots(prefix: str) -> StoredSlots:
    """Lists the state of the `optimizer` object in a TF2 checkpoint; only the step is read.

    Args:
        prefix: Path without `.index`.

    Raises:
        InputError: The file can't be read as a checkpoint.
    """
    try:
        reader = integrity.open_reader(prefix)
        graph = read_graph(reader)
        keys = {} if graph is None else slot_keys(graph)
    except (ValueError, RuntimeError, IndexError, tf.errors.OpError) as error:
        raise InputError("checkpoint", f"must be a readable checkpoint ({first_line(error)})",
                         prefix) from None  # fmt: skip
    step = int(read_value(reader, _STEP, prefix)) if reader.has_tensor(_STEP) else None
    return StoredSlots(prefix, step, keys, reader)


def slot_keys(
    graph: trackable_object_graph_pb2.TrackableObjectGraph,
) -> dict[tuple[str, str], str]:
    """(slot, full name of the variable) -> the key in the file, of all state of an optimizer."""
    return {**_beside(graph), **_of_its_own(graph)}


def _beside(graph: trackable_object_graph_pb2.TrackableObjectGraph) -> dict[tuple[str, str], str]:
    found = {}
    for node in graph.nodes:
        for slot in node.slot_variables:
            variable = graph.nodes[slot.original_variable_node_id].attributes
            value = graph.nodes[slot.slot_variable_node_id].attributes
            if variable and value and slot.slot_name in _SLOTS:
                place = (_SLOTS[slot.slot_name], variable[0].full_name)
                found[place] = value[0].checkpoint_key
    return found


def _of_its_own(
    graph: trackable_object_graph_pb2.TrackableObjectGraph,
) -> dict[tuple[str, str], str]:
    found = {}
    for node in graph.nodes:
        for attribute in node.attributes:
            place = parse_name(attribute.full_name)
            if place is not None and attribute.checkpoint_key.startswith(_OPTIMIZER):
                found[place] = attribute.checkpoint_key
    return found
