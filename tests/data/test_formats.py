"""Kinds of files by their first bytes, and what Pillow may be asked."""

from __future__ import annotations

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from simclr_tf.data import formats, limits
from tests.data import files

TABLE = files.as_pillow_shows()


@pytest.mark.parametrize("name", TABLE)
def test_kinds_are_told_from_content(name):
    assert formats.kind_of(TABLE[name][: formats.HEAD_BYTES]) == name.split()[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"P", b"P6 is a road", b"BM, a company", b"\x89PNG", b"%!PS-Adobe-3.0 EPSF-3.0\n",
     b"%PDF-1.7", b"<svg xmlns=", b"RIFF....AVI LIST", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
     b"GIF8", b"\0\0\2\0\1\0", b"\xd7\xcd\xc6\x9a", b"/* XPM */", b"#define x_width 3"],
)  # fmt: skip
def test_others_are_none(content):
    assert formats.kind_of(content) is None
    with pytest.raises(ValueError, match="no image of a known kind|empty"):
        formats.decode(content)


def test_programs_are_never_run():
    """EPS would start Ghostscript; Pillow is never asked for it, whatever lies in the file."""
    assert not {"EPS", "WMF", "FPX", "MIC", "PDF"} & set(formats.KINDS)
    with pytest.raises(ValueError, match="no image of a known kind"):
        formats.decode(files.encode(files.PICTURE, "EPS"))


@pytest.mark.parametrize("name", ["TIFF RGB", "WEBP RGB", "AVIF RGB", "JPEG2000 RGB", "QOI RGB",
                                  "PSD", "SGI RGB", "PPM RGB", "PCX RGB", "DDS RGB"])  # fmt: skip
def test_declared_pixels_are_looked_at_first(name, monkeypatch):
    encoded = _psd() if name == "PSD" else TABLE[name]
    assert formats.decode(encoded).shape == (40, 60, 3)
    monkeypatch.setattr(limits, "MAX_PIXELS", 2399)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was read"))
    for read in (formats.decode, formats.lengths, formats.values):
        with pytest.raises(ValueError, match="declares more than"):
            read(encoded)


def _psd():
    """Three planes without packing."""
    start = b"8BPS" + struct.pack(">HxxxxxxHIIHH", 1, 3, 40, 60, 8, 3) + b"\0" * 12 + b"\0\0"
    return start + files.RGB.transpose(2, 0, 1).tobytes()


def test_pngs_in_icons_declare_lengths_of_their_own():
    encoded = files.encode(files.PICTURE.resize((32, 32)), "ICO", sizes=[(32, 32)])
    at = encoded.index(b"\x89PNG") + 16
    header = struct.pack(">II", 2**17, 2**17) + encoded[at + 8 : at + 13]
    check = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    huge = encoded[:at] + header + check + encoded[at + 17 :]
    assert formats.decode(encoded).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="declares more than"):
        formats.decode(huge)


def test_a_tiff_of_few_bytes_that_declares_gigabytes():
    encoded = TABLE["TIFF RGB"]
    huge = encoded.replace(struct.pack("<HHI", 256, 4, 1), b"?" * 8)
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.size == (60, 40)
    for width in (struct.pack("<HHIHH", 256, 3, 1, 60, 0), struct.pack("<HHII", 256, 4, 1, 60)):
        if width in encoded:
            huge = encoded.replace(width, struct.pack("<HHII", 256, 4, 1, 2**30))
    with pytest.raises(ValueError, match="declares more than"):
        formats.decode(huge)


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_reduced(ratio):
    """The expected values: means over blocks, which 40 x 60 pixels divide into but for 8."""
    found = formats.decode(TABLE["TIFF RGB"], ratio=ratio)
    assert found.shape == (-(-40 // ratio), -(-60 // ratio), 3)
    whole = files.RGB[: 40 // ratio * ratio, : 60 // ratio * ratio].astype(float)
    blocks = whole.reshape(40 // ratio, ratio, 60 // ratio, ratio, 3)
    assert np.abs(found[: 40 // ratio, : 60 // ratio] - blocks.mean((1, 3))).max() <= 0.51


@pytest.mark.parametrize("name", ["JPEG orientation 6", "PNG orientation 6", "TIFF orientation 6",
                                  "WEBP orientation 6", "TIFF RGB", "ICO RGB"])  # fmt: skip
def test_lengths(name):
    assert formats.lengths(TABLE[name]) == formats.decode(TABLE[name]).shape[:2]


def test_values():
    assert formats.values(TABLE["TIFF RGB"]) is None
    small = Image.fromarray(files.DEEP // 16)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(formats.values(files.encode(small, kind)), files.DEEP // 16)
    colors = files.RGB.astype(np.uint16) * 99
    for order in "<>":
        np.testing.assert_array_equal(formats.values(files.deep_tiff(colors, order)), colors)


def test_white_may_be_zero():
    encoded = files.encode(Image.fromarray(files.DEEP), "TIFF", tiffinfo={262: 0})
    with Image.open(io.BytesIO(encoded)) as image:
        if image.tag_v2[262] != 0:
            pytest.skip("Pillow writes no such file")
    np.testing.assert_array_equal(formats.values(encoded), 65_535 - files.DEEP)


def test_heic_needs_its_extra(monkeypatch):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 50
    assert formats.kind_of(heic) == formats.HEIC
    monkeypatch.setattr(formats, "reads_heic", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'simclr_tf\[heic\]'"):
        formats.decode(heic)


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic(orientation):
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    picture = heif.from_pillow(files.PICTURE)
    picture.save(stream, quality=95, exif=files.exif(orientation).tobytes())
    found = formats.decode(stream.getvalue())
    upright = files.RGB if orientation == 1 else np.rot90(files.RGB, -1)
    assert found.shape == upright.shape == (*formats.lengths(stream.getvalue()), 3)
    assert np.abs(found.astype(int) - upright).mean() < 6


def test_threads_hold_no_more_pixels_than_the_budget():
    budget, inside, most = formats._Budget(100), [0], []

    def work():
        with budget.hold(60):
            inside[0] += 1
            most.append(inside[0])
            threading.Event().wait(0.01)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(10)
    assert most == [1] * 5
    with budget.hold(10**9):  # one alone may
        pass
