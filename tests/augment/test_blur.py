"""Gaussian blur: the reference's numbers, a NumPy loop, and the drawn sigmas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import blur, seeds
from simclr_tf.errors import InputError


@pytest.mark.parametrize("kernel_size", [9, 22])
@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_matches_the_reference(kernel_size, sigma, fixtures_dir):
    data = np.load(fixtures_dir / "image_ops.npz")
    blurred = blur.gaussian_blur(data["image"], sigma, kernel_size)
    deviation = np.abs(blurred - data[f"blur_k{kernel_size}_sigma{sigma}"]).max()
    print(f"blur_k{kernel_size}_sigma{sigma}: largest deviation {deviation:.2e}")
    assert deviation < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (6, 5)])
def test_blur_is_a_weighted_mean_with_black_outside(shape, random_image):
    image, sigma, radius = random_image(*shape), 1.3, 2
    offsets = range(-radius, radius + 1)
    total = sum(np.exp(-(k**2) / (2 * sigma**2)) for k in offsets)
    expected = np.zeros(image.shape)
    for y, x in np.ndindex(*shape):
        for j in offsets:
            for i in offsets:
                if 0 <= y + j < shape[0] and 0 <= x + i < shape[1]:
                    weight = np.exp(-(i**2 + j**2) / (2 * sigma**2)) / total**2
                    expected[y, x] += weight * image[y + j, x + i]
    np.testing.assert_allclose(blur.gaussian_blur(image, sigma, 4), expected, atol=1e-6)


def test_blur_of_a_batch_is_that_of_its_images(random_image):
    batch = np.stack([random_image(seed=seed) for seed in range(3)])
    singles = [blur.gaussian_blur(image, 0.8, 5) for image in batch]
    np.testing.assert_allclose(blur.gaussian_blur(batch, 0.8, 5), singles, atol=1e-6)


def test_kernel_is_a_tenth_of_the_image_and_one_tap_changes_nothing(random_image):
    assert [blur.blur_kernel_size(size) for size in (224, 32, 20, 19, 8)] == [22, 3, 2, 1, 1]
    image = random_image()
    np.testing.assert_allclose(blur.gaussian_blur(image, 1.0, 1), image, atol=1e-7)
    with pytest.raises(InputError, match="kernel_size"):
        blur.gaussian_blur(image, 1.0, 0)


def test_sigma_is_drawn_per_image_uniformly_and_half_stay_sharp(uniformity):
    """A blurred single dot tells its sigma: neighbour / centre = exp(-1 / (2 sigma^2))."""
    dot = np.zeros((3, 3, 3), np.float32)
    dot[1, 1] = 1.0
    dataset = tf.data.Dataset.range(3000)
    dataset = dataset.map(lambda i: blur.random_blur(dot, seeds.example_seed(0, 0, i, 0), 3))
    views = np.array(list(dataset.as_numpy_iterator()))
    ratio = views[:, 1, 0, 0].astype(np.float64) / views[:, 1, 1, 0]
    sharp = (views == dot).all((1, 2, 3))  # includes sigmas whose neighbours underflow
    measurable = ratio > 1e-6
    sigmas = np.sqrt(-1 / (2 * np.log(ratio[measurable])))
    low = np.sqrt(-1 / (2 * np.log(1e-6)))  # 0.19
    uniformity(sigmas, low, 2.0)
    expected = 0.5 * (2.0 - low) / 1.9
    assert abs(measurable.mean() - expected) < 3.3 * np.sqrt(0.25 / 3000)
    assert sharp.mean() > 0.45


@pytest.mark.parametrize("probability, blurred", [(0.0, False), (1.0, True)])
def test_probability_limits(probability, blurred, random_image):
    image = random_image()
    for index in range(10):
        seed = seeds.example_seed(1, 0, index, 0)
        view = blur.random_blur(image, seed, 3, probability)
        _, sigma = seeds.uniforms(seed, 2)
        expected = blur.gaussian_blur(image, 0.1 + 1.9 * sigma, 3) if blurred else image
        np.testing.assert_allclose(view, expected, atol=1e-6)
