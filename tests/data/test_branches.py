"""Branches of a graph that cost nothing where they are not taken."""

import pytest
import tensorflow as tf

from simclr_tf.data.branches import apart


@pytest.mark.parametrize("taken", [True, False])
def test_branches_compute_what_they_should(taken):
    def one(x):
        branch = apart(lambda a, b: (a + b, [a * b]), x, tf.constant(3.0))
        return tf.nest.flatten(tf.cond(x > 0, branch, lambda: (x, [x])))

    value = 2.0 if taken else -2.0
    found = next(
        tf.data.Dataset.from_tensors(value).map(lambda x: tuple(one(x))).as_numpy_iterator()
    )
    expected = (5.0, [6.0]) if taken else (-2.0, [-2.0])
    assert list(found) == tf.nest.flatten(expected)


def test_they_stay_functions():
    @tf.function(autograph=False)
    def graph(x):
        return tf.cond(x > 0, apart(tf.math.lgamma, x), lambda: x)

    definition = graph.get_concrete_function(tf.constant(1.0)).graph.as_graph_def()
    kept = [one for one in definition.library.function if one.attr["_noinline"].b]
    assert [node.op for node in kept[0].node_def if node.op == "Lgamma"] == ["Lgamma"]
