import numpy as np
import pytest

from simclr_tf.exploration import layout


def of_nearest(places, kind):
    """Share of the images whose nearest other on the map is of their kind."""
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.mean(kind[distances.argmin(axis=1)] == kind)


@pytest.mark.parametrize("most", [1000, 100])
def test_kinds_lie_together(planted, most):
    """Also where most images are placed by others."""
    places = layout.place(planted.units[:240], most=most)
    assert places.shape == (240, 2) and places.dtype == np.float32
    assert of_nearest(places, planted.kind[:240]) > 0.95


def test_the_same_map_again(planted):
    first, second = (layout.place(planted.units, most=100) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 30])
def test_equal_images_lie_apart(count):
    places = layout.place(np.ones((count, 3), np.float32))
    assert len(np.unique(places, axis=0)) == count and np.isfinite(places).all()


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_few_images(count):
    assert np.isfinite(layout.place(np.eye(count, 7, dtype=np.float32))).all()
