"""The rule by which values become bytes; the expected ones are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import pixels

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([[0, 128, 129, 32_768, 65_535]], np.uint16), None, [0, 0, 1, 128, 255]),
        (np.array([[0, 4095, 5000]], np.uint16), (0, 4095), [0, 255, 255]),
        (np.array([[90, 100, 150, 200, 999]], np.uint16), (100, 200), [0, 0, 128, 255, 255]),
        (np.array([[0, 0.5, 1]], np.float32), None, [0, 128, 255]),
        (np.array([[-1, 0, 1, NAN, INF, -INF]], np.float32), (-1, 1),
         [0, 128, 255, 0, 255, 0]),
        (np.array([[-500, 0, 500]], np.int32), (-500, 500), [0, 128, 255]),
        (np.array([[7, 8]], np.uint8), (0, 1), [7, 8]),
    ],
)  # fmt: skip
def test_depth(values, value_range, expected):
    found = pixels.to_bytes(values, value_range)
    assert found.dtype == np.uint8 and found.tolist() == [expected]
    if values.dtype in (np.uint16, np.float32):
        graph = pixels.bytes_of(tf.constant(values[..., None]), value_range)
        assert graph.numpy()[..., 0].tolist() == [expected]


@pytest.mark.parametrize(
    "values", [np.array([[2.0]], np.float32), np.array([[-0.1]], np.float32),
               np.array([[1]], np.int32), np.array([[INF]], np.float64)],
)  # fmt: skip
def test_without_a_range(values):
    with pytest.raises(ValueError, match="--value_range=LOW:HIGH"):
        pixels.to_bytes(values)


def test_graphs_refuse_too():
    for value in (2.0, -0.1):
        with pytest.raises(tf.errors.InvalidArgumentError, match="--value_range=LOW:HIGH"):
            pixels.bytes_of(tf.constant([[[value]]]))


@pytest.mark.parametrize(
    ("color", "alpha", "expected"), [(0, 0, 255), (0, 255, 0), (200, 255, 200), (200, 0, 255),
                                     (0, 128, 127), (100, 51, 224)],
)  # fmt: skip
def test_alpha_is_laid_over_white(color, alpha, expected):
    rgba = np.array([[[color, color, color, alpha]]], np.uint8)
    assert pixels.to_rgb(rgba).tolist() == [[[expected] * 3]]
    assert pixels.over_background(tf.constant(rgba)).numpy().tolist() == [[[expected] * 3]]
    assert pixels.to_rgb(rgba[..., 2:]).tolist() == [[[expected] * 3]]


def test_gray_and_colours():
    gray = np.array([[1, 2]], np.uint8)
    assert pixels.to_rgb(gray).tolist() == [[[1] * 3, [2] * 3]]
    rgb = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    np.testing.assert_array_equal(pixels.to_rgb(rgb), rgb)
