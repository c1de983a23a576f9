"""The variables in a checkpoint file by name, whatever wrote it."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from simclr_tf.errors import InputError, first_line, require
from simclr_tf.weights import integrity, slots
from simclr_tf.weights.object_graph import OBJECT_GRAPH, VALUE_SUFFIX, read_graph, read_value

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
    _all_keys: dict[str, str]

    def all_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by full name of all variables, the optimizer's and counters included."""
        shapes = self._reader.get_variable_to_shape_map()
        return {name: tuple(shapes[key]) for name, key in self._all_keys.items() if key in shapes}

    def read_any(self, name: str) -> np.ndarray:
        """The value of any variable, whether its name is one of a network of ours or not.

        Raises:
            InputError: There is none of this name, or the file is damaged.
        """
        require(name in self._all_keys, "checkpoint", f"must hold {name}", self.prefix)
        return self._value(self._all_keys[name])

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
        return read_value(self._reader, key, self.prefix)


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
        reader = integrity.open_reader(prefix)
        shapes = reader.get_variable_to_shape_map()
        graph = read_graph(reader)
    except (ValueError, RuntimeError, IndexError, tf.errors.OpError) as error:
        raise InputError("checkpoint", f"must be a readable checkpoint ({first_line(error)})",
                         prefix) from None  # fmt: skip
    if graph is None:
        everything = {name: name for name in shapes}
        kept_for = [(name.rpartition("/")[0], name) for name in shapes
                    if _is_slot(name, name, shapes)]  # fmt: skip
    else:
        everything = _keys_by_full_name(graph)
        kept_for = [(name, key) for (_, name), key in slots.slot_keys(graph).items()]
    network = {
        name: key
        for name, key in sorted(everything.items())
        if name.split("/")[0] in NETWORK_SCOPES
        and key in shapes
        and not _is_slot(name, key, shapes)
    }
    kept: dict[str, list[str]] = {name: [] for name, _ in kept_for if name in network}
    for name, key in kept_for:
        if name in network and key in shapes:
            kept[name].append(key)
    others = sorted(set(shapes) - set(network.values()) - {OBJECT_GRAPH})
    return StoredVariables(
        prefix=prefix,
        object_based=graph is not None,
        shapes={name: tuple(shapes[key]) for name, key in network.items()},
        others=tuple(others),
        _reader=reader,
        _keys=network,
        _slots=kept,
        _all_keys=everything,
    )


def _is_slot(name: str, key: str, keys: dict[str, list[int]]) -> bool:
    """Whether a variable is an optimizer's.

    TF1 optimizers call a slot after its variable: `base_model/conv2d/kernel/Momentum`.
    """
    by_key = _SLOT in key or key.startswith("optimizer/")
    return by_key or (name == key and name.rpartition("/")[0] in keys)


def _keys_by_full_name(graph: trackable_object_graph_pb2.TrackableObjectGraph) -> dict[str, str]:
    return {
        attribute.full_name: attribute.checkpoint_key
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.checkpoint_key.endswith(VALUE_SUFFIX)
    }
