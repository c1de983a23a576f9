"""Nearest vectors and groups of near-duplicates against loops in float64."""

import itertools
import math

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.retrieval import neighbors
from simclr_tf.retrieval.neighbors import near_duplicates, nearest, similarities_to


def cosine(a, b):
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    norm = math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))
    return dot / norm if norm else 0.0


def groups_by_flooding(vectors, limit):
    """Sets of indices: from every vector to all that are similar, and on from there."""
    unseen, groups = set(range(len(vectors))), []
    while unseen:
        queue, group = [unseen.pop()], set()
        while queue:
            at = queue.pop()
            group.add(at)
            similar = {j for j in unseen if cosine(vectors[at], vectors[j]) >= limit}
            unseen -= similar
            queue += similar
        if len(group) > 1:
            groups.append(sorted(group))
    return sorted(groups)


def random_vectors(count=60, dimension=3, seed=0):
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.1, 10, (count, 1))
    return (rng.normal(size=(count, dimension)) * scale).astype(np.float32)


def test_nearest_equals_sorting():
    vectors, queries = random_vectors(), random_vectors(4, seed=1)
    similarities, indices = nearest(vectors, queries, 5)
    for row, query in enumerate(queries):
        expected = sorted(range(60), key=lambda i, q=query: (-cosine(vectors[i], q), i))[:5]
        assert indices[row].tolist() == expected
        np.testing.assert_allclose(
            similarities[row], [cosine(vectors[i], query) for i in expected], atol=1e-5
        )
    one = nearest(vectors, queries[2], 5)
    assert one[1].shape == (5,) and one[1].tolist() == indices[2].tolist()


def test_more_neighbours_than_there_are():
    similarities, indices = nearest(random_vectors(3), np.ones(3), 10)
    assert similarities.shape == (3,) and sorted(indices) == [0, 1, 2]


def test_similarities_to_one(monkeypatch):
    monkeypatch.setattr(neighbors, "_ROWS_AT_ONCE", 7)
    vectors = random_vectors()
    vectors[4] = 0
    expected = [cosine(vector, vectors[9]) for vector in vectors]
    np.testing.assert_allclose(similarities_to(vectors, vectors[9]), expected, atol=1e-5)
    some = np.array([9, 4, 30])
    np.testing.assert_allclose(
        similarities_to(vectors, vectors[9], some), [1, 0, expected[30]], atol=1e-5
    )


@pytest.mark.parametrize(
    "limit, block", [(0.9, 7), (0.97, 7), (0.995, 7), (0.97, 1), (0.97, 60), (0.97, 1024)]
)
def test_groups_equal_flooding_for_any_block(limit, block, monkeypatch):
    monkeypatch.setattr(neighbors, "_PAIRS_IN_MEMORY", 20)  # merged several times
    vectors = random_vectors()
    found = near_duplicates(vectors, limit, block)
    assert sorted(group.indices.tolist() for group in found) == groups_by_flooding(vectors, limit)
    for group in found:
        expected = [
            max(cosine(vectors[i], vectors[j]) for j in group.indices if j != i)
            for i in group.indices
        ]
        np.testing.assert_allclose(group.similarities, expected, atol=1e-5)
        assert group.similarities.min() >= limit - neighbors.ROUNDING


def test_exact_duplicates_are_found_at_similarity_1():
    vectors = random_vectors(200, 512)
    vectors[150] = vectors[3] * 7
    vectors[151] = vectors[3] / 3
    (group,) = near_duplicates(vectors, 1.0, block=64)
    assert group.indices.tolist() == [3, 150, 151]
    np.testing.assert_allclose(group.similarities, 1, atol=1e-6)


@pytest.mark.parametrize("block", [1, 2, 1024])
def test_a_chain_is_one_group_and_says_how_near_each_has_another(block):
    angles = np.radians([0, 15, 25, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    (group,) = near_duplicates(vectors, math.cos(math.radians(16)), block)
    assert group.indices.tolist() == [0, 1, 2]
    expected = [0.9659258, 0.9848078, 0.9848078]  # cos 15, 10, 10
    np.testing.assert_allclose(group.similarities, expected, atol=1e-6)


def test_order_largest_then_most_similar_then_first():
    def around(angle, *offsets):
        return [math.radians(angle + offset) for offset in offsets]

    # cos 2.2 degrees is far from where its six decimals round up.
    angles = [*around(0, 0, 3), *around(60, 0, 2.2), *around(120, 0, 1, 2), *around(180, 0, 2.2)]
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = near_duplicates(vectors, math.cos(math.radians(5)))
    assert [group.indices.tolist() for group in found] == [[4, 5, 6], [2, 3], [7, 8], [0, 1]]


def test_all_alike_stays_within_memory(monkeypatch):
    monkeypatch.setattr(neighbors, "_PAIRS_IN_MEMORY", 1000)
    seen = []
    merge = neighbors._Components._merge
    monkeypatch.setattr(
        neighbors._Components, "_merge", lambda self: (seen.append(self._num_edges), merge(self))
    )
    (group,) = near_duplicates(np.ones((300, 4), np.float32), 0.5, block=30)
    assert group.indices.tolist() == list(range(300))
    assert max(seen) <= 1000 + 30 * 30


def test_nothing_to_find():
    assert near_duplicates(np.eye(5), 0.5) == []
    assert near_duplicates(np.zeros((3, 2)), 0.5) == []
    assert near_duplicates(np.ones((1, 2)), 0.5) == []
    assert near_duplicates(np.ones((0, 2)), 0.5) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"similarity": 0.0}, "similarity must lie in"),
        ({"similarity": 1.5}, "similarity must lie in"),
        ({"similarity": math.nan}, "similarity must lie in"),
        ({"block": 0}, "block must be at least 1"),
        ({"vectors": np.ones(3)}, r"vectors must have shape \(N, D\)"),
        ({"vectors": [[1.0, 2.0], [1.0, math.nan]], "block": 1}, "infinity at example 1"),
    ],
)
def test_bad_input(change, text):
    with pytest.raises(InputError, match=text):
        near_duplicates(**{"vectors": np.eye(2), **change})


