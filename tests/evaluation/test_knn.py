"""kNN against loops and NumPy in float64, votes, ties, blocks, mapped files."""

import math

import numpy as np
import pytest

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


@pytest.mark.parametrize("query_block, bank_block", [(256, 32768), (7, 11), (1, 1), (50, 20)])
def test_equals_the_oracle_for_any_blocks(query_block, bank_block):
    bank, labels = clustered(0, 43)
    queries, _ = clustered(1, 17)
    sims, indices = knn.nearest_neighbors(
        bank, queries, 200, query_block=query_block, bank_block=bank_block
    )
    found = {
        k: knn.vote(sims[:, :k], labels[indices[:, :k]], 5, temperature=0.07)
        for k in (1, 5, 20, 200)
    }
    whole = knn.knn_predictions(bank, labels, queries, (1, 5, 20, 200), 0.07, 5)
    assert all(np.array_equal(found[k], whole[k]) for k in found)
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


def test_k_above_the_bank_is_all_of_it():
    bank, labels = clustered(4, 12)
    queries, _ = clustered(5, 9)
    found = knn.knn_predictions(bank, labels, queries, (12, 200))
    np.testing.assert_array_equal(found[12], found[200])


def test_equal_entries_are_taken_in_bank_order():
    # Ten copies of one direction: the first three vote, whatever the blocks.
    bank = np.tile(np.array([0, 2], np.float32), (10, 1))
    labels = np.array([1, 2, 2, 1, 1, 1, 1, 1, 1, 1])
    for bank_block in (10, 4, 1):
        sims, indices = knn.nearest_neighbors(bank, bank[:2], 10, bank_block=bank_block)
        assert knn.vote(sims[:, :3], labels[indices[:, :3]], 3).tolist() == [2, 2]
        assert knn.vote(sims, labels[indices], 3).tolist() == [1, 1]


def test_equal_votes_go_to_the_lowest_class():
    bank = np.array([[1, 0], [1, 0]], np.float32)
    assert knn.knn_predictions(bank, np.array([3, 1]), bank[:1], (2,))[2].tolist() == [1]


def test_zero_features_do_not_break():
    bank = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)
    found = knn.knn_predictions(bank, np.array([0, 1, 2]), np.array([[0, 0], [2, 0]]), (1,))
    assert found[1].tolist() == [0, 1]


