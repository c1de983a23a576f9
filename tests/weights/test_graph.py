"""Graphs as data; those that tell something are in test_readings.py."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from simclr_tf.weights import graph, locate


@pytest.mark.parametrize("content", [b"", b"\xff not a graph", b"\x12\x00"])
def test_a_graph_that_cannot_be_read_tells_nothing(tmp_path, content):
    (tmp_path / "saved_model.pb").write_bytes(content)
    found = graph.read_graph(locate.Location("x", saved_model=str(tmp_path)))
    assert found is None or found.before("kernel", ("MatMul",)) is None


def test_a_graph_that_is_too_large_is_not_parsed(tmp_path, monkeypatch):
    (tmp_path / "saved_model.pb").write_bytes(b"\x12\x00")
    monkeypatch.setattr(graph, "_LARGEST", 1)
    assert graph.read_graph(locate.Location("x", saved_model=str(tmp_path))) is None


def test_a_graph_that_is_too_long_tells_nothing(tmp_path, monkeypatch):
    """Nobody waits for a graph with very many products behind very many operations."""
    with tf.Graph().as_default() as built:
        kernel = tf.compat.v1.get_variable("kernel", [2, 2], use_resource=False)
        rows = tf.nn.conv2d(tf.zeros([1, 2, 2, 2]), tf.zeros([1, 1, 2, 2]), 1, "SAME")[0, 0]
        for _ in range(50):
            rows = tf.identity(rows)
        for _ in range(50):
            tf.matmul(rows, kernel)
    meta = meta_graph_pb2.MetaGraphDef(graph_def=built.as_graph_def())
    (tmp_path / "x.meta").write_bytes(meta.SerializeToString())
    found = graph.read_graph(locate.Location(str(tmp_path / "x")))
    assert {met.op for met in found.before("kernel", ("Conv2D", "MatMul"))} == {"Conv2D"}
    monkeypatch.setattr(graph, "_LONGEST", 1000)
    assert found.before("kernel", ("Conv2D", "MatMul")) is None
