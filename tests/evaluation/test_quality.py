"""Figures without labels, against cases whose values are known."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from simclr_tf.errors import InputError
from simclr_tf.evaluation.quality import quality

RNG = np.random.default_rng(0)


def _plain(features):
    """All views of an image are the image."""
    return quality(features, (features, features), (features, features))


def test_one_point_is_collapsed():
    found = _plain(np.ones((50, 8), np.float32))
    assert found.effective_rank == pytest.approx(1) and found.spread == pytest.approx(0, abs=1e-7)
    assert found.mean_cosine == pytest.approx(1) and found.uniformity == pytest.approx(0, abs=1e-7)
    assert found.dead_share == 1 and found.retrieval == 0 and found.alignment == 0


def test_orthogonal_directions_have_full_rank():
    found = _plain(np.eye(16, dtype=np.float32) * 3)
    assert found.effective_rank == pytest.approx(16) and found.rank_share == pytest.approx(1)
    assert found.mean_cosine == 0 and found.uniformity == pytest.approx(-4)
    assert found.retrieval == 1 and found.dead_share == 0


def test_a_plane_in_many_dimensions_is_seen():
    features = RNG.normal(size=(200, 2)) @ RNG.normal(size=(2, 32))
    found = _plain(features)
    assert found.effective_rank < 2.01
    features[:, 8:] = 7.0
    assert _plain(features).dead_share == 24 / 32


def test_against_a_plain_computation():
    features, first = RNG.normal(1, 1, (1100, 6)), RNG.normal(1, 1, (1100, 6))
    second = first + RNG.normal(0, 0.4, first.shape)
    found = quality(features, (first, second), (first, -second))
    unit, one, other = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, first, second)
    )
    distances = cdist(unit, unit)[~np.eye(1100, dtype=bool)]
    assert found.uniformity == pytest.approx(np.log(np.exp(-2 * distances**2).mean()))
    assert found.mean_cosine == pytest.approx(1 - (distances**2).mean() / 2)
    assert found.alignment == pytest.approx((np.linalg.norm(one - other, axis=1) ** 2).mean())
    groups = [slice(start, start + 256) for start in range(0, 1024, 256)]  # the rest is left out
    nearest = np.stack([cdist(one[g], other[g]).argmin(axis=1) for g in groups])
    assert found.retrieval == pytest.approx((nearest == np.arange(256)).mean())
    assert 0.05 < found.retrieval < 0.95 and found.crop_retrieval < 0.01
    assert found.num_images == 1100


def test_shapes_must_fit():
    with pytest.raises(InputError, match="features must be"):
        _plain(np.ones((1, 3)))
    one, other = np.ones((2, 3)), np.ones((2, 4))
    with pytest.raises(InputError, match="views must be two arrays"):
        quality(one, (one, other), (one, one))
    with pytest.raises(InputError, match="crops must be two arrays"):
        quality(one, (one, one), (other, other))
