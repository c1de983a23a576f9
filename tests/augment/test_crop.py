"""Crops: geometry, distributions, and the evaluation crop of the reference."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.augment import crop, seeds
from simclr_tf.errors import InputError


def _boxes(height: int, width: int, count: int = 3000, low: float = 0.08) -> np.ndarray:
    """(count, 4): y, x, h, w."""

    def draw(index):
        seed = seeds.example_seed(0, 0, index, 0)
        return tf.stack(crop.random_crop_box(height, width, seed, (low, 1.0)))

    return np.array(list(tf.data.Dataset.range(count).map(draw).as_numpy_iterator()))


def test_crop_areas_are_uniform(uniformity):
    _, _, h, w = _boxes(3000, 2000).T
    areas = h * w / (3000 * 2000)
    uniformity(areas, 0.08, 1.0, slack=1e-3)
    assert areas.min() > 0.0795 and areas.max() <= 1


@pytest.mark.parametrize("height, width", [(3000, 2000), (1000, 4000)])
def test_crop_ratios_are_relative_to_the_image_and_span_their_range(height, width, uniformity):
    _, _, h, w = _boxes(height, width).T
    ratios = (w / h) / (width / height)
    assert 0.745 < ratios.min() < 0.76 and 1.32 < ratios.max() < 1.345
    small = h * w < 0.5 * height * width  # where every ratio fits, it is uniform
    uniformity(ratios[small], 3 / 4, 4 / 3, slack=5e-3)


def test_crop_positions_are_uniform_over_where_the_box_fits(uniformity):
    boxes = _boxes(3000, 3000)
    y, x, h, w = boxes[boxes[:, 2:].prod(axis=1) < 0.5 * 3000 * 3000].T
    uniformity(y / (3000 - h), 0, 1, slack=2e-3)
    uniformity(x / (3000 - w), 0, 1, slack=2e-3)
    drawn = (h * w, w / h, y / (3000 - h), x / (3000 - w))
    between = np.corrcoef(drawn)[np.triu_indices(4, 1)]
    assert np.abs(between).max() < 0.1  # none of them says anything of another


@pytest.mark.parametrize("height, width", [(1, 1), (1, 500), (500, 1), (2, 3), (32, 32), (7, 901)])
def test_every_box_is_valid(height, width):
    y, x, h, w = _boxes(height, width, count=500).T
    assert (h >= 1).all() and (w >= 1).all() and (y >= 0).all() and (x >= 0).all()
    assert (y + h <= height).all() and (x + w <= width).all()


def test_crops_start_at_the_papers_8_percent_unless_told_otherwise(random_image):
    image = random_image(40, 50)
    for index in range(4):
        seed = seeds.example_seed(0, 0, index, 0)
        box = crop.random_crop_box(3000, 2000, seed)
        assert box == crop.random_crop_box(3000, 2000, seed, (0.08, 1.0))
        assert box != crop.random_crop_box(3000, 2000, seed, (0.1, 1.0))
        view = crop.random_resized_crop(image, 8, seed)
        np.testing.assert_array_equal(view, crop.random_resized_crop(image, 8, seed, 0.08))


def test_full_area_is_the_whole_image():
    boxes = _boxes(31, 47, count=20, low=1.0)
    np.testing.assert_array_equal(boxes, np.tile([0, 0, 31, 47], (20, 1)))


@pytest.mark.parametrize("area", [(0.0, 1.0), (0.5, 0.4), (0.5, 1.1)])
def test_impossible_areas_are_refused(area):
    with pytest.raises(InputError, match="area_range"):
        crop.random_crop_box(8, 8, (0, 0), area)


def test_aspect_range_without_one_is_refused():
    with pytest.raises(InputError, match="aspect_range"):
        crop.random_crop_box(8, 8, (0, 0), (0.08, 1.0), (1.1, 1.5))


def test_crop_shows_the_drawn_box():
    """On a linear ramp a resized box has the box's mean value, away from rounding."""
    height, width = 200, 300
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.stack([rows / height, columns / width, 0 * rows], -1).astype(np.float32)
    for index in range(10):
        seed = seeds.example_seed(0, 0, index, 0)
        y, x, h, w = (int(n) for n in crop.random_crop_box(height, width, seed))
        view = crop.random_resized_crop(ramp, 16, seed).numpy()
        expected = ((y + (h - 1) / 2) / height, (x + (w - 1) / 2) / width)
        np.testing.assert_allclose(view.mean((0, 1))[:2], expected, atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (5, 5), (40, 33)])
def test_crop_of_any_size_and_type(shape, random_image):
    image = random_image(*shape)
    view = crop.random_resized_crop(image, 8, (1, 2)).numpy()
    assert view.shape == (8, 8, 3) and view.dtype == np.float32
    assert np.isfinite(view).all() and view.min() >= 0 and view.max() <= 1
    as_bytes = np.round(image * 255).astype(np.uint8)
    from_bytes = crop.random_resized_crop(as_bytes, 8, (1, 2)).numpy()
    np.testing.assert_allclose(from_bytes, view, atol=1.5 / 255)


