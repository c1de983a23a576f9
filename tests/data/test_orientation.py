"""Orientation, held against Pillow and against Exif blocks written by hand."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from simclr_tf.data import decode, orientation
from simclr_tf.data.reading import STORED
from tests.data import files


def _block(order, entries):
    """An Exif block: tag, type, count and value of each entry."""
    short = {"<": b"II*\0", ">": b"MM\0*"}[order]
    folder = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        form = {3: "HHIHH", 4: "HHII", 1: "HHIBBBB"}[kind]
        rest = {3: [0], 4: [], 1: [0, 0, 0]}[kind]
        folder += struct.pack(f"{order}{form}", tag, kind, count, value, *rest)
    return short + struct.pack(f"{order}I", 8) + folder + b"\0" * 4


def _jpeg(*segments):
    """With segments (marker, content) behind the start of the file."""
    plain = files.encode(files.PICTURE, "JPEG")
    parts = [b"\xff" + bytes([kind]) + struct.pack(">H", len(content) + 2) + content
             for kind, content in segments]  # fmt: skip
    return plain[:2] + b"".join(parts) + plain[2:]


def _read(encoded):
    may = bool(orientation.jpeg_may_be_turned(tf.constant(encoded)))
    found = int(orientation.of_jpeg(tf.constant(encoded)))
    assert may or found == 1
    return found


NUMBER = (0x0112, 3, 1)
EXIF = b"Exif\0\0"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", range(1, 9))
def test_the_number_is_read(order, value):
    for entries in (
        [(*NUMBER, value)],
        [(0x0100, 4, 1, 2**31 + 5), (0x010F, 1, 1, 7), (*NUMBER, value), (0x0131, 3, 1, 9)],
        [(0x0112, 4, 1, value)],
    ):
        assert _read(_jpeg((0xE1, EXIF + _block(order, entries)))) == value


@pytest.mark.parametrize(
    "before", [[(0xE0, b"JFIF\0" + b"\1" * 9)], [(0xED, b"x" * 60_000), (0xE1, b"http://ns\0")],
               [(0xFE, b"a comment")], [(0xE2, b"ICC_PROFILE\0" + b"\0" * 65_000)] * 5],
)  # fmt: skip
def test_other_segments_may_come_first(before):
    encoded = _jpeg(*before, (0xE1, EXIF + _block(">", [(*NUMBER, 6)])))
    assert _read(encoded) == 6
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize(
    "block",
    [b"", b"II*\0", _block("<", []), _block("<", [(*NUMBER, 0)]), _block("<", [(*NUMBER, 9)]),
     _block(">", [(0x0112, 1, 1, 6)]), _block(">", [(0x0112, 3, 2, 6)]),
     b"XX" + _block("<", [(*NUMBER, 6)])[2:],
     _block("<", [(*NUMBER, 6)])[:14], b"II*\0" + b"\xff" * 40, b"MM\0*" + b"\x7f" * 40,
     b"II*\0" + struct.pack("<IH", 8, 65_535) + b"\1\2" * 30],
)  # fmt: skip
def test_what_says_nothing_sound_is_upright(block):
    assert _read(_jpeg((0xE1, EXIF + block))) == 1
    assert int(orientation.of_exif(tf.constant(block))) == 1


def test_damaged_files_end():
    encoded = _jpeg((0xE0, b"JFIF\0" + b"\1" * 9), (0xE1, EXIF + _block(">", [(*NUMBER, 6)])))
    read = tf.function(orientation.of_jpeg, input_signature=[tf.TensorSpec((), tf.string)])
    for end in range(0, 80):
        assert 1 <= int(read(tf.constant(encoded[:end]))) <= 8
    rng = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(encoded[:80])
        for place in rng.integers(2, 80, 5):
            content[place] = rng.integers(256)
        assert 1 <= int(read(tf.constant(bytes(content)))) <= 8


def test_most_files_cost_a_look():
    for encoded in (files.encode(files.PICTURE, "JPEG"), _jpeg()):
        assert not bool(orientation.jpeg_may_be_turned(tf.constant(encoded)))


@pytest.mark.parametrize("value", range(1, 9))
def test_upright_and_back(value):
    image = files.RGB[:30]
    expected = Image.fromarray(image)
    expected.getexif()[0x0112] = value
    expected = np.asarray(ImageOps.exif_transpose(expected))
    found = orientation.upright(tf.constant(image), tf.constant(value))
    np.testing.assert_array_equal(found, expected)
    lengths = orientation.upright_lengths(tf.constant(image.shape[:2]), tf.constant(value))
    assert tuple(lengths.numpy()) == expected.shape[:2]
    first, sides = np.array([3, 5]), np.array([11, 7])
    y, x, h, w = orientation.stored_window(
        tf.constant(first, tf.int32), tf.constant(sides, tf.int32), lengths, tf.constant(value)
    ).numpy()
    part = orientation.upright(tf.constant(image[y : y + h, x : x + w]), tf.constant(value))
    np.testing.assert_array_equal(part, expected[3:14, 5:12])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", [1, 2, 5, 6, 8])
def test_boxes_lie_in_the_upright_image(kind, value):
    encoded = tf.constant(files.encode(files.PICTURE, kind, exif=files.exif(value)))
    whole = decode.decode_image(encoded).numpy()
    corners, sides = tf.constant([[4, 2], [20, 9]]), tf.constant([[9, 20], [13, 8]])

    def choose(lengths):
        assert tuple(lengths.numpy()) == whole.shape[:2]
        return corners, sides

    image, at, found = decode.decode_boxes(encoded, choose)
    np.testing.assert_array_equal(found, sides)
    for (y, x), (h, w), (top, left) in zip(corners.numpy(), sides.numpy(), at.numpy(), strict=True):
        np.testing.assert_array_equal(image[top : top + h, left : left + w],
                                      whole[y : y + h, x : x + w])  # fmt: skip


def test_sets_of_tfds_keep_what_their_results_were_computed_from():
    encoded = tf.constant(files.encode(files.PICTURE, "JPEG", exif=files.exif(6)))
    assert decode.decode_image(encoded).shape == (60, 40, 3)
    assert decode.decode_image(encoded, STORED).shape == (40, 60, 3)
    assert decode.decode_stored(encoded).shape == (40, 60, 3)
