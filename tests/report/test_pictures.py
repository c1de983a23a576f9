"""Images inside a page are the images."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from simclr_tf.report import pictures


def _decode(uri):
    head, _, data = uri.partition(",")
    return head, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_small_images_lose_nothing():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    head, decoded = _decode(pictures.data_uri(image))
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(decoded, image)


def test_large_images_are_compressed():
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None], (100, 80, 3))
    for make in (pictures.data_uri, pictures.sheet_uri):
        head, decoded = _decode(make(np.ascontiguousarray(ramp)))
        assert head == "data:image/jpeg;base64" and decoded.shape == (100, 80, 3)
        assert np.abs(decoded.astype(int) - ramp).mean() < 3


@pytest.mark.parametrize(("channels", "shown"), [
    (1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (4, [0, 1, 2]), (9, [0, 1, 2]),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_number_of_channels_is_shown(channels, shown, dtype):
    images = np.random.default_rng(0).integers(0, 2, (3, 8, 6, channels)).astype(dtype)
    found = pictures.in_rgb(images)
    np.testing.assert_array_equal(found, images[..., shown])
    assert found.dtype == dtype
    scale = 1 if dtype == np.uint8 else 255
    np.testing.assert_array_equal(pictures.thumbnails(images, 8), images[..., shown] * scale)
    assert pictures.thumbnails(images, 4).shape == (3, 4, 3, 3)


def test_thumbnails():
    floats = np.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3).astype(np.float32)
    np.testing.assert_array_equal(pictures.thumbnails(floats, 64),
                                  np.round(floats * 255).astype(np.uint8))  # fmt: skip
    halves = pictures.thumbnails(floats, 4)
    assert halves.shape == (2, 4, 4, 3) and halves.dtype == np.uint8
    means = floats.reshape(2, 4, 2, 4, 2, 3).mean(axis=(2, 4)) * 255
    assert np.abs(halves - means).max() <= 1
    assert pictures.thumbnails(np.zeros((1, 300, 100, 3), np.uint8), 64).shape == (1, 64, 21, 3)
