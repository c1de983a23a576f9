"""Checks and conversions of images."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import images
from simclr_tf.errors import InputError


@pytest.mark.parametrize(
    "image, constraint",
    [
        (np.zeros((4, 4), np.float32), "(H, W, 3)"),
        (np.zeros((4, 4, 1), np.float32), "(H, W, 3)"),
        (np.zeros((2, 4, 4, 3), np.float32), "(H, W, 3)"),
        (np.zeros((4, 4, 3), np.int32), "uint16 or floating"),
    ],
)
def test_what_is_no_image_is_refused(image, constraint):
    with pytest.raises(InputError) as error:
        images.check_image(image)
    assert constraint in error.value.constraint


def test_batches_are_accepted_on_request():
    batch = np.zeros((2, 4, 4, 3), np.uint8)
    assert images.check_image(batch, batched=True).shape == (2, 4, 4, 3)


def test_unit_range_scales_bytes_and_keeps_floats():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    scaled = images.unit_range(tf.constant(levels))
    np.testing.assert_allclose(scaled, levels / 255, atol=1e-7)
    assert scaled.numpy().max() == 1.0
    half = tf.constant([0.25, 1.0], tf.float16)
    assert images.unit_range(half).dtype == tf.float32
    np.testing.assert_array_equal(images.unit_range(half), [0.25, 1.0])


def test_lengths_with_static_and_unknown_shapes():
    np.testing.assert_array_equal(images.lengths(tf.zeros((5, 7, 3))), [5, 7])
    np.testing.assert_array_equal(images.lengths(tf.zeros((2, 5, 7, 3))), [5, 7])
    for spec in (tf.TensorSpec(None), tf.TensorSpec((None, None, 3))):

        @tf.function(input_signature=[spec])
        def traced(image):
            return images.lengths(images.check_image(image))

        np.testing.assert_array_equal(traced(tf.zeros((5, 7, 3))), [5, 7])


def test_images_of_any_channels_and_of_16_bits():
    wide = np.full((4, 5, 7), 513, np.uint16)
    assert images.check_image(wide, channels=None).shape == (4, 5, 7)
    np.testing.assert_allclose(images.unit_range(tf.constant(wide)), 513 / 65535, rtol=1e-6)
    np.testing.assert_array_equal(images.to_levels(tf.constant(wide)), 2)
    with pytest.raises(InputError, match=r"\(H, W, 7\)"):
        images.check_image(wide[..., :6], channels=7)
    unknown = tf.TensorSpec((None, None, None), tf.uint8)
    traced = tf.function(images.check_image, input_signature=[unknown]).get_concrete_function()
    assert traced.output_shapes.as_list() == [None, None, 3]
