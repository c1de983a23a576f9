import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.exploration import graph


def by_sorting(units, k, among):
    """Similarities and indices of the k nearest others, one image at a time."""
    found = []
    for row in range(len(units)):
        others = [other for other in among if other != row]
        others.sort(key=lambda other: (-float(units[row] @ units[other]), other))
        found.append(others[:k])
    return found


@pytest.mark.parametrize("among", [None, [2, 3, 5, 8, 13, 21, 34]])
def test_nearest_others_by_brute_force(noise, among):
    rows = noise[:50]
    rows_among = None if among is None else np.array(among)
    found = graph.nearest_others(rows, 5, rows_among)
    expected = by_sorting(rows.astype(np.float64), 5, range(50) if among is None else among)
    # Of those that are in the bank one fewer is left.
    assert found.indices.tolist() == [one[: found.indices.shape[1]] for one in expected]
    similarities = np.einsum("nd,nkd->nk", rows, rows[found.indices])
    np.testing.assert_allclose(found.similarities, similarities, atol=1e-6)


def test_no_image_is_its_own_neighbour_among_equal_ones():
    units = np.ones((40, 1), np.float32)
    found = graph.nearest_others(units, 6)
    assert found.indices.shape == (40, 6)
    assert not (found.indices == np.arange(40)[:, None]).any()
    assert all(len(set(row)) == 6 for row in found.indices.tolist())


@pytest.mark.parametrize(("count", "k"), [(1, 0), (2, 1), (3, 2), (5, 4)])
def test_fewer_images_than_neighbours(count, k):
    found = graph.nearest_others(np.eye(count, dtype=np.float32), 12)
    assert found.indices.shape == found.similarities.shape == (count, k)


def test_seen_from():
    vectors = np.array([[3.0, 4.0], [1.0, 1.0]], np.float32)
    units = graph.seen_from(vectors, np.array([1.0, 1.0], np.float32))
    np.testing.assert_allclose(units, [[2 / 13**0.5, 3 / 13**0.5], [0, 0]], atol=1e-6)


def test_numbers_beyond_float32_are_refused():
    vectors = np.full((3, 2), -3e38, np.float32)
    with pytest.raises(InputError, match="embeddings must hold numbers of a usual size"):
        graph.seen_from(vectors, -vectors[0])
