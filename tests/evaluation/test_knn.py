"""kNN against loops in float64, ties, clipping, blocks."""

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.evaluation import knn


def oracle(bank, labels, query, k, temperature, num_classes):
    """One query, one neighbour at a time."""
    sims = []
    for index, entry in enumerate(bank):
        dot = sum(float(a) * float(b) for a, b in zip(entry, query, strict=True))
        norms = math.sqrt(sum(float(a) ** 2 for a in entry) * sum(float(b) ** 2 for b in query))
        sims.append((-dot / norms, index))
    votes = [0.0] * num_classes
    for negative, index in sorted(sims)[:k]:
        votes[labels[index]] += math.exp(-negative / temperature)
    return votes.index(max(votes))


def clustered(seed, size, classes=5, dim=6):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(classes, dim))
    labels = rng.integers(0, classes, size)
    scale = rng.uniform(0.1, 10, (size, 1))
    return ((centers[labels] + rng.normal(size=(size, dim))) * scale).astype(np.float32), labels


@pytest.mark.parametrize("query_block, bank_block", [(256, 32768), (7, 11), (1, 1), (50, 30)])
def test_equals_the_oracle_for_any_blocks(query_block, bank_block):
    bank, labels = clustered(0, 83)
    queries, _ = clustered(1, 29)
    found = knn.knn_predictions(
        bank, labels, queries, (1, 5, 20, 200), 0.07, 5, query_block, bank_block
    )
    for k in (1, 5, 20, 200):
        expected = [oracle(bank, labels, query, k, 0.07, 5) for query in queries]
        assert found[k].tolist() == expected, k


@pytest.mark.parametrize("temperature", [1e-4, 0.01, 1.0, 100.0])
def test_temperatures(temperature):
    bank, labels = clustered(2, 60)
    queries, _ = clustered(3, 20)
    found = knn.knn_predictions(bank, labels, queries, (15,), temperature)[15]
    if temperature >= 0.01:
        expected = [oracle(bank, labels, query, 15, temperature, 5) for query in queries]
    else:  # The nearest neighbour decides; exp(1 / 1e-4) is beyond any float.
        expected = [oracle(bank, labels, query, 1, 1.0, 5) for query in queries]
    assert found.tolist() == expected


def test_accuracy_is_the_share_of_hits():
    bank = np.eye(3, dtype=np.float32)
    found = knn.knn_accuracy(bank, np.arange(3), bank[[0, 1, 2, 2]], np.array([0, 1, 2, 0]), (1,))
    assert found == {1: 0.75}


def test_k_above_the_bank_is_all_of_it():
    bank, labels = clustered(4, 12)
    queries, _ = clustered(5, 9)
    found = knn.knn_predictions(bank, labels, queries, (12, 200))
    np.testing.assert_array_equal(found[12], found[200])


def test_equal_entries_are_taken_in_bank_order():
    # Ten copies of one direction: the first three vote, whatever the blocks.
    bank = np.ones((10, 2), np.float32)
    labels = np.array([1, 2, 2, 1, 1, 1, 1, 1, 1, 1])
    for bank_block in (10, 4, 1):
        found = knn.knn_predictions(bank, labels, bank[:2], (3, 10), bank_block=bank_block)
        assert found[3].tolist() == [2, 2]
        assert found[10].tolist() == [1, 1]


def test_equal_votes_go_to_the_lowest_class():
    bank = np.array([[1, 0], [1, 0]], np.float32)
    assert knn.knn_predictions(bank, np.array([3, 1]), bank[:1], (2,))[2].tolist() == [1]


def test_zero_features_do_not_break():
    bank = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)
    found = knn.knn_predictions(bank, np.array([0, 1, 2]), np.array([[0, 0], [2, 0]]), (1,))
    assert found[1].tolist() == [0, 1]


@pytest.mark.parametrize("width, k", [(640, 20), (650, 20), (1000, 7), (4096, 100), (40, 40)])
def test_grouped_top_k_equals_a_stable_sort(width, k):
    # Few distinct values: ties everywhere.
    sims = np.random.default_rng(width).integers(0, 30, (5, width)).astype(np.float32) / 30
    values, indices = knn._block_top_k(tf.constant(sims), k)
    expected = np.argsort(-sims, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(sims, expected, axis=1))


def test_large_bank_takes_the_grouped_way():
    bank, labels = clustered(6, 3000)
    queries, _ = clustered(7, 5)
    found = knn.knn_predictions(bank, labels, queries, (20,), bank_block=1500)[20]
    assert found.tolist() == [oracle(bank, labels, query, 20, 0.07, 5) for query in queries]


def test_scale_of_the_features_does_not_matter():
    bank, labels = clustered(8, 100)
    queries, query_labels = clustered(9, 50)
    plain = knn.knn_accuracy(bank, labels, queries, query_labels, (5,))
    assert plain == knn.knn_accuracy(256 * bank, labels, queries / 64, query_labels, (5,))


GOOD = {"bank": np.eye(3), "bank_labels": np.arange(3), "queries": np.eye(3)}


@pytest.mark.parametrize(
    "change, text",
    [
        ({"ks": (0,)}, "ks must be"),
        ({"ks": ()}, "ks must be"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"temperature": -1.0}, "temperature must be > 0"),
        ({"queries": np.eye(2)}, "queries must have the bank's 3 dimensions"),
        ({"bank": np.zeros((0, 3))}, "bank must have shape"),
        ({"bank_labels": np.arange(4)}, "bank_labels must have shape"),
        ({"bank_labels": np.array([0, 1, 9]), "num_classes": 3}, r"must lie in \[0, 3\)"),
        ({"bank_labels": np.array([0, 1, -1])}, "must lie in"),
        ({"bank_labels": np.array([0.0, 1, 2])}, "must be integers"),
        ({"queries": np.array([[1, 2, 3], [1, np.nan, 0]])}, "queries must be finite.*example 1"),
        ({"bank_block": 0}, "at least 1"),
    ],
)
def test_bad_input(change, text):
    with pytest.raises(InputError, match=text):
        knn.knn_predictions(**{**GOOD, **change})


def test_query_labels_of_another_length():
    with pytest.raises(InputError, match="query_labels"):
        knn.knn_accuracy(**GOOD, query_labels=np.arange(2))
