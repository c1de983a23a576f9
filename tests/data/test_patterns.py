"""The drawn textures, and what a linear model sees in them."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from sklearn import linear_model, preprocessing

from simclr_tf.data import patterns
from simclr_tf.evaluation import linear

TRAIN_LABELS = [8, 7, 4, 3, 7, 2, 3, 0, 4, 1]
TRAIN_MEAN = 127.1136
TEST_MEAN = 126.3302


@pytest.fixture(scope="module")
def splits():
    return patterns.generate("train"), patterns.generate("test")


def _accuracy(train, test, labels, test_labels, c):
    scaler = preprocessing.StandardScaler().fit(train)
    model = linear_model.LogisticRegression(C=c, max_iter=60)
    model.fit(scaler.transform(train), labels)
    return model.score(scaler.transform(test), test_labels)


def _color_histogram(image):
    cells, _ = np.histogramdd(image.reshape(-1, 3), bins=(4, 4, 4), range=[(0, 256)] * 3)
    channels = [np.histogram(image[..., c], bins=16, range=(0, 256))[0] for c in range(3)]
    return np.concatenate([cells.ravel(), *channels]) / image[..., 0].size


def test_sizes_and_balance(splits):
    for (images, labels), size in zip(splits, (8_000, 2_000), strict=True):
        assert images.shape == (size, 32, 32, 3) and images.dtype == np.uint8
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(np.bincount(labels), np.full(10, size // 10))


def test_same_seed_same_images(splits):
    again, labels = patterns.generate("test")
    np.testing.assert_array_equal(again, splits[1][0])
    np.testing.assert_array_equal(labels, splits[1][1])
    other, _ = patterns.generate("test", seed=1)
    assert not np.array_equal(other[0], again[0])


def test_images_do_not_change_within_a_version(splits):
    # Means over the split are robust to the last bit of a sine, and to nothing else.
    (train, labels), (test, _) = splits
    assert patterns.VERSION == "1.0.0"
    assert labels[:10].tolist() == TRAIN_LABELS
    assert train.mean() == pytest.approx(TRAIN_MEAN, abs=1e-2)
    assert test.mean() == pytest.approx(TEST_MEAN, abs=1e-2)


def test_splits_do_not_share_images(splits):
    train, test = ({image.tobytes() for image in images} for images, _ in splits)
    assert len(train) == 8_000 and len(test) == 2_000 and not train & test


def test_the_two_colors_differ_in_luminance():
    pairs = patterns._color_pairs(np.random.RandomState(0), 500)
    luminance = [[colorsys.rgb_to_yiq(*color)[0] for color in pair] for pair in pairs]
    gaps = np.abs(np.diff(luminance, axis=1))
    assert gaps.min() > 0.28  # colorsys rounds the weights to two digits


def test_patterns_survive_grayscale(splits):
    gray = splits[1][0].astype(np.float32) @ np.asarray([0.299, 0.587, 0.114], np.float32)
    assert np.quantile(gray.std(axis=(1, 2)), 0.01) > 20


def test_share_of_the_figure_is_the_same_in_all_families():
    field = np.random.RandomState(0).standard_normal((2, 32, 32)).astype(np.float32)
    duty = np.array([0.3, 0.45], np.float32).reshape(2, 1, 1)
    mask = patterns._cut(field, duty, np.full((2, 1, 1), 1e6, np.float32))
    np.testing.assert_allclose(mask.mean(axis=(1, 2)), [0.3, 0.45], atol=2e-3)


def test_colour_statistics_carry_no_label(splits):
    (train, labels), (test, test_labels) = splits
    features, test_features = (
        np.stack([_color_histogram(image) for image in images]) for images in (train, test)
    )
    assert _accuracy(features, test_features, labels, test_labels, 1.0) <= 0.15


def test_pixels_carry_little_label(splits):
    (train, labels), (test, test_labels) = splits
    halved = [images.reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4)) for images in (train, test)]
    train, test = (linear.raw_pixel_features(images.astype(np.uint8)) for images in halved)
    assert linear.linear_probe(train, labels, test, test_labels) <= 0.20


def test_colors_identify_an_image(splits):
    # The shortcut: the colour statistics of one half find the other half among 2,000 images.
    images = splits[1][0].reshape(2_000, 2, -1, 3).astype(np.float32)
    features = np.concatenate([images.mean(axis=2), np.quantile(images, (0.1, 0.9), axis=2)[0],
                               np.quantile(images, (0.1, 0.9), axis=2)[1]], axis=-1)  # fmt: skip
    left, right = features[:, 0], features[:, 1]
    nearest = np.argmin(((left[:, None] - right[None]) ** 2).sum(-1), axis=1)
    assert np.mean(nearest == np.arange(2_000)) > 0.5