def brute_force(bank, queries, k):
    """Similarities and indices by NumPy in float64, a stable sort."""
    bank, queries = np.asarray(bank, np.float64), np.asarray(queries, np.float64)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(bank, axis=1)
    sims = queries @ bank.T / np.where(lengths > 0, lengths, 1)
    order = np.argsort(-sims, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(sims, order, axis=1), order


@pytest.mark.parametrize(
    "k, query_block, bank_block",
    [(1, 16, 700), (20, 9, 64), (200, 64, 50), (200, 64, 4096), (3000, 7, 999)],
)
def test_neighbors_equal_brute_force(k, query_block, bank_block):
    bank, _ = clustered(6, 3000, dim=16)
    queries, _ = clustered(7, 23, dim=16)
    sims, indices = knn.nearest_neighbors(
        bank, queries, k, query_block=query_block, bank_block=bank_block
    )
    expected_sims, expected = brute_force(bank, queries, k)
    np.testing.assert_allclose(sims, expected_sims, atol=1e-6)
    # Neighbours closer to each other than float32 tells apart may change places, no others.
    swapped = indices != expected
    assert swapped.mean() < 0.01
    _, rounded = brute_force(bank, queries, len(bank))
    for row in np.flatnonzero(swapped.any(axis=1)):
        assert set(indices[row]) <= set(rounded[row, : k + 3])
    assert all(len(set(row)) == k for row in indices)


@pytest.mark.parametrize("bank_block", [1000, 100, 33, 7])
@pytest.mark.parametrize("k", [1, 10, 150])
def test_ties_everywhere_in_bank_order(bank_block, k):
    # Small whole numbers at right angles or multiples: many similarities are equal exactly.
    rng = np.random.default_rng(5)
    bank = np.eye(4)[rng.integers(0, 4, 400)] * rng.choice([1, 2, 4], (400, 1))
    queries = np.array([[1, 0, 0, 0], [0, -1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, -1, 0, 0]])
    sims, indices = knn.nearest_neighbors(bank, queries, k, query_block=2, bank_block=bank_block)
    expected_sims, expected = brute_force(bank, queries, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(sims, expected_sims, atol=1e-7)


def test_keys_sort_by_falling_similarity_then_place():
    sims = np.array([1, 0.5, 0.5, 1e-38, 0.0, -0.0, -1e-38, -0.5, -1], np.float32)
    keys = knn._pack(sims, np.array([7, 0, 1, 2**32 - 1, 3, 4, 0, 5, 6]))
    assert np.all(np.diff(keys) > 0)
    found, places = knn._unpack(keys)
    np.testing.assert_array_equal(found, sims)
    assert places.tolist() == [7, 0, 1, 2**32 - 1, 3, 4, 0, 5, 6]


def test_plain_votes_count():
    # The two nearest are of class 2, the three after them of class 0.
    sims = np.array([[0.9, 0.8, 0.1, 0.05, 0.0]], np.float32)
    labels = np.array([[2, 2, 0, 0, 0]])
    assert knn.vote(sims, labels, 3, "plain").tolist() == [0]
    assert knn.vote(sims, labels, 3, "weighted").tolist() == [2]


@pytest.mark.parametrize(
    "labels, winner",
    [
        ([3, 1, 1, 3], 3),
        ([1, 3, 3, 1], 1),
        ([2, 1, 3, 0], 2),
        ([2, 1, 3, 1, 3], 1),
        ([0, 3, 1, 1, 3], 3),
    ],
)
def test_plain_ties_go_to_the_class_with_the_nearest_member(labels, winner):
    sims = np.linspace(0.9, 0.1, len(labels), dtype=np.float32)[None, :]
    assert knn.vote(sims, np.array([labels]), 4, "plain").tolist() == [winner]


def test_both_weightings_from_one_search():
    bank, labels = clustered(10, 200)
    queries, _ = clustered(11, 60)
    sims, indices = knn.nearest_neighbors(bank, queries, 50)
    for k in (1, 10, 50):
        plain = knn.vote(sims[:, :k], labels[indices[:, :k]], 5, "plain")
        counts = [
            np.bincount(labels[row[:k]], minlength=5) for row in brute_force(bank, queries, 50)[1]
        ]
        clear = [sorted(count)[-1] > sorted(count)[-2] for count in counts]
        assert np.array(clear).mean() > 0.5
        expected = np.argmax(counts, axis=1)
        np.testing.assert_array_equal(plain[clear], expected[clear])
        found = knn.knn_predictions(bank, labels, queries, (k,))[k]
        again = knn.vote(sims[:, :k], labels[indices[:, :k]], 5, "weighted")
        np.testing.assert_array_equal(found, again)


def test_votes_in_blocks(monkeypatch):
    sims = np.sort(np.random.default_rng(0).normal(size=(50, 9)))[:, ::-1].astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 4, (50, 9))
    whole = [knn.vote(sims, labels, 4, weighting) for weighting in ("plain", "weighted")]
    monkeypatch.setattr(knn, "_VOTE_ROWS", 7)
    parts = [knn.vote(sims, labels, 4, weighting) for weighting in ("plain", "weighted")]
    np.testing.assert_array_equal(whole, parts)


def test_a_class_with_one_example_and_one_without():
    bank = np.array([[1, 0], [0, 1], [0, 1.0]])
    found = knn.knn_predictions(bank, np.array([4, 1, 1]), bank[:2], (1, 3), num_classes=9)
    assert found[1].tolist() == [4, 1]
    assert set(found[3]) <= {1, 4}  # never a class that the bank lacks


def test_many_queries_are_taken_in_parts(monkeypatch):
    bank, _ = clustered(12, 90)
    queries, _ = clustered(13, 40)
    whole = knn.nearest_neighbors(bank, queries, 7)
    monkeypatch.setattr(knn, "_QUERY_BYTES", 11 * 6 * 4)  # 11 queries
    calls = []
    parts = knn.nearest_neighbors(
        bank, queries, 7, query_block=4, bank_block=50, on_block=lambda *call: calls.append(call)
    )
    np.testing.assert_array_equal(whole[1], parts[1])
    np.testing.assert_allclose(whole[0], parts[0], atol=1e-6)
    assert calls == [(550, 3600), (990, 3600), (1540, 3600), (1980, 3600), (2530, 3600),
                     (2970, 3600), (3320, 3600), (3600, 3600)]  # fmt: skip


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_mapped_files(tmp_path, kind):
    bank, _ = clustered(14, 300)
    queries, _ = clustered(15, 20)
    np.save(tmp_path / "bank.npy", bank.astype(kind))
    np.save(tmp_path / "queries.npy", queries.astype(kind))
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("bank", "queries")]
    found = knn.nearest_neighbors(*mapped, 10, bank_block=64)
    expected = knn.nearest_neighbors(bank.astype(kind), queries.astype(kind), 10, bank_block=64)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found[0], brute_force(*mapped, 10)[0], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_extreme_scales(scale):
    bank, _ = clustered(16, 50)
    found = knn.nearest_neighbors(bank * np.float32(scale), bank[:9], 5)
    np.testing.assert_array_equal(found[1], brute_force(bank, bank[:9], 5)[1])


def test_scale_of_the_features_does_not_matter():
    bank, labels = clustered(8, 100)
    queries, _ = clustered(9, 50)
    plain = knn.knn_predictions(bank, labels, queries, (5,))[5]
    scaled = knn.knn_predictions(256 * bank, labels, queries / 64, (5,))[5]
    np.testing.assert_array_equal(plain, scaled)


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
        ({"bank": np.array([[1, 0, 0], [0, 1, 0], [0, np.inf, 1]])}, "bank must be.*example 2"),
        ({"bank": np.array([["a"] * 3] * 3)}, "bank must be real numbers"),
    ],
)
def test_bad_input(change, text):
    with pytest.raises(InputError, match=text):
        knn.knn_predictions(**{**GOOD, **change})


@pytest.mark.parametrize(
    "change, text",
    [
        ({"labels": np.zeros((2, 2), int)}, "labels must have"),
        ({"temperature": np.nan}, "temperature must be"),
        ({"weighting": "none"}, "weighting must be"),
    ],
)
def test_bad_votes(change, text):
    good = {"similarities": np.zeros((2, 3)), "labels": np.zeros((2, 3), int), "num_classes": 1}
    with pytest.raises(InputError, match=text):
        knn.vote(**{**good, **change})


def test_k_below_one():
    with pytest.raises(InputError, match="k must be at least 1"):
        knn.nearest_neighbors(np.eye(3), np.eye(3), 0)
