"""The values of a checkpoint, and the graph of objects that TF2 keeps beside them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from simclr_tf.errors import InputError, first_line

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def read_graph(
    reader: tf.train.CheckpointReader,
) -> trackable_object_graph_pb2.TrackableObjectGraph | None:
    """The graph of objects in an object-based checkpoint; None in a name-based one.

    Raises:
        ValueError: It is damaged.
    """
    if not reader.has_tensor(OBJECT_GRAPH):
        return None
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    try:
        graph.ParseFromString(reader.get_tensor(OBJECT_GRAPH))
    except Exception as error:  # protobuf's own kind, which TensorFlow does not pass on
        raise ValueError(f"its graph of objects can't be read: {error}") from None
    return graph


def read_value(reader: tf.train.CheckpointReader, key: str, prefix: str) -> np.ndarray:
    """The value under a key of the checkpoint at `prefix`.

    Raises:
        InputError: The file is damaged or a part of it is missing.
    """
    try:
        return reader.get_tensor(key)
    except (IndexError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError("checkpoint", f"must be a complete checkpoint ({first_line(error)})",
                         prefix) from None  # fmt: skip
