"""Views of large images: geometry, pixels and aliasing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.augment import policy
from simclr_tf.data import decode, reduced
from simclr_tf.data.reading import Reading
from tests.data import files

AVERAGED, SAMPLED = Reading(antialias=True), Reading()
_RNG = np.random.default_rng(3)


def _picture(height, width):
    """Smooth, with a ramp in each direction: a shift by a pixel shows."""
    y, x = np.mgrid[:height, :width]
    waves = 40 * np.sin(x / width * 9) * np.cos(y / height * 7)
    rgb = np.stack([x / width * 200, y / height * 200, 100 + waves], -1) + 20
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def _view(image, corner, sides, size):
    """The expected view, by Pillow's resampling, whose kernel widens too."""
    (y, x), (h, w) = corner, sides
    box = (x, y, x + w, y + h)
    cropped = image.crop(box)  # nothing beyond the box counts
    return np.asarray(cropped.resize((size, size), Image.Resampling.BICUBIC)).astype(float)


def _boxes(*those):
    corners, sides = (tf.constant([list(box[i]) for box in those], tf.int32) for i in (0, 1))
    return lambda lengths: (corners, sides)


BOXES = [((13, 7), (801, 1003)), ((250, 333), (450, 420))]


@pytest.mark.parametrize(
    ("kind", "turn", "size"),
    [("JPEG", 1, 32), ("JPEG", 1, 50), ("JPEG", 1, 100), ("JPEG", 1, 224), ("JPEG", 6, 50),
     ("JPEG", 6, 100), ("JPEG", 3, 100), ("JPEG", 5, 32), ("JPEG", 8, 224), ("PNG", 1, 224),
     ("PNG", 6, 50), ("TIFF", 6, 100), ("WEBP", 8, 32)],
)  # fmt: skip
def test_views_are_those_of_the_whole_image(kind, turn, size):
    options = {"quality": 97} if kind == "JPEG" else {}
    encoded = files.encode(_picture(1101, 1207), kind, exif=files.exif(turn), **options)
    upright = Image.fromarray(files.shown(encoded))
    piece = reduced.decode_piece(tf.constant(encoded), _boxes(*BOXES), size, AVERAGED)
    for i, (corner, sides) in enumerate(BOXES):
        found = reduced.resize_box(piece, i, size, AVERAGED).numpy()
        if min(sides) < 2 * size:
            continue
        assert np.abs(found - _view(upright, corner, sides, size)).mean() < 1.5
        shifted = _view(upright, (corner[0] + 30, corner[1] + 30), sides, size)
        assert (
            np.abs(found - shifted).mean()
            > np.abs(found - _view(upright, corner, sides, size)).mean()
        )


@pytest.mark.parametrize(("size", "expected"), [(32, 8), (50, 8), (100, 4), (110, 2), (211, 1)])
def test_the_pixels_of_the_view_are_left(size, expected):
    encoded = tf.constant(files.encode(_picture(1101, 1207), "JPEG"))
    piece = reduced.decode_piece(encoded, _boxes(*BOXES), size, AVERAGED)
    assert int(piece.ratio) == expected
    assert float(tf.reduce_min(piece.sides)) >= size
    assert piece.image.shape[0] <= -(-1101 // expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_small_crops_keep_their_pixels(kind):
    encoded = tf.constant(files.encode(_picture(301, 407), kind))
    boxes = _boxes(((3, 5), (120, 128)), ((100, 90), (64, 70)))
    for reading in (AVERAGED, SAMPLED):
        piece = reduced.decode_piece(encoded, boxes, 64, reading)
        for i in range(2):
            (y, x), (h, w) = (part[i].numpy() for part in boxes(None))
            whole = tf.cast(decode.decode_image(encoded)[y : y + h, x : x + w], tf.float32)
            expected = tf.image.resize(whole, (64, 64), method="bicubic")
            np.testing.assert_array_equal(reduced.resize_box(piece, i, 64, reading), expected)


@pytest.mark.parametrize("view", [policy.eval_view, policy.transfer_view])
@pytest.mark.parametrize("shape", [(90, 120), (601, 407), (333, 1500)])
def test_evaluation(view, shape):
    encoded = tf.constant(files.encode(_picture(*shape), "JPEG", quality=97))
    image = decode.decode_image(encoded)
    sampled = reduced.eval_image(encoded, view, 48, SAMPLED)
    np.testing.assert_array_equal(sampled, view(image, 48))
    found = reduced.eval_image(encoded, view, 48, AVERAGED).numpy()
    share = 0.875 if view is policy.eval_view else 1
    side = round(min(shape) * share)
    if side < 96:
        np.testing.assert_array_equal(found, sampled)
        return
    corner = [(length - side + 1) // 2 for length in shape]
    expected = _view(Image.fromarray(image.numpy()), corner, (side, side), 48) / 255
    assert np.abs(found - np.clip(expected, 0, 1)).mean() < 0.006


@pytest.mark.parametrize("reading", [AVERAGED, SAMPLED], ids=["averaged", "sampled"])
@pytest.mark.parametrize("size", [16, 80])
def test_pixels_of_any_channels_are_seen_as_those_of_files(size, reading):
    """One box, and evaluation, of bytes and of floats: channel by channel the same."""
    image = np.asarray(_picture(120, 160))
    rest = image[::-1, ::-1, :2]
    several = np.concatenate([image, rest], -1)  # (120, 160, 5)
    boxes = _boxes(((5, 9), (100, 110)))
    for pixels in (several, several.astype(np.float32) / np.float32(255)):
        piece = reduced.decode_piece(tf.constant(pixels), boxes, size, reading)
        found = reduced.resize_box(piece, 0, size, reading).numpy()
        assert found.shape == (size, size, 5)
        known = reduced.decode_piece(tf.constant(image), boxes, size, reading)
        expected = reduced.resize_box(known, 0, size, reading)
        np.testing.assert_allclose(found[..., :3], expected, atol=1e-2)
        seen = reduced.eval_image(tf.constant(pixels), policy.eval_view, size, reading).numpy()
        for part, shown in ((image, seen[..., :3]), (rest[..., [0, 0, 1]], seen[..., [3, 3, 4]])):
            alone = reduced.eval_image(tf.constant(part), policy.eval_view, size, reading)
            np.testing.assert_allclose(shown, alone, atol=1e-4)


def test_other_views_are_left_alone():
    encoded = tf.constant(files.encode(_picture(90, 120), "PNG"))
    found = reduced.eval_image(encoded, lambda image, size: tf.shape(image), 8, AVERAGED)
    assert found.numpy().tolist() == [90, 120, 3]


def test_shifts_change_less():
    """Noise of single pixels, where sampling sees other ones after each shift."""
    noise = _RNG.integers(0, 256, (900, 900, 3), np.uint8)
    encoded = tf.constant(files.encode(Image.fromarray(noise), "JPEG", quality=95))

    def change(reading):
        views = []
        for shift in (0, 3):
            boxes = _boxes(((shift, shift), (880, 880)))
            piece = reduced.decode_piece(encoded, boxes, 64, reading)
            views.append(reduced.resize_box(piece, 0, 64, reading))
        return float(tf.reduce_mean(tf.abs(views[0] - views[1])))

    assert change(AVERAGED) < change(SAMPLED) / 4
