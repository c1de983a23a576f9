"""Neighbourhoods survive on the map; small and degenerate inputs get one too."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from simclr_tf.errors import InputError
from simclr_tf.report.embedding_map import choose_examples, embedding_map


def clusters(count, size=80, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return 4 * rng.normal(size=(classes, size))[labels] + rng.normal(size=(count, size)), labels


def test_classes_stay_together_and_seeds_repeat():
    features, labels = clusters(120)
    points, indices = embedding_map(features)
    assert points.shape == (120, 2)
    assert points.dtype == np.float32
    assert indices.tolist() == list(range(120))
    assert KNeighborsClassifier(5).fit(points, labels).score(points, labels) > 0.98
    np.testing.assert_array_equal(embedding_map(features)[0], points)


def test_a_subset_of_many():
    features, labels = clusters(200)
    points, indices = embedding_map(features, seed=3, max_points=40)
    assert points.shape == (40, 2)
    assert indices.tolist() == choose_examples(200, 40, 3).tolist()
    own = labels[indices]
    assert KNeighborsClassifier(3).fit(points, own).score(points, own) > 0.9


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 10])
@pytest.mark.parametrize("size", [1, 2, 30])
def test_few_points_and_few_dimensions(count, size):
    features = np.random.default_rng(0).normal(size=(count, size))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points, indices = embedding_map(features)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert len(np.unique(points, axis=0)) == count
    assert len(indices) == count


def test_three_points_keep_their_distances():
    features = np.array([[0, 0, 1], [3, 0, 1], [0, 4, 1]], np.float32)
    points, _ = embedding_map(features)
    found = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.testing.assert_allclose(found, [[0, 3, 4], [3, 0, 5], [4, 5, 0]], atol=1e-5)
    np.testing.assert_allclose(np.abs(points), np.abs(PCA(2).fit_transform(features)), atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_collapsed_features_share_one_place(count):
    """What an encoder that maps every image to one vector gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points, _ = embedding_map(np.full((count, 16), 0.37, np.float32))
    np.testing.assert_array_equal(points, np.zeros((count, 2)))


def test_copies_among_features():
    features = np.repeat(np.random.default_rng(0).normal(size=(3, 16)), 20, axis=0)
    assert np.isfinite(embedding_map(features)[0]).all()


def test_chosen_examples():
    assert choose_examples(5, 5).tolist() == choose_examples(5, 9).tolist() == [0, 1, 2, 3, 4]
    chosen = choose_examples(1000, 100, seed=1)
    assert len(set(chosen.tolist())) == 100
    assert (np.diff(chosen) > 0).all()
    assert chosen.tolist() == choose_examples(1000, 100, seed=1).tolist()
    assert chosen.tolist() != choose_examples(1000, 100, seed=2).tolist()


@pytest.mark.parametrize(
    "features, max_points, text",
    [
        (np.zeros(5), 10, "features must have shape"),
        (np.zeros((0, 5)), 10, "features must have shape"),
        (np.array([[0.0], [np.inf]]), 10, "features must be finite. Received: .*example 1"),
        (np.zeros((5, 2)), 0, "max_points must be at least 1"),
    ],
)
def test_refused(features, max_points, text):
    with pytest.raises(InputError, match=text):
        embedding_map(features, max_points=max_points)
