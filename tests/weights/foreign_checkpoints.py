"""Writes checkpoints as other SimCLR code left them, from a listing of names and shapes.

A listing is `{name: shape}` for TF1 checkpoints, which know a variable by its name, and
`{key: {"shape": ..., "full_name": ...}}` for TF2 ones, which know it by its place in a graph of
objects and note its full name beside it. `read_listing` reads those under `tests/fixtures`.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

Listing = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT = "/.OPTIMIZER_SLOT/"
_INTEGERS = ("iter", "iteration", "global_step", "save_counter")


def read_listing(path: str | pathlib.Path) -> dict[str, Any]:
    """A listing from a JSON file.

    The files in `tests/fixtures/foreign` spare themselves what is the same in every entry: they
    hold `{key without its end: [full name, shape]}`.
    """
    entries = json.loads(pathlib.Path(path).read_text())
    if not all(isinstance(entry, list) and entry and isinstance(entry[0], str)
               for entry in entries.values()):  # fmt: skip
        return entries
    return {
        key + _VALUE: {"full_name": full_name, "shape": shape}
        for key, (full_name, shape) in entries.items()
    }


def full_names(listing: Listing) -> dict[str, tuple[int, ...]]:
    """Shape by full name; the names of a TF1 listing are full already."""
    shapes = {}
    for name, entry in listing.items():
        if isinstance(entry, Mapping):
            name, entry = entry["full_name"], entry["shape"]
        shapes[name] = tuple(entry)
    return shapes


def random_arrays(listing: Listing, seed: int) -> dict[str, np.ndarray]:
    """Values of realistic size for every variable, by full name.

    Each depends on the seed and its own name alone, and NumPy promises to never change the
    numbers of `RandomState`: outputs computed elsewhere from the same values stay comparable.
    """
    return {name: _random_array(name, shape, seed) for name, shape in full_names(listing).items()}


def _random_array(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    draw = np.random.RandomState([seed, zlib.crc32(name.encode())]).uniform
    last = name.rsplit("/", 1)[-1]
    if last in _INTEGERS:
        return np.array(20, np.int64)
    if last == "kernel":  # He et al.: the ReLU halves the variance, this doubles it
        bound = math.sqrt(6 / np.prod(shape[:-1]))
        return draw(-bound, bound, shape).astype(np.float32)
    # Scales below 1 on average keep the sum over 50 residual blocks small.
    low, high = {"gamma": (0.4, 1.2), "moving_variance": (0.5, 1.5)}.get(last, (-0.2, 0.2))
    return draw(low, high, shape).astype(np.float32)


def write_tf1(prefix: str, arrays: Arrays) -> str:
    """Writes a name-based checkpoint, as the Saver of TF1 does; returns `prefix`."""
    _save(prefix, arrays)
    return prefix


def write_object_based(prefix: str, listing: Listing, arrays: Arrays) -> str:
    """Writes an object-based TF2 checkpoint.

    Args:
        prefix: Path of the checkpoint without `.index`.
        listing: Shape and full name by key.
        arrays: Values by full name.

    Returns:
        `prefix`.
    """
    tensors: dict[str, Any] = {key: arrays[entry["full_name"]] for key, entry in listing.items()}
    tensors[OBJECT_GRAPH] = object_graph(listing).SerializeToString()
    _save(prefix, tensors)
    return prefix


def write_saved_model_folder(folder: str, listing: Listing, arrays: Arrays) -> str:
    """Writes a SavedModel folder whose variables can be read and whose graph cannot.

    Published graphs ask for custom gradients that nobody can register any more. This one does not
    even parse, so an importer that touches it fails.
    """
    os.makedirs(os.path.join(folder, "variables"), exist_ok=True)
    with open(os.path.join(folder, "saved_model.pb"), "wb") as file:
        file.write(b"\xff not a graph")
    write_object_based(os.path.join(folder, "variables", "variables"), listing, arrays)
    return folder


def object_graph(listing: Listing) -> trackable_object_graph_pb2.TrackableObjectGraph:
    """The graph of objects that TensorFlow stores beside the tensors of such a listing."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.nodes.add().has_checkpoint_values.value = True
    ids = {"": 0}
    for key, entry in sorted(listing.items()):
        path, slot = _split_key(key)
        node = _slot_node(graph, ids, path, slot) if slot else _node(graph, ids, path)
        attribute = graph.nodes[node].attributes.add()
        attribute.name = "VARIABLE_VALUE"
        attribute.full_name = entry["full_name"]
        attribute.checkpoint_key = key
    return graph


def _split_key(key: str) -> tuple[str, str]:
    """Path of the object, and `optimizer path/slot name` where the key is that of a slot."""
    if not key.endswith(_VALUE):
        raise ValueError(f"not the key of a variable: {key}")
    path, _, slot = key[: -len(_VALUE)].partition(_SLOT)
    return path, slot


def _node(graph: trackable_object_graph_pb2.TrackableObjectGraph, ids: dict, path: str) -> int:
    """Number of the object at `path`, which is added with its parents where it is missing."""
    if path not in ids:
        parent, _, name = path.rpartition("/")
        parent_id = _node(graph, ids, parent)
        ids[path] = _new_node(graph)
        child = graph.nodes[parent_id].children.add()
        child.node_id, child.local_name = ids[path], name
    return ids[path]


def _slot_node(
    graph: trackable_object_graph_pb2.TrackableObjectGraph, ids: dict, path: str, slot: str
) -> int:
    """A slot is nobody's child: the optimizer's node lists it beside the variable it belongs to."""
    optimizer, _, slot_name = slot.rpartition("/")
    variable, owner = _node(graph, ids, path), _node(graph, ids, optimizer)
    node = _new_node(graph)
    reference = graph.nodes[owner].slot_variables.add()
    reference.original_variable_node_id = variable
    reference.slot_name = slot_name
    reference.slot_variable_node_id = node
    return node


def _new_node(graph: trackable_object_graph_pb2.TrackableObjectGraph) -> int:
    graph.nodes.add().has_checkpoint_values.value = True
    return len(graph.nodes) - 1


def _save(prefix: str, tensors: Mapping[str, Any]) -> None:
    """One file with all tensors under their names."""
    os.makedirs(os.path.dirname(prefix) or ".", exist_ok=True)
    names = sorted(tensors)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.convert_to_tensor(tensors[name]) for name in names],
    )
