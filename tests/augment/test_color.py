"""Colour: arithmetic against colorsys and NumPy, ranges, probabilities and orders."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import color, seeds
from simclr_tf.errors import InputError


def _per_pixel(image: np.ndarray, change) -> np.ndarray:
    """Applies change(h, s, v) -> (h, s, v) to every pixel with the standard library."""
    pixels = [
        colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*map(float, pixel))))
        for pixel in image.reshape(-1, 3)
    ]
    return np.array(pixels).reshape(image.shape)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7, 9.0])
def test_saturation_is_that_of_colorsys(factor, random_image):
    image = random_image()
    expected = _per_pixel(image, lambda h, s, v: (h, min(s * factor, 1.0), v))
    np.testing.assert_allclose(color.adjust_saturation(image, factor), expected, atol=1e-5)


@pytest.mark.parametrize("delta", [-0.5, -0.15, 0.0, 0.2, 0.5])
def test_hue_is_that_of_colorsys(delta, random_image):
    image = random_image()
    expected = _per_pixel(image, lambda h, s, v: ((h + delta) % 1.0, s, v))
    np.testing.assert_allclose(color.adjust_hue(image, delta), expected, atol=1e-5)


def test_hue_and_saturation_stay_in_range(random_image):
    image = np.round(random_image(40, 40))  # corners of the colour cube too
    for changed in (color.adjust_hue(image, 0.37), color.adjust_saturation(image, 5.0)):
        assert changed.numpy().min() > -1e-6 and changed.numpy().max() < 1 + 1e-6


def test_brightness_of_both_kinds(random_image):
    image = random_image()
    multiplied = color.adjust_brightness(image, 1.5, "multiplicative")
    np.testing.assert_allclose(multiplied, np.minimum(image * 1.5, 1), atol=1e-6)
    added = color.adjust_brightness(image, -0.4, "additive")
    np.testing.assert_allclose(added, np.maximum(image - 0.4, 0), atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.5])
def test_contrast_scales_about_the_mean_of_each_channel(factor, random_image):
    image = random_image()
    mean = image.mean((0, 1), dtype=np.float64)
    expected = np.clip((image - mean) * factor + mean, 0, 1)
    np.testing.assert_allclose(color.adjust_contrast(image, factor), expected, atol=1e-5)


def test_adjustments_of_a_batch_are_those_of_its_images(random_image):
    batch = np.stack([random_image(seed=seed) for seed in range(3)])
    for adjust in (
        lambda x: color.adjust_brightness(x, 0.7, "multiplicative"),
        lambda x: color.adjust_contrast(x, 1.6),
        lambda x: color.adjust_saturation(x, 1.6),
        lambda x: color.adjust_hue(x, 0.1),
        color.to_grayscale,
    ):
        np.testing.assert_allclose(adjust(batch), [adjust(image) for image in batch], atol=1e-6)


def test_grayscale_matches_the_reference(fixtures_dir):
    data = np.load(fixtures_dir / "image_ops.npz")
    gray = color.to_grayscale(data["image"])
    deviation = np.abs(gray - data["grayscale"]).max()
    print(f"grayscale: largest deviation {deviation:.2e}")
    assert deviation < 1e-5


def _map(function, count: int) -> np.ndarray:
    dataset = tf.data.Dataset.range(count)
    dataset = dataset.map(lambda i: function(seeds.example_seed(0, 0, i, 0)))
    return np.array(list(dataset.as_numpy_iterator()))


def _recorded(monkeypatch, strength: float, brightness: str, count: int = 1500):
    """Amount of every operation (count, 4) and its place in the order (count, 4)."""

    def record(slot):
        def adjust(trace, amount, *_):
            """Row 0 holds the amounts, row 1 the places, row 2 how many came before."""
            where = tf.one_hot(slot, 4)
            return trace + tf.stack([amount * where, trace[2, 0] * where, tf.ones(4)])

        return adjust

    names = ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue")
    for slot, name in enumerate(names):
        monkeypatch.setattr(color, name, record(slot))
    monkeypatch.setattr(color.images, "clip", lambda image: image)
    start = tf.zeros((3, 4))
    traces = _map(lambda seed: color.color_jitter(start, strength, seed, brightness), count)
    assert (traces[:, 2] == 4).all()
    return traces[:, 0], traces[:, 1].astype(int)


@pytest.mark.parametrize(
    "strength, brightness, ranges",
    [
        (1.0, "multiplicative", ((0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2))),
        (0.5, "additive", ((-0.4, 0.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1))),
        (3.0, "multiplicative", ((0.0, 3.4), (0.0, 3.4), (0.0, 3.4), (-0.5, 0.5))),
        (3.0, "additive", ((-2.4, 2.4), (0.0, 3.4), (0.0, 3.4), (-0.5, 0.5))),
    ],
)
def test_jitter_amounts_are_uniform(monkeypatch, uniformity, strength, brightness, ranges):
    amounts, _ = _recorded(monkeypatch, strength, brightness)
    for column, (low, high) in zip(amounts.T, ranges, strict=True):
        assert column.min() >= low - 1e-6 and column.max() <= high + 1e-6
        uniformity(column, low, high)
    assert np.abs(np.corrcoef(amounts.T)[np.triu_indices(4, 1)]).max() < 0.1  # independent


def test_jitter_orders_are_all_24_and_equally_likely(monkeypatch):
    _, places = _recorded(monkeypatch, 1.0, "multiplicative", count=2400)
    orders, counts = np.unique(places, axis=0, return_counts=True)
    assert len(orders) == 24 and (np.sort(places, axis=1) == np.arange(4)).all()
    assert (((counts - 100) ** 2) / 100).sum() < 49.7  # chi-squared, 23 degrees, p = 0.001


def test_distortion_probabilities(random_image):
    image = random_image(4, 4)
    views = _map(lambda seed: color.color_distortion(image, 1.0, seed), 2000)
    gray = (np.ptp(views, axis=-1) < 1e-6).all((1, 2))
    assert abs(gray.mean() - 0.2) < 3.3 * np.sqrt(0.2 * 0.8 / 2000)
    untouched = (views == image).all((1, 2, 3))[~gray]
    assert abs(untouched.mean() - 0.2) < 3.3 * np.sqrt(0.2 * 0.8 / len(untouched))
    just_gray = np.isclose(views, color.to_grayscale(image)).all((1, 2, 3))[gray]
    assert abs(just_gray.mean() - 0.2) < 3.3 * np.sqrt(0.2 * 0.8 / len(just_gray))
    assert views.min() >= 0 and views.max() <= 1


def test_strength_zero_changes_nothing(random_image):
    image = random_image(3, 3)
    views = _map(lambda seed: color.color_distortion(image, 0.0, seed), 50)
    np.testing.assert_array_equal(views, np.stack([image] * 50))


def test_jitter_of_one_pixel_is_finite():
    views = _map(lambda seed: color.color_jitter(tf.ones((1, 1, 3)), 1.0, seed), 50)
    assert np.isfinite(views).all() and views.min() >= 0 and views.max() <= 1


def test_bad_settings_are_refused(random_image):
    with pytest.raises(InputError, match="color_jitter_strength"):
        color.color_distortion(random_image(), -0.1, (0, 0))
    with pytest.raises(InputError, match="brightness"):
        color.color_jitter(random_image(), 1.0, (0, 0), "loud")
