"""Every kind of file, held against Pillow or against what was written by hand."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data import decode, decoders, pixels
from simclr_tf.data.reading import EXPORTED, STORED, Reading
from tests.data import files

TABLE = files.as_pillow_shows()
# What libjpeg's versions differ by.
TOLERANCE = {"JPEG": 3, "JPEG 4:4:4": 10}
ONLY_PILLOW = ("TIFF", "AVIF", "JPEG2000", "ICO", "PPM", "PCX", "SGI", "QOI", "DDS", "BMP 1",
               "BMP L", "BMP P", "BMP 4", "BMP 8", "WEBP animated")  # fmt: skip
DEEP = files.DEEP  # 257 times 8 bits
GRAY = np.repeat(files.RGB[..., :1], 3, -1)


def _decoded(encoded, reading=decode.FILES):
    found = decode.decode_image(tf.constant(encoded), reading).numpy()
    assert found.dtype == np.uint8
    return found


def _largest(one, other):
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


def _tolerance(name):
    return TOLERANCE.get(name, TOLERANCE.get(name.split()[0], 0))


def test_the_table_is_wide():
    assert len(TABLE) >= 100 and len({name.split()[0] for name in TABLE}) == 14


@pytest.mark.parametrize("name", TABLE)
def test_pixels_are_pillows(name):
    difference = _largest(_decoded(TABLE[name]), files.shown(TABLE[name]))
    assert difference <= _tolerance(name)


def test_pipelines_decode_all_kinds():
    images = tf.data.Dataset.from_tensor_slices(list(TABLE.values())).map(decode.decode_image)
    assert images.element_spec.shape.as_list() == [None, None, 3]
    for encoded, found in zip(TABLE.values(), images.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(found, _decoded(encoded))


@pytest.mark.parametrize("name", TABLE)
def test_exported_graphs_show_the_same_or_refuse(name):
    if name.startswith(ONLY_PILLOW):
        with pytest.raises(tf.errors.InvalidArgumentError, match="only Pillow"):
            _decoded(TABLE[name], EXPORTED)
        return
    found = _decoded(TABLE[name], EXPORTED)
    if name.startswith("WEBP orientation"):
        return  # which is not looked at: the card says so
    difference = _largest(found, files.shown(TABLE[name]))
    assert difference <= _tolerance(name)


@pytest.mark.parametrize("name", ["JPEG orientation 6", "JPEG RGB", "PNG RGBA", "PNG RGB",
                                  "PNG orientation 6", "GIF P", "BMP RGB"])  # fmt: skip
def test_what_tfds_stores_is_as_it_was(name):
    """The expected values: TensorFlow's decoder alone, which drops alpha and turns nothing."""
    expected = tf.io.decode_image(TABLE[name], channels=3, expand_animations=False)
    np.testing.assert_array_equal(_decoded(TABLE[name], STORED), expected)


@pytest.mark.parametrize("size", [(30, 20), (60, 35)])
def test_a_frame_that_leaves_a_part_of_the_screen_free(size):
    frame = files.encode(files.PALETTE.resize(size), "GIF")
    screen = frame[:6] + (60).to_bytes(2, "little") + (40).to_bytes(2, "little") + frame[10:]
    assert _largest(_decoded(screen), files.shown(screen)) == 0


# Values of more than 8 bits.

