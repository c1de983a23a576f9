import numpy as np

from simclr_tf.exploration import graph
from simclr_tf.exploration.duplicates import find_duplicates, largest_file_first
from simclr_tf.retrieval.neighbors import DuplicateGroup, choose_space, near_duplicates


def test_planted_copies_are_found(planted):
    space = choose_space(planted.vectors, "centred", None)
    nearest = graph.nearest_others(planted.units, 1).similarities[:, 0]
    (group,) = find_duplicates(planted.vectors, space, nearest)
    assert group.indices.tolist() == planted.copies


def test_the_same_as_comparing_all():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 5)).astype(np.float32)
    for limit in (0.5, 0.9, 0.97):
        space = choose_space(vectors, "centred", limit)
        units = graph.seen_from(vectors, space.origin)
        nearest = graph.nearest_others(units, 3).similarities[:, 0]
        found = find_duplicates(vectors, space, nearest)
        expected = near_duplicates(vectors, limit, origin=space.origin)
        assert [one.indices.tolist() for one in found] == [one.indices.tolist() for one in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.similarities, other.similarities, atol=1e-6)


def test_nothing_near():
    space = choose_space(np.eye(3, dtype=np.float32), "cosine", None)
    assert find_duplicates(np.eye(3, dtype=np.float32), space, np.zeros(3)) == []


def test_the_largest_file_comes_first(tmp_path):
    for name, size in {"a": 5, "b": 50, "c": 20}.items():
        (tmp_path / name).write_bytes(bytes(size))
    group = DuplicateGroup(np.arange(4), np.array([0.9, 0.91, 0.92, 0.93], np.float32))
    found = largest_file_first(group, ["a", "b", "c", "gone"], tmp_path)
    assert found.indices.tolist() == [1, 2, 0, 3]
    np.testing.assert_allclose(found.similarities, [0.91, 0.92, 0.9, 0.93])
    assert largest_file_first(group, list("abcd"), None) is group
