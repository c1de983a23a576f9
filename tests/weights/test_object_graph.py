"""`simclr_tf.weights.object_graph`: what a checkpoint says of its objects."""

from __future__ import annotations

import pytest
import tensorflow as tf

from simclr_tf.weights.object_graph import OBJECT_GRAPH, read_graph


class Reader:
    """Stands in for TensorFlow's reader of a file with one tensor."""

    def __init__(self, **tensors):
        self.tensors = tensors

    def has_tensor(self, key):
        return key in self.tensors

    def get_tensor(self, key):
        return self.tensors[key]


def test_the_objects_of_a_checkpoint(tmp_path):
    saved = tf.train.Checkpoint(step=tf.Variable(3, name="global_step"))
    graph = read_graph(tf.train.load_checkpoint(saved.write(str(tmp_path / "ckpt"))))
    names = {attribute.full_name for node in graph.nodes for attribute in node.attributes}
    assert "global_step" in names
    assert [child.local_name for child in graph.nodes[0].children] == ["step"]


def test_a_name_based_checkpoint_has_none_and_a_damaged_one_is_told():
    assert read_graph(Reader(kernel=b"")) is None
    for damaged in (b"\xff\xff\xff", 3.0):
        with pytest.raises(ValueError, match="graph of objects can't be read"):
            read_graph(Reader(**{OBJECT_GRAPH: damaged}))