TWELVE_BITS = (DEEP // 16).astype(np.uint16)
SMALL = Reading(value_range=(0, 4095))


def _of_range(values, low, high):
    """The rule, once more: NumPy in float64."""
    found = np.clip(np.rint((values.astype(np.float64) - low) / (high - low) * 255), 0, 255)
    found = found.astype(np.uint8)
    return found if found.ndim == 3 else np.repeat(found[..., None], 3, -1)


COLORS = (files.RGB.astype(np.uint16) * 16) + 7
DEEP_TABLE = {
    "PNG gray": (files.deep_png(DEEP), decode.FILES, GRAY),
    "PNG gray of 12 bits": (files.deep_png(TWELVE_BITS), SMALL, _of_range(TWELVE_BITS, 0, 4095)),
    "PNG gray, from below": (files.deep_png(TWELVE_BITS), Reading(value_range=(1000, 3000)),
                             _of_range(TWELVE_BITS, 1000, 3000)),
    "PNG gray by Pillow": (files.encode(Image.fromarray(TWELVE_BITS), "PNG"), SMALL,
                           _of_range(TWELVE_BITS, 0, 4095)),
    "PNG colours": (files.deep_png(COLORS), decode.FILES, _of_range(COLORS, 0, 65_535)),
    "PNG colours of 12 bits": (files.deep_png(COLORS), SMALL, _of_range(COLORS, 0, 4095)),
    "TIFF gray": (files.encode(Image.fromarray(DEEP), "TIFF"), decode.FILES, GRAY),
    "TIFF gray of 12 bits": (files.encode(Image.fromarray(TWELVE_BITS), "TIFF"), SMALL,
                             _of_range(TWELVE_BITS, 0, 4095)),
    "TIFF gray, packed": (files.encode(Image.fromarray(TWELVE_BITS), "TIFF",
                                       compression="tiff_lzw"), SMALL,
                          _of_range(TWELVE_BITS, 0, 4095)),
    "TIFF colours": (files.deep_tiff(COLORS), decode.FILES, _of_range(COLORS, 0, 65_535)),
    "TIFF colours of 12 bits": (files.deep_tiff(COLORS), SMALL, _of_range(COLORS, 0, 4095)),
    "TIFF colours, big end first": (files.deep_tiff(COLORS, ">"), SMALL,
                                    _of_range(COLORS, 0, 4095)),
    "TIFF floats": (files.encode(Image.fromarray(DEEP.astype(np.float32) / 65_535), "TIFF"),
                    decode.FILES, GRAY),
    "TIFF floats of a range": (files.encode(Image.fromarray(DEEP.astype(np.float32)), "TIFF"),
                               Reading(value_range=(0, 65_535)), GRAY),
    "TIFF integers of 32 bits": (files.encode(Image.fromarray(DEEP.astype(np.int32) - 900), "TIFF"),
                                 Reading(value_range=(-900, 64_635)), GRAY),
    "PGM": (files.encode(Image.fromarray(DEEP), "PPM"), decode.FILES, GRAY),
    "JPEG2000 gray": (files.encode(Image.fromarray(DEEP), "JPEG2000"), decode.FILES, GRAY),
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP_TABLE)
def test_values_of_more_than_8_bits(name):
    encoded, reading, expected = DEEP_TABLE[name]
    np.testing.assert_array_equal(_decoded(encoded, reading), expected)
    if name.startswith("PNG"):
        exported = Reading(with_python=False, value_range=reading.value_range)
        np.testing.assert_array_equal(_decoded(encoded, exported), expected)


def test_alpha_of_16_bits_keeps_its_range():
    alpha = files.ALPHA.astype(np.uint16) * 257
    encoded = files.deep_png(np.dstack([COLORS, alpha]))
    color = _of_range(COLORS, 0, 4095).astype(int)
    share = files.ALPHA[..., None] / 255
    expected = color * share + 255 * (1 - share)
    assert np.abs(_decoded(encoded, SMALL) - expected).max() <= 0.51
    gray = files.deep_png(np.stack([TWELVE_BITS, alpha], -1))
    expected = _of_range(TWELVE_BITS, 0, 4095) * share + 255 * (1 - share)
    assert np.abs(_decoded(gray, SMALL) - expected).max() <= 0.51


@pytest.mark.parametrize("values", [DEEP.astype(np.float32), DEEP.astype(np.int32)])
def test_values_that_tell_no_range_are_refused(values):
    with pytest.raises(tf.errors.InvalidArgumentError, match="--value_range=LOW:HIGH"):
        _decoded(files.encode(Image.fromarray(values), "TIFF"))


def test_nan_is_black():
    values = DEEP.astype(np.float32) / 65_535
    values[0] = np.nan
    found = _decoded(files.encode(Image.fromarray(values), "TIFF"))
    assert not found[0].any() and (found[1:] == GRAY[1:]).all()


# What TFDS encodes.


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_features_of_tfds(dtype, channels):
    values = np.dstack([files.RGB, files.ALPHA])[..., :channels]
    stored = values.astype(np.uint16) * 257 if dtype == np.uint16 else values
    encoded = tf.io.encode_png(stored)
    reading = Reading(as_stored=True, dtype=np.dtype(dtype).name, channels=channels)
    expected = pixels.to_rgb(values)
    np.testing.assert_array_equal(decode.decode_stored(encoded, reading), expected)
    np.testing.assert_array_equal(decode.decode_image(encoded, reading), expected)


def test_floats_of_tfds():
    """TFDS stores the bytes of each float as one pixel of RGBA."""
    values = (DEEP.astype(np.float32) / 65_535)[..., None]
    encoded = tf.io.encode_png(np.frombuffer(values.tobytes(), np.uint8).reshape(40, 60, 4))
    reading = Reading(as_stored=True, dtype="float32", channels=1)
    np.testing.assert_array_equal(decode.decode_image(encoded, reading), GRAY)
    beyond = tf.io.encode_png(np.frombuffer((values * 300).tobytes(), np.uint8).reshape(40, 60, 4))
    with pytest.raises(tf.errors.InvalidArgumentError, match="--value_range"):
        decode.decode_image(beyond, reading)


# What is damaged.


@pytest.mark.parametrize(
    "name", [name for name in TABLE if name.split()[0] not in ("JPEG", "PNG", "GIF")]
)
def test_damaged_files_are_refused_or_shown(name):
    """Never anything else than one line: cut off, and with bytes changed."""
    encoded = TABLE[name]
    rng = np.random.default_rng(1)
    for end in (3, 20, len(encoded) // 2):
        _refused_or_shown(encoded[:end])
    for _ in range(6):
        content = bytearray(encoded)
        for place in rng.integers(0, min(len(content), 200), 4):
            content[place] = rng.integers(256)
        _refused_or_shown(bytes(content))


def _refused_or_shown(encoded):
    try:
        assert decode.decode_image(tf.constant(encoded)).shape[-1] == 3
    except tf.errors.InvalidArgumentError as error:
        assert "Traceback" not in str(error)


def test_an_empty_file():
    with pytest.raises(tf.errors.InvalidArgumentError, match="it is empty"):
        decode.decode_image(tf.constant(b""))


def test_one_trace_for_all_pipelines():
    first = decoders.by_format(decode.FILES)
    assert decoders.by_format(Reading()) is first
    with Image.open(io.BytesIO(TABLE["QOI RGB"])) as image:
        np.testing.assert_array_equal(first(tf.constant(TABLE["QOI RGB"])), image)
