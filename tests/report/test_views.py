"""The picture of views, pixel by pixel."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.report.views import save_view_grid, view_grid


def colors(count, size=32, offset=0):
    """Uniform images, each of its own gray value."""
    values = (np.arange(count) + offset).astype(np.uint8)
    return np.ones((count, size, size, 3), np.uint8) * values[:, None, None, None]


def runs_of(line):
    """Gray values along a line of pixels, with the length of each run."""
    starts = np.flatnonzero(np.diff(line, prepend=-1.0))
    return [(int(line[start]), int(length)) for start, length in
            zip(starts, np.diff([*starts, len(line)]), strict=True)]  # fmt: skip


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (6, [0, 1, 2])])
def test_views_of_any_number_of_channels(channels, shown):
    views = np.random.default_rng(0).integers(0, 256, (2, 2, 96, 96, channels)).astype(np.uint8)
    np.testing.assert_array_equal(view_grid(*views), view_grid(*views[..., shown]))


def test_layout():
    grid = view_grid(colors(5), colors(5, offset=100), columns=2)
    assert grid.dtype == np.uint8
    border, gap, side = (255, 14), (255, 3), 96
    assert runs_of(grid[14 + 5, :, 0]) == [
        border, (0, side), gap, (100, side), border, (1, side), gap, (101, side), border,
    ]  # fmt: skip
    assert runs_of(grid[:, 20, 0]) == [
        border,
        (0, side),
        border,
        (2, side),
        border,
        (4, side),
        border,
    ]
    last_row = runs_of(grid[-20, :, 0])
    assert last_row[:4] == [border, (4, side), gap, (104, side)]
    assert last_row[4][0] == 255
    assert len(last_row) == 5


def test_originals_stand_on_the_left():
    grid = view_grid(colors(1), colors(1, offset=100), colors(1, offset=200))
    assert [value for value, _ in runs_of(grid[50, :, 0])] == [255, 200, 255, 0, 255, 100, 255]


def test_small_images_are_enlarged_without_blur_and_large_ones_left():
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    grid = view_grid(image, image)
    np.testing.assert_array_equal(grid[14 + 1 : 14 + 96 : 3, 14 + 1 : 14 + 96 : 3], image[0])
    large = np.zeros((1, 224, 224, 3), np.uint8)
    assert view_grid(large, large).shape == (224 + 28, 2 * 224 + 3 + 28, 3)


def test_floats_are_rounded():
    image = np.full((1, 96, 96, 3), 0.5, np.float32)
    assert view_grid(image, image)[50, 50, 0] == 128
    assert view_grid(image * 2, image)[50, 50, 0] == 255


def test_at_most_max_images():
    grid = view_grid(colors(50), colors(50), max_images=2, columns=1)
    assert grid.shape[0] == 2 * 96 + 3 * 14


def test_png_round_trip(tmp_path):
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype(np.float32)
    save_view_grid(tmp_path / "views.png", images, images[::-1], columns=2)
    read = tf.io.decode_png((tmp_path / "views.png").read_bytes()).numpy()
    np.testing.assert_array_equal(read, view_grid(images, images[::-1], columns=2))


@pytest.mark.parametrize(
    "a, b",
    [
        (np.zeros((2, 8, 8, 3)), np.zeros((3, 8, 8, 3))),
        (np.zeros((2, 8, 8)), np.zeros((2, 8, 8))),
        (np.zeros((0, 8, 8, 3)), np.zeros((0, 8, 8, 3))),
        (np.zeros((1, 8, 8, 3)), np.full((1, 8, 8, 3), 255.0)),
        (np.full((1, 8, 8, 3), np.nan), np.zeros((1, 8, 8, 3))),
    ],
)
def test_bad_input(a, b):
    with pytest.raises(InputError, match="images_"):
        view_grid(a, b)
