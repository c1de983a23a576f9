"""The first frame of a GIF."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data import gif

_SIDES = (6, 10)


def _animation(frames, **options):
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 255, (*_SIDES, 3), np.uint8)).quantize(16)
        for _ in range(frames)
    ]
    stream = io.BytesIO()
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], **options)
    return stream.getvalue()


def _first(encoded):
    found = gif.first_frame(tf.constant(encoded))
    assert (int(found.height), int(found.width)) == _SIDES and bool(found.fills_screen)
    return found.content


@pytest.mark.parametrize(
    "options",
    [{}, {"comment": b"x" * 700}, {"duration": 40, "loop": 3}, {"interlace": 1}],
    ids=["plain", "comment of several blocks", "timed", "interlaced"],
)
def test_pixels_are_those_of_the_whole_file(options):
    encoded = _animation(5, **options)
    frame = _first(encoded)
    assert len(frame.numpy()) < len(encoded)
    with Image.open(io.BytesIO(frame.numpy())) as alone, Image.open(io.BytesIO(encoded)) as whole:
        assert alone.n_frames == 1 and whole.n_frames == 5
        np.testing.assert_array_equal(alone.convert("RGB"), whole.convert("RGB"))
    np.testing.assert_array_equal(tf.io.decode_gif(frame)[0], tf.io.decode_gif(encoded)[0])


def test_a_table_of_the_frame_itself():
    """The colours stand in the frame instead of the file: moved there by hand."""
    encoded = _animation(1)
    count = 2 << (encoded[10] & 7)
    table, rest = encoded[13 : 13 + 3 * count], encoded[13 + 3 * count :]
    place = rest.index(b",\0\0\0\0\n\0\6\0")
    head = encoded[:10] + bytes([encoded[10] & 0x7F]) + encoded[11:13]
    flags = bytes([0x80 | (encoded[10] & 7)])
    own = head + rest[: place + 9] + flags + table + rest[place + 10 :]
    frame = _first(own + b"\0" * 50)
    assert frame == own
    np.testing.assert_array_equal(tf.io.decode_gif(frame)[0], tf.io.decode_gif(encoded)[0])


def test_damaged_files_end():
    encoded = _animation(2)
    spec = tf.TensorSpec((), tf.string)
    first = tf.function(lambda e: gif.first_frame(e).content, input_signature=[spec])
    for end in range(0, len(encoded), 7):
        assert len(first(tf.constant(encoded[:end])).numpy()) <= end + 1
    for content in (b"GIF89a", b"GIF89a" + b"!" * 300, b"GIF89a" + b"," * 300, b"\xff" * 300):
        assert len(first(tf.constant(content)).numpy()) <= len(content) + 1


@pytest.mark.parametrize("place", [0, 5, 15])
def test_a_transparent_colour_becomes_white(place):
    encoded = _animation(1, transparency=place)
    clear = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGBA"))[..., 3] == 0
    whole = np.asarray(Image.open(io.BytesIO(_animation(1))).convert("RGB"))
    found = tf.io.decode_gif(_first(encoded))[0].numpy()
    assert clear.any() and not clear.all()
    np.testing.assert_array_equal(found, np.where(clear[..., None], 255, whole))


def test_a_frame_that_does_not_fill_the_screen():
    encoded = _animation(1)
    wider = encoded[:6] + (11).to_bytes(2, "little") + encoded[8:]
    assert not bool(gif.first_frame(tf.constant(wider)).fills_screen)
