"""How many elements batch norm counts, and that counting costs nothing where shapes are known."""

from __future__ import annotations

import pytest
import tensorflow as tf

from simclr_tf.models.batch_norm import _count


@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (None, 3, 5, 2)])
def test_a_known_count_takes_no_operations(shape):
    @tf.function(input_signature=[tf.TensorSpec(shape)])
    def count(x):
        return tf.convert_to_tensor(_count(x, tf.float32))

    assert float(count(tf.zeros([4, 3, 5, 2]))) == 60
    kinds = {one.type for one in count.get_concrete_function().graph.get_operations()}
    assert ("Prod" in kinds) == (shape[0] is None)
