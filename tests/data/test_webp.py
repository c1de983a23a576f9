"""What a WebP says before its pixels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data import webp
from tests.data import files

_SIZE = (700, 300)
_WIDE, _CLEAR = files.PICTURE.resize(_SIZE), files.CLEAR.resize(_SIZE)


@pytest.mark.parametrize("image", [_WIDE, _CLEAR, _WIDE.resize((1, 16_383))])
@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_lengths_and_alpha(image, options):
    encoded = tf.constant(files.encode(image, "WEBP", **options))
    height, width = webp.lengths(encoded)
    assert (int(width), int(height)) == image.size
    assert bool(webp.has_alpha(encoded)) == (image.mode == "RGBA")
    assert not bool(webp.is_animated(encoded)) and not bool(webp.has_exif(encoded))


def test_animations_and_exif():
    frames = [Image.fromarray(255 - files.RGB)]
    several = files.encode(files.PICTURE, "WEBP", save_all=True, append_images=frames)
    assert bool(webp.is_animated(tf.constant(several)))
    turned = files.encode(files.PICTURE, "WEBP", exif=files.exif(6))
    assert bool(webp.has_exif(tf.constant(turned)))
    height, width = webp.lengths(tf.constant(turned))
    assert (int(height), int(width)) == (files.HEIGHT, files.WIDTH)


def test_short_files():
    encoded = files.encode(files.PICTURE, "WEBP")
    for end in range(40):
        content = tf.constant(encoded[:end])
        assert np.all([int(length) >= 0 for length in webp.lengths(content)])
        assert not bool(webp.is_animated(content))
