"""Linear probe against its own optimality condition, baselines by loops."""

import warnings

import numpy as np
import pytest
from sklearn import linear_model

from simclr_tf.errors import InputError
from simclr_tf.evaluation import linear


def blobs(seed, size, classes=3, spread=0.5):
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % classes
    centers = np.array([[0, 0], [3, 0], [0, 3], [3, 3]], np.float32)[:classes]
    return (centers[labels] + spread * rng.normal(size=(size, 2))).astype(np.float32), labels


def test_separable_classes_and_shuffled_labels():
    train, test = blobs(0, 300), blobs(1, 150)
    assert linear.linear_probe(*train, *test) > 0.97
    shuffled = np.random.default_rng(0).permutation(train[1])
    assert linear.linear_probe(train[0], shuffled, *test) < 0.6


def test_scale_of_a_feature_does_not_matter():
    (x, y), (test_x, test_y) = blobs(0, 200, spread=2), blobs(1, 200, spread=2)
    scale, shift = np.array([1000, 0.01], np.float32), np.array([5, -3], np.float32)
    plain = linear.linear_probe(x, y, test_x, test_y)
    assert linear.linear_probe(scale * x + shift, y, scale * test_x + shift, test_y) == plain


def test_strength_means_the_mean_loss(monkeypatch):
    """At the optimum the mean cross-entropy's gradient equals -l2 * weights."""
    fitted = []

    class Spy(linear_model.LogisticRegression):
        def fit(self, x, y):
            fitted.append((self, x, y))
            return super().fit(x, y)

    monkeypatch.setattr(linear_model, "LogisticRegression", Spy)
    train = blobs(0, 240, spread=1.5)
    linear.linear_probe(*train, *train, l2=0.05, max_iterations=2000)
    model, x, y = fitted[0]
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0), 1, atol=1e-5)
    scores = x @ model.coef_.T + model.intercept_
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    gradient = (shares - np.eye(3)[y]).T @ x / len(x)
    np.testing.assert_allclose(gradient, -0.05 * model.coef_, atol=1e-3)


def test_max_examples_draws_a_seeded_subset(monkeypatch):
    sizes = []

    class Spy(linear_model.LogisticRegression):
        def fit(self, x, y):
            sizes.append((len(x), y.tolist()))
            return super().fit(x, y)

    monkeypatch.setattr(linear_model, "LogisticRegression", Spy)
    train, test = blobs(0, 300), blobs(1, 30)
    monkeypatch.setattr(linear, "MAX_EXAMPLES", 50)
    for seed in (0, 0, 1):
        linear.linear_probe(*train, *test, seed=seed)
    assert [size for size, _ in sizes] == [50, 50, 50]
    assert sizes[0] == sizes[1] != sizes[2]


def test_no_warning_when_iterations_run_out():
    train = blobs(0, 90, spread=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear.linear_probe(*train, *train, l2=1e-9, max_iterations=1)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"train_labels": np.zeros(9, int)}, "at least two classes"),
        ({"train_labels": np.zeros(8, int)}, "must have shape"),
        ({"test_features": np.ones((9, 3))}, "2 dimensions"),
        ({"train_features": np.full((9, 2), np.nan)}, "must be finite.*example 0"),
        ({"l2": 0.0}, "l2 must be > 0"),
    ],
)
def test_bad_input(change, text):
    x, y = blobs(0, 9)
    good = {"train_features": x, "train_labels": y, "test_features": x, "test_labels": y}
    with pytest.raises(InputError, match=text):
        linear.linear_probe(**{**good, **change})


def test_raw_pixels():
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 3)).astype(np.uint8)
    found = linear.raw_pixel_features(images)
    assert found.shape == (3, 24)
    assert found.dtype == np.float32
    assert found[1, 5] == np.float32(images[1, 0, 1, 2]) / 255
    np.testing.assert_allclose(linear.raw_pixel_features(images / 255.0), found, rtol=1e-6)


def test_color_histograms_equal_a_loop():
    images = np.random.default_rng(0).uniform(size=(4, 5, 6, 3)).astype(np.float32)
    images[0, 0, 0] = (0, 1, 1)  # Both ends of the range have a bin.
    found = linear.color_histogram_features(images, bins=3)
    assert found.shape == (4, 27)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    for image, histogram in zip(images, found, strict=True):
        expected = np.histogramdd(image.reshape(-1, 3), bins=3, range=[(0, 1)] * 3)[0] / 30
        np.testing.assert_allclose(np.sort(histogram), np.sort(expected.ravel()), atol=1e-7)


def test_color_histograms_forget_where_pixels_are():
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 6, 3)).astype(np.uint8)
    moved = np.random.default_rng(1).permutation(image.reshape(36, 3)).reshape(1, 6, 6, 3)
    np.testing.assert_array_equal(
        linear.color_histogram_features(image), linear.color_histogram_features(moved)
    )


@pytest.mark.parametrize(
    "images", [np.full((1, 2, 2, 3), 2.0), np.zeros((2, 2, 3)), np.zeros((1, 2, 2, 3), np.int32)]
)
def test_baselines_refuse_other_ranges(images):
    with pytest.raises(InputError, match="images"):
        linear.raw_pixel_features(images)
