"""What a PNG says before its pixels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import png
from tests.data import files

_EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
_ROWS = b"\0" * 100_000


def _read(encoded):
    found = png.read_header(tf.constant(encoded))
    return bool(found.deep), bool(found.has_alpha), int(found.orientation)


@pytest.mark.parametrize(
    ("header", "chunks", "expected"),
    [
        ((8, 2), [], (False, False, 1)),
        ((8, 6), [], (False, True, 1)),
        ((8, 4), [(b"gAMA", b"\0\0\0\0")], (False, True, 1)),
        ((16, 0), [], (True, False, 1)),
        ((16, 6), [(b"tEXt", b"a\0b" * 3000)], (True, True, 1)),
        ((8, 3), [(b"PLTE", b"\0" * 12), (b"tRNS", b"\0")], (False, True, 1)),
        ((8, 2), [(b"eXIf", _EXIF)], (False, False, 6)),
        ((8, 2), [(b"tEXt", b"x"), (b"eXIf", _EXIF), (b"pHYs", b"\0" * 9)], (False, False, 6)),
        ((8, 2), [(b"eXIf", b"nothing")], (False, False, 1)),
    ],
)
def test_header(header, chunks, expected):
    encoded = files.png(header, _ROWS, *chunks)
    assert _read(encoded) == expected
    plain = not chunks and expected == (False, False, 1)
    assert bool(png.is_plain(tf.constant(encoded))) == plain


def test_damaged_files_end():
    encoded = files.png((16, 6), _ROWS, (b"tEXt", b"x"), (b"eXIf", _EXIF))
    read = tf.function(
        lambda e: png.read_header(e).orientation, input_signature=[tf.TensorSpec((), tf.string)]
    )
    for end in range(0, 120):
        assert 1 <= int(read(tf.constant(encoded[:end]))) <= 8
    rng = np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(encoded[:120])
        for place in rng.integers(8, 120, 4):
            content[place] = rng.integers(256)
        assert 1 <= int(read(tf.constant(bytes(content)))) <= 8
