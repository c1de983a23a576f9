"""The graph of objects that a TF2 checkpoint keeps beside its values."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

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
