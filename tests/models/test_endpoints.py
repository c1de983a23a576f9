"""What an encoder returns, as endpoints by name."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.models.endpoints import endpoints_of

MAP = np.random.default_rng(0).random((2, 4, 5, 3), np.float32)


@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (2, 20, 3)])
def test_maps_and_tokens_are_averaged_over_their_positions(shape):
    found = endpoints_of(tf.reshape(MAP, shape))
    np.testing.assert_allclose(found["final_avg_pool"], MAP.mean(axis=(1, 2)), rtol=1e-6)
    assert found["feature_map"].shape == shape


def test_features_are_float32_whatever_they_were_computed_in():
    found = endpoints_of(tf.constant([[1.5, 2.5]], tf.bfloat16))
    assert list(found) == ["final_avg_pool"]
    assert found["final_avg_pool"].dtype == tf.float32


def test_names_are_kept_and_the_best_known_one_counts():
    output = {"low": MAP, "features": MAP[:, 0, 0], "embedding": MAP[:, 1, 1]}
    found = endpoints_of({name: tf.constant(value) for name, value in output.items()})
    assert set(found) == {"low", "features", "embedding", "final_avg_pool"}
    np.testing.assert_array_equal(found["final_avg_pool"], MAP[:, 1, 1])


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({"left": MAP, "right": MAP}, r"gives none of .* but \['left', 'right'\]"),
        ([MAP], "gives a list, neither a tensor nor a mapping"),
        (tf.constant([1, 2]), r"gives int32 \(2,\)"),
        (tf.zeros([2, 3], tf.int64), r"gives int64 \(2, 3\)"),
        (tf.zeros([2, 1, 1, 1, 3]), r"gives float32 \(2, 1, 1, 1, 3\)"),
    ],
)
def test_what_is_nothing_usable_is_described(output, text):
    if isinstance(output, dict):
        output = {name: tf.constant(value) for name, value in output.items()}
    with pytest.raises(ValueError, match=text):
        endpoints_of(output)
