"""What is only studied, against NumPy, SciPy and the imaging library, eagerly and in tf.data."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from PIL import Image, ImageOps

from simclr_tf.augment import seeds, studied
from simclr_tf.errors import InputError


def _inside_dataset(function, image: np.ndarray, count: int, shape=None) -> list[np.ndarray]:
    """function(image, i) for i below count, the image with the given static shape."""
    dataset = tf.data.Dataset.range(count)

    def apply(index):
        drawn = tf.py_function(lambda: image, [], tf.float32)
        return function(tf.ensure_shape(drawn, shape), index)

    return list(dataset.map(apply).as_numpy_iterator())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 7, -1])
def test_rotation_is_that_of_numpy(turns, random_image):
    image = random_image(5, 5)
    np.testing.assert_array_equal(studied.rotate(image, turns), np.rot90(image, turns))


def test_four_quarter_turns_are_none_and_the_type_is_kept(random_image):
    image = (255 * random_image(6, 6)).astype(np.uint8)
    turned = image
    for _ in range(4):
        turned = studied.rotate(turned, 1)
    assert turned.dtype == tf.uint8
    np.testing.assert_array_equal(turned, image)


def test_rotation_of_a_batch_is_that_of_its_images(random_image):
    batch = np.stack([random_image(4, 4, seed) for seed in range(3)])
    expected = [np.rot90(image, 3) for image in batch]
    np.testing.assert_array_equal(studied.rotate(batch, 3), expected)


@pytest.mark.parametrize("shape", [(5, 5, 3), (None, None, 3), None])
def test_rotation_inside_a_dataset(shape, random_image):
    image = random_image(5, 5)
    views = _inside_dataset(studied.rotate, image, 5, shape)
    np.testing.assert_array_equal(views, [np.rot90(image, turns) for turns in range(5)])


def test_static_shape_survives_a_dataset():
    dataset = tf.data.Dataset.range(2)
    image = tf.zeros((6, 6, 3))
    for function in (
        studied.rotate,
        lambda x, i: studied.gaussian_noise(x, tf.stack([i, i])),
        lambda x, _: studied.sobel(x),
    ):
        mapped = dataset.map(lambda i, function=function: function(image, i))
        assert mapped.element_spec == tf.TensorSpec((6, 6, 3), tf.float32)


def test_rotations_that_cannot_be_are_refused(random_image):
    with pytest.raises(InputError, match="image must be square"):
        studied.rotate(random_image(4, 5), 1)
    with pytest.raises(InputError, match="quarter_turns must be an integer"):
        studied.rotate(random_image(4, 4), 1.0)
    with pytest.raises(InputError, match="image must have the shape"):
        studied.rotate(np.zeros((4, 4), np.float32), 1)


@pytest.mark.parametrize("stddev", [0.02, studied.NOISE_STDDEV])
def test_noise_is_normal_and_independent(stddev):
    gray = np.full((64, 64, 3), 0.5, np.float32)
    noise = studied.gaussian_noise(gray, (3, 4), stddev).numpy() - gray
    assert scipy.stats.kstest(noise.ravel() / stddev, "norm").pvalue > 0.001
    between_channels = np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)]
    between_neighbours = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    assert np.abs(between_channels).max() < 0.06 and abs(between_neighbours) < 0.03


def test_noise_is_clipped():
    ends = np.stack([np.zeros((20, 20, 3)), np.ones((20, 20, 3))]).astype(np.float32)
    noisy = studied.gaussian_noise(ends, (0, 0), 0.5).numpy()
    assert noisy.min() == 0 and noisy.max() == 1
    assert abs((noisy[0] == 0).mean() - 0.5) < 0.05  # half of the noise is negative


def test_noise_follows_its_seed(random_image):
    image = random_image()
    first = studied.gaussian_noise(image, (1, 2))
    np.testing.assert_array_equal(first, studied.gaussian_noise(image, (1, 2)))
    assert not np.allclose(first, studied.gaussian_noise(image, (1, 3)))
    np.testing.assert_array_equal(studied.gaussian_noise(image, (1, 2), 0.0), image)
    views = _inside_dataset(
        lambda x, i: studied.gaussian_noise(x, seeds.example_seed(0, 0, i, 0)), image, 3
    )
    expected = [
        studied.gaussian_noise(image, seeds.example_seed(0, 0, index, 0)) for index in range(3)
    ]
    np.testing.assert_allclose(views, expected, atol=1e-6)


def test_noise_differs_between_the_images_of_a_batch():
    noisy = studied.gaussian_noise(np.full((2, 8, 8, 3), 0.5, np.float32), (0, 1)).numpy()
    assert abs(np.corrcoef(noisy[0].ravel() - 0.5, noisy[1].ravel() - 0.5)[0, 1]) < 0.3


def test_bytes_become_the_unit_range():
    noisy = studied.gaussian_noise(np.full((3, 3, 3), 51, np.uint8), (0, 0), 0.0)
    np.testing.assert_allclose(noisy, 0.2, atol=1e-6)
    edges = studied.sobel(np.array([[[0] * 3, [255] * 3]] * 2, np.uint8))
    assert edges.dtype == tf.float32 and edges.shape == (2, 2, 3)


def test_negative_noise_is_refused(random_image):
    with pytest.raises(InputError, match="stddev must be at least 0"):
        studied.gaussian_noise(random_image(), (0, 0), -0.1)


@pytest.mark.parametrize("shape", [(12, 16), (5, 3), (2, 2)])
def test_sobel_is_that_of_scipy(shape, random_image):
    image = random_image(*shape)
    expected = np.zeros(image.shape)
    for channel in range(3):
        parts = [
            scipy.ndimage.sobel(image[..., channel].astype(np.float64), axis, mode="mirror")
            for axis in (0, 1)
        ]
        expected[..., channel] = np.minimum(np.hypot(*parts) / 4, 1)
    np.testing.assert_allclose(studied.sobel(image), expected, atol=1e-6)


def test_sobel_interior_by_hand():
    image = np.zeros((3, 3, 3), np.float32)
    image[:, 2] = (1.0, 0.5, 0.0)  # a step at the right edge: 4, 2 and 0 over 4
    np.testing.assert_allclose(studied.sobel(image)[1, 1], [1.0, 0.5, 0.0], atol=1e-6)
    image[2, 1:] = 1.0  # and a corner at the lower right
    across = np.array([1 + 2 + 1, 0.5 + 2 * 0.5 + 1, 1])  # right minus left column, row by row
    down = np.array([2 + 1 - 1, 2 + 1 - 0.5, 2 + 1])  # lower minus upper row, column by column
    expected = np.minimum(np.sqrt(across**2 + down**2) / 4, 1)
    assert expected[0] == 1 and expected[1] < 1
    np.testing.assert_allclose(studied.sobel(image)[1, 1], expected, atol=1e-6)


def test_sobel_of_flat_images_is_black_and_of_a_batch_that_of_its_images(random_image):
    assert np.abs(studied.sobel(np.full((4, 4, 3), 0.7, np.float32))).max() < 1e-6
    batch = np.stack([random_image(seed=seed) for seed in range(3)])
    singles = [studied.sobel(image) for image in batch]
    np.testing.assert_allclose(studied.sobel(batch), singles, atol=1e-6)


def test_sobel_commutes_with_rotation(random_image):
    image = random_image(7, 7)
    turned = studied.sobel(studied.rotate(image, 1))
    np.testing.assert_allclose(turned, studied.rotate(studied.sobel(image), 1), atol=1e-6)


@pytest.mark.parametrize("shape", [(12, 16, 3), (None, None, 3), None])
def test_sobel_inside_a_dataset(shape, random_image):
    image = random_image()
    (edges,) = _inside_dataset(lambda x, _: studied.sobel(x), image, 1, shape)
    np.testing.assert_allclose(edges, studied.sobel(image), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_sobel_of_a_line_is_refused(shape, random_image):
    with pytest.raises(InputError, match="at least 2 x 2 pixels"):
        studied.sobel(random_image(*shape))


def test_cutout_blackens_a_square_of_half_the_side(random_image):
    image = 0.1 + 0.9 * random_image(16, 16)
    rows, columns = [], []
    for index in range(200):
        draws = seeds.uniforms(tf.constant([index, 7], tf.int64), studied.CUTOUT_DRAWS)
        view = studied.cutout(image, draws).numpy()
        hole = (view == 0).all(axis=-1)
        np.testing.assert_array_equal(view[~hole], image[~hole])
        inside = np.argwhere(hole)
        sides = inside.max(axis=0) - inside.min(axis=0) + 1
        assert hole.sum() == sides.prod() and sides.max() <= 8 and sides.min() >= 4
        if (sides == 8).all():
            rows.append(inside[:, 0].min())
            columns.append(inside[:, 1].min())
    for starts in (rows, columns):
        assert set(starts) == set(range(9))
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.5  # one says nothing of the other


def test_equalize_is_that_of_the_imaging_library(random_image):
    for seed in range(3):
        pixels = (255 * random_image(15, 20, seed) ** 3).astype(np.uint8)
        expected = np.asarray(ImageOps.equalize(Image.fromarray(pixels))) / 255
        np.testing.assert_allclose(studied.equalize(pixels), expected, atol=1e-6)
        np.testing.assert_allclose(studied.equalize(pixels / 255), expected, atol=1e-6)


def test_solarize_inverts_what_is_bright():
    image = np.array([0.0, 0.2, 0.5, 0.9] * 3, np.float32).reshape(2, 2, 3)
    expected = np.where(image < 0.5, image, 1 - image)
    np.testing.assert_allclose(studied.solarize(image), expected)


def test_solarize_inverts_what_lies_at_the_threshold():
    image = tf.constant([[[0.125, 0.25, 0.375]]])
    np.testing.assert_array_equal(studied.solarize(image, 0.25), [[[0.125, 0.75, 0.625]]])


def test_motion_blur_averages_along_a_line():
    """A point becomes a line; the mean stays, whatever the direction."""
    image = np.zeros((21, 21, 3), np.float32)
    image[10, 10] = 1
    across = studied.motion_blur(image, [tf.constant(0.0)], 5).numpy()
    np.testing.assert_allclose(across[10, 8:13], 0.2, rtol=1e-5)
    assert across[9].max() < 1e-6 and across[11].max() < 1e-6
    down = studied.motion_blur(image, [tf.constant(0.5)], 5).numpy()
    np.testing.assert_allclose(down[8:13, 10], 0.2, rtol=1e-5)
    slanted = studied.motion_blur(image, [tf.constant(0.25)], 5).numpy()
    np.testing.assert_allclose(slanted.sum(axis=(0, 1)), 1, rtol=1e-5)
    assert slanted[10, 10, 0] > slanted[10, 11, 0]
    np.testing.assert_array_equal(studied.motion_blur(image, [tf.constant(0.3)], 1), image)
    flat = np.full((9, 9, 3), 0.4, np.float32)
    np.testing.assert_allclose(studied.motion_blur(flat, [tf.constant(0.3)], 5), flat, rtol=1e-5)
