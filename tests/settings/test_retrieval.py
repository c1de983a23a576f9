"""Limits of the settings."""

import math

import pytest

from simclr_tf.errors import InputError
from simclr_tf.settings.retrieval import RetrievalConfig


def test_defaults():
    config = RetrievalConfig()
    assert (config.output, config.embeddings, config.query) == (None, None, None)
    assert (config.num_neighbors, config.duplicate_similarity) == (10, 0.95)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"output": ""}, "output must name a file"),
        ({"embeddings": ""}, "embeddings must name a file"),
        ({"query": ""}, "query must name"),
        ({"num_neighbors": 0}, "num_neighbors must be at least 1"),
        ({"num_neighbors": 2**31}, "num_neighbors must be at least 1"),
        ({"duplicate_similarity": 0.0}, "duplicate_similarity must be greater than 0"),
        ({"duplicate_similarity": 1.01}, "duplicate_similarity must be greater than 0"),
        ({"duplicate_similarity": math.nan}, "duplicate_similarity must be greater than 0"),
    ],
)
def test_bad_values(change, text):
    with pytest.raises(InputError, match=text):
        RetrievalConfig(**change)