def test_center_crop_matches_the_reference(fixtures_dir):
    data = np.load(fixtures_dir / "image_ops.npz")
    deviation = np.abs(crop.center_crop(data["image"], 32) - data["center_crop_32"]).max()
    print(f"center_crop_32: largest deviation {deviation:.2e}")
    assert deviation < 1e-5


@pytest.mark.parametrize("height, width", [(16, 16), (16, 24), (21, 16)])
def test_center_crop_without_resizing_is_the_central_square(height, width, random_image):
    image = random_image(height, width)
    top, left = (height - 14 + 1) // 2, (width - 14 + 1) // 2
    expected = image[top : top + 14, left : left + 14]
    np.testing.assert_allclose(crop.center_crop(image, 14), expected, atol=1e-6)


def test_center_crop_of_a_batch_is_that_of_its_images(random_image):
    batch = np.stack([random_image(20, 30, seed) for seed in range(3)])
    singles = [crop.center_crop(image, 9) for image in batch]
    np.testing.assert_allclose(crop.center_crop(batch, 9), singles, atol=1e-6)


def test_center_crop_of_one_pixel():
    pixel = np.full((1, 1, 3), 0.3, np.float32)
    np.testing.assert_allclose(crop.center_crop(pixel, 4), np.full((4, 4, 3), 0.3), atol=1e-6)


def test_flip_mirrors_half_of_the_images(random_image):
    image = random_image(2, 3)
    dataset = tf.data.Dataset.range(2000)
    dataset = dataset.map(lambda i: crop.random_flip(image, seeds.example_seed(0, 0, i, 0)))
    views = np.array(list(dataset.as_numpy_iterator()))
    mirrored = (views == image[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (views == image).all((1, 2, 3))).all()
    assert abs(mirrored.mean() - 0.5) < 3.3 * np.sqrt(0.25 / 2000)


@pytest.mark.parametrize(
    ("shape", "size", "resized"),
    [((10, 16), 24, (24, 38)), ((17, 10), 25, (42, 25)), ((9, 9), 30, (30, 30))],
)
def test_resized_center_is_bicubic(shape, size, resized, random_image):
    """Against Pillow, whose kernel is the same where it enlarges."""
    image = random_image(*shape)
    enlarged = np.stack(
        [
            np.asarray(Image.fromarray(image[..., c]).resize(resized[::-1], Image.BICUBIC))
            for c in range(3)
        ],
        axis=-1,
    )
    # 38 - 24 = 14 columns go, 7 on either side; 42 - 25 = 17 rows, the odd one first.
    y, x = (resized[0] - size + 1) // 2, (resized[1] - size + 1) // 2
    expected = enlarged[y : y + size, x : x + size]
    found = crop.resized_center(image, size).numpy()
    assert found.shape == (size, size, 3)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # TensorFlow tabulates the kernel


def test_resized_center_refuses_other_shapes():
    with pytest.raises(InputError, match="shape"):
        crop.resized_center(np.zeros((2, 8, 8, 3), np.float32), 4)


def test_resized_boxes_are_the_crops_resized(random_image):
    """Against slicing and TensorFlow's resize, from single pixels to the whole image."""
    rng = np.random.default_rng(0)
    sides = np.array([(1, 1), (20, 30), (1, 30), (20, 1), (2, 3)]
                     + [(rng.integers(1, 21), rng.integers(1, 31)) for _ in range(40)])  # fmt: skip
    corners = np.array([(rng.integers(0, 21 - h), rng.integers(0, 31 - w)) for h, w in sides])
    batch = np.stack([random_image(20, 30, seed) for seed in range(len(sides))])
    found = crop.resized_boxes(tf.constant(batch), tf.constant(corners, tf.int32),
                               tf.constant(sides, tf.int32), 16)  # fmt: skip
    for image, (y, x), (h, w), one in zip(batch, corners, sides, found, strict=True):
        expected = tf.image.resize(image[y : y + h, x : x + w], (16, 16), method="bicubic")
        np.testing.assert_allclose(one, expected, atol=1e-5)


def test_boxes_of_several_views_are_those_of_each():
    draws = tf.random.stateless_uniform((crop.CROP_DRAWS, 6), (1, 2))
    together = crop.draw_boxes(tf.constant([40, 60]), tf.unstack(draws), (0.08, 1.0))
    for i in range(6):
        one = crop.draw_boxes(tf.constant([40, 60]), tf.unstack(draws[:, i]), (0.08, 1.0))
        np.testing.assert_array_equal([part[i] for part in together], one)
