"""The variables in a checkpoint file by name, whatever wrote it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from simclr_tf.errors import InputError, first_line

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT = "/.OPTIMIZER_SLOT/"
# First parts of the names of a network's variables: ours, the reference's in TF2, in TF1.
NETWORK_SCOPES = ("encoder", "projection_head", "linear_head", "resnet", "head_supervised",
                  "base_model", "head_contrastive")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class StoredVariables:
    """The network's variables in a checkpoint; they are read one by one.

    Attributes:
        prefix: Path of the checkpoint without `.index`.
        object_based: Whether it is a TF2 object-based checkpoint, not a name-based TF1 one.
        shapes: Shape by full name, for the variables of the network.
        others: Names of what else is in it: optimizer slots, counters.
    """

    prefix: str
    object_based: bool
    shapes: dict[str, tuple[int, ...]]
    others: tuple[str, ...]
    _reader: tf.train.CheckpointReader
    _keys: dict[str, str]
    _slots: dict[str, list[str]]

    def checkpoint_keys(self) -> list[str]:
        """Keys of the network's variables in the file."""
        return list(self._keys.values())

    def was_trained(self, name: str) -> bool | None:
        """Whether an optimizer moved a variable; None where no optimizer is stored beside it.

        An optimizer keeps nothing, or zeros, for a variable that no gradient reached.

        Raises:
            InputError: The file is damaged or a part of it is missing.
        """
        if not self._slots:
            return None
        return any(np.any(self._value(key)) for key in self._slots.get(name, ()))

    def read(self, name: str) -> np.ndarray:
        """The value of a variable.

        Raises:
            InputError: The file is damaged or a part of it is missing.
        """
        return self._value(self._keys[name])

    def _value(self, key: str) -> np.ndarray:
        try:
            return self._reader.get_tensor(key)
        except (IndexError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise InputError("checkpoint", f"must be a complete checkpoint ({first_line(error)})",
                             self.prefix) from None  # fmt: skip


def open_variables(prefix: str) -> StoredVariables:
    """Lists the variables of a checkpoint by their full names; no value is read.

    Object-based checkpoints and SavedModels record the full name of every variable beside its
    key. The keys differ with the object that was saved, the names do not.

    Args:
        prefix: Path without `.index`.

    Raises:
        InputError: The file can't be read as a checkpoint.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
        graph = reader.get_tensor(_OBJECT_GRAPH) if _OBJECT_GRAPH in shapes else None
    except (ValueError, RuntimeError, IndexError, tf.errors.OpError) as error:
        raise InputError("checkpoint", f"must be a readable checkpoint ({first_line(error)})",
                         prefix) from None  # fmt: skip
    if graph is None:
        keys = {name: name for name in shapes if not _is_tf1_slot(name, shapes)}
        slots = [(name.rpartition("/")[0], name) for name in shapes if name not in keys]
    else:
        keys, slots = _keys_by_full_name(graph), _slots_by_full_name(graph)
    network = {
        name: key
        for name, key in sorted(keys.items())
        if name.split("/")[0] in NETWORK_SCOPES and key in shapes
    }
    kept: dict[str, list[str]] = {name: [] for name, _ in slots if name in network}
    for name, key in slots:
        if name in network and key in shapes:
            kept[name].append(key)
    others = sorted(set(shapes) - set(network.values()) - {_OBJECT_GRAPH})
    return StoredVariables(
        prefix=prefix,
        object_based=graph is not None,
        shapes={name: tuple(shapes[key]) for name, key in network.items()},
        others=tuple(others),
        _reader=reader,
        _keys=network,
        _slots=kept,
    )


def _is_tf1_slot(name: str, names: dict[str, list[int]]) -> bool:
    """TF1 optimizers call a slot after its variable: `base_model/conv2d/kernel/Momentum`."""
    return name.rpartition("/")[0] in names


def _values_in(serialized: bytes) -> Iterator[tuple[str, str]]:
    """Full name and key of everything that has a value."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(serialized)
    for node in graph.nodes:
        for attribute in node.attributes:
            if attribute.checkpoint_key.endswith(_VALUE_SUFFIX):
                yield attribute.full_name, attribute.checkpoint_key


def _slots_by_full_name(serialized: bytes) -> list[tuple[str, str]]:
    """Full name of a variable and key of what an optimizer keeps for it.

    Older Keras optimizers file it below the variable, newer ones below themselves, as
    `SGD/m/<full name>`.
    """
    values = list(_values_in(serialized))
    owners = {key: name for name, key in values}
    slots = []
    for name, key in values:
        owner, found, _ = key.partition(_SLOT)
        if found:
            slots.append((owners.get(owner + _VALUE_SUFFIX, ""), key))
        elif key.startswith("optimizer/") and name.count("/") > 1:
            slots.append((name.split("/", 2)[2], key))
    return slots


def _keys_by_full_name(serialized: bytes) -> dict[str, str]:
    return {
        name: key
        for name, key in _values_in(serialized)
        if _SLOT not in key and not key.startswith("optimizer/")
    }
