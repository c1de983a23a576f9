import numpy as np
import pytest

from simclr_tf.exploration import graph
from simclr_tf.exploration.outliers import find_outliers


def test_the_one_that_is_like_nothing_comes_first(planted):
    found = find_outliers(graph.nearest_others(planted.units, 20).similarities)
    assert found.listed[0] == planted.outlier and found.rank[planted.outlier] == 1
    assert sorted(found.rank.tolist()) == list(range(1, 245))


def test_score_and_fence_by_hand():
    """Twenty images at distances 0.01 to 0.2, and one at 1."""
    distances = np.concatenate([np.arange(1, 21) / 100, [1.0]])
    similarities = np.repeat(1 - distances[:, None], 15, axis=1)
    similarities[:, 10:] = -1  # only ten count
    found = find_outliers(similarities)
    np.testing.assert_allclose(found.score, distances, atol=1e-6)
    low, high = np.percentile(distances, [25, 75])
    assert found.limit == pytest.approx(high + 1.5 * (high - low))
    assert found.listed.tolist() == [20]


@pytest.mark.parametrize("count", [1, 2, 5, 19])
def test_among_few_there_are_none(count):
    found = find_outliers(np.linspace(-1, 1, count)[:, None].repeat(count - 1, axis=1))
    assert len(found.listed) == 0 and np.isfinite(found.score).all()
    assert sorted(found.rank.tolist()) == list(range(1, count + 1))


def test_equal_images_are_none():
    assert len(find_outliers(np.ones((50, 10), np.float32)).listed) == 0