def test_pairs_within_and_across_blocks_count_once():
    """Every pair of a group of four, wherever the blocks end."""
    vectors = np.eye(8)[[0, 1, 0, 2, 0, 3, 4, 0]]
    for block in range(1, 9):
        (group,) = near_duplicates(vectors, 0.9, block)
        assert group.indices.tolist() == [0, 2, 4, 7]
        pairs = itertools.combinations(group.indices, 2)
        assert all(cosine(vectors[a], vectors[b]) == 1 for a, b in pairs)


# Spaces: how images are compared, and from where on they are near-duplicates.


def features(count=400, dimension=24, copies=0, seed=0):
    """Of an encoder: a common direction, differences of a few dimensions, and near-copies."""
    rng = np.random.default_rng(seed)
    scales = 1 / np.arange(1, dimension + 1)
    own = rng.normal(size=(count, dimension)) * scales
    near = own[:copies] + rng.normal(size=(copies, dimension)) * scales * 0.02
    return (np.concatenate([own, near]) + 5).astype(np.float32)


def test_from_the_mean_unlike_images_are_unlike():
    vectors = features()
    plain = neighbors.choose_space(vectors, "cosine", 0.95)
    assert not plain.origin.any() and (plain.limit, plain.expected) == (0.95, None)
    space = neighbors.choose_space(vectors, "centred", None)
    np.testing.assert_allclose(space.origin, vectors.mean(axis=0), rtol=1e-5)
    alike = similarities_to(vectors, vectors[0])[1:]
    apart = similarities_to(vectors, vectors[0], origin=space.origin)[1:]
    assert alike.min() > 0.8 and abs(np.median(apart)) < 0.4
    expected = [cosine(v - space.origin, vectors[0] - space.origin) for v in vectors[1:4]]
    np.testing.assert_allclose(apart[:3], expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_limit_finds_the_copies_and_hardly_anything_else(seed):
    vectors = features(copies=20, seed=seed)
    space = neighbors.choose_space(vectors, "centred", None)
    assert 0.8 < space.limit < 1 and space.expected == 0.1
    groups = near_duplicates(vectors, space.limit, block=64, origin=space.origin)
    pairs = {tuple(group.indices) for group in groups}
    assert {(i, 400 + i) for i in range(20)} <= pairs and len(pairs) <= 21
    # All are alike without the mean, at the limit that was the default.
    assert len(near_duplicates(vectors, 0.95)[0].indices) > 300


def test_a_folder_full_of_copies_moves_the_limit_little():
    once = features(60, seed=4)
    noise = np.random.default_rng(0).normal(size=(120, 24)).astype(np.float32) * 0.002
    thrice = np.concatenate([once, once + noise[:60], once + noise[60:]])
    alone, full = (neighbors.choose_space(v, "centred", None) for v in (once, thrice))
    assert full.limit < 0.9995 and full.limit - alone.limit < 0.05
    groups = near_duplicates(thrice, full.limit, origin=full.origin)
    assert [len(group.indices) for group in groups] == [3] * 60


def test_more_images_have_a_higher_limit():
    few, many = (neighbors.choose_space(features(n), "centred", None).limit for n in (60, 3000))
    assert few < many < 1


def test_of_few_images_the_mean_tells_nothing():
    two = np.ones((2, 3), np.float32)
    space = neighbors.choose_space(two, "centred", None)
    assert (space.similarity, space.limit, space.expected) == ("cosine", 0.95, None)
    assert not space.origin.any()
    assert neighbors.choose_space(two, "centred", 0.5).limit == 0.5


def test_features_that_are_all_equal_have_a_limit_all_the_same():
    space = neighbors.choose_space(np.ones((60, 4), np.float32), "centred", None)
    assert 0 < space.limit <= 1
