"""One decoder a format, from encoded bytes to uint8 RGB; for graphs.

TensorFlow's own where they are right and fast, Pillow's for the rest. What each may cost is checked
before it starts (`simclr_tf.data.limits`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from simclr_tf.data import by_pillow, gif, limits, orientation, pixels, png, webp
from simclr_tf.data.branches import apart
from simclr_tf.data.reading import Reading

JPEG_MAGIC = b"\xff\xd8\xff"
_BMP_COLORS, _BMP_GRAY = 24, 32  # bits a pixel that TensorFlow reads, the latter without alpha
_WINDOWS_HEADER = 40  # bytes, at least
_NOT_HERE = "it is of a kind that only Pillow reads, which this graph does without"

Decoder = Callable[[tf.Tensor, Reading], tf.Tensor]


@functools.cache
def by_format(reading: Reading) -> Callable[[tf.Tensor], tf.Tensor]:
    """From the content of a file, string scalar, to uint8 (H, W, 3); traced once a process."""

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        known = {**_DECODERS, **{_RARE[kind][0]: _RARE[kind][1] for kind in sorted(reading.kinds)}}
        is_known = tf.strings.substr(encoded, 0, 2) == list(known)
        place = tf.reduce_sum(tf.where(is_known, tf.range(1, len(known) + 1), 0))  # 0 for none
        decoders = [_of_other, *known.values()]
        return tf.switch_case(place, [functools.partial(one, encoded, reading) for one in decoders])

    spec = tf.TensorSpec((), tf.string)
    return tf.function(decode, input_signature=[spec], autograph=False)


def is_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file is a JPEG, bool scalar."""
    return tf.strings.substr(encoded, 0, len(JPEG_MAGIC)) == JPEG_MAGIC


def any_of_tensorflow(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes what TensorFlow recognises; alpha is dropped and 16 bits lose their lower half."""
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def of_jpeg(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    """A JPEG, gray, YCbCr or CMYK."""
    with tf.control_dependencies([limits.check_jpeg(encoded)]):
        image = any_of_tensorflow(encoded)
    if reading.as_stored:
        return image
    return tf.cond(
        orientation.jpeg_may_be_turned(encoded),
        apart(lambda: orientation.upright(image, orientation.of_jpeg(encoded))),
        lambda: image,
    )


def jpeg_orientation(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    """How a JPEG is to be turned, int32 scalar."""
    if reading.as_stored:
        return tf.constant(orientation.UPRIGHT)
    return tf.cond(
        orientation.jpeg_may_be_turned(encoded),
        apart(orientation.of_jpeg, encoded),
        lambda: tf.constant(orientation.UPRIGHT),
    )


def of_png(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    """A PNG of any kind."""
    with tf.control_dependencies([limits.check_pixels(*limits.png_lengths(encoded))]):
        encoded = tf.identity(encoded)
    if reading.as_stored:
        return any_of_tensorflow(encoded)

    def other() -> tf.Tensor:
        header = png.read_header(encoded)
        image = tf.case(
            [(header.deep, lambda: _deep_png(encoded, reading)), (header.has_alpha, with_alpha)],
            default=lambda: any_of_tensorflow(encoded),
        )
        return orientation.upright(image, header.orientation)

    def with_alpha() -> tf.Tensor:
        return pixels.over_background(tf.io.decode_png(encoded, channels=4))

    return tf.cond(png.is_plain(encoded), lambda: any_of_tensorflow(encoded), apart(other))


def _deep_png(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    values = tf.io.decode_png(encoded, channels=4, dtype=tf.uint16)
    return pixels.over_background(pixels.bytes_of(values, reading.value_range))


def of_features(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    """A PNG in which TFDS has encoded values of another type or number of channels than RGB."""
    with tf.control_dependencies([limits.check_pixels(*limits.png_lengths(encoded))]):
        encoded = tf.identity(encoded)
    if reading.dtype == "float32":  # four bytes of each value stand for red, green, blue, alpha
        stored = tf.io.decode_png(encoded, channels=4)
        values = tf.bitcast(stored, tf.float32)[..., None]  # (H, W, 1)
        image = pixels.bytes_of(values, reading.value_range)
    elif reading.dtype == "uint16":
        values = tf.io.decode_png(encoded, channels=reading.channels or 0, dtype=tf.uint16)
        image = pixels.bytes_of(values, reading.value_range)
    else:
        image = tf.io.decode_png(encoded, channels=reading.channels or 0)
    if reading.channels == 4:
        return pixels.over_background(image)
    return tf.repeat(image, 3, axis=-1) if reading.channels == 1 else image


def _of_gif(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    first = gif.first_frame(encoded)
    with tf.control_dependencies([limits.check_pixels(first.height, first.width)]):
        frame = tf.identity(first.content)
    if reading.as_stored or not reading.with_python:
        return any_of_tensorflow(frame)
    # TensorFlow refuses frames that leave a part of the screen free.
    return tf.cond(
        first.fills_screen,
        lambda: any_of_tensorflow(frame),
        lambda: _of_other(encoded, reading),
    )


def _of_bmp(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    # No pixel takes less than a byte of the file, and the decoder checks that they are there.
    if reading.as_stored:
        return _to_rgb(tf.io.decode_bmp(encoded))
    header, bits, packing = bmp_header(encoded)
    ordinary = (header >= _WINDOWS_HEADER) & (packing == 0) & (bits == _BMP_COLORS)
    if not reading.with_python:
        ordinary |= (header >= _WINDOWS_HEADER) & (packing == 0) & (bits == _BMP_GRAY)
    return tf.cond(
        ordinary,
        lambda: _to_rgb(tf.io.decode_bmp(encoded)),
        lambda: _of_other(encoded, reading),
    )


def bmp_header(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Bytes of a BMP's header, bits a pixel, and how these are packed; int32 scalars."""
    start = tf.strings.substr(encoded, 0, 34)
    part = tf.cast(tf.io.decode_raw(start, tf.uint8, fixed_length=34), tf.int32)
    return part[14] + 256 * part[15], part[28] + 256 * part[29], part[30]


def _of_webp(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    def by_tensorflow() -> tf.Tensor:
        with tf.control_dependencies([limits.check_pixels(*webp.lengths(encoded))]):
            content = tf.identity(encoded)
        return tf.cond(
            webp.has_alpha(content),
            lambda: pixels.over_background(tf.raw_ops.DecodeWebP(contents=content, channels=4)[0]),
            lambda: tf.raw_ops.DecodeWebP(contents=content, channels=3)[0],
        )

    if reading.as_stored:
        return any_of_tensorflow(encoded)
    other = webp.is_animated(encoded)
    if reading.with_python:
        other |= webp.has_exif(encoded)
    return tf.cond(other, lambda: _of_other(encoded, reading), by_tensorflow)


def _of_other(encoded: tf.Tensor, reading: Reading) -> tf.Tensor:
    if reading.as_stored:
        return any_of_tensorflow(encoded)
    if reading.with_python:
        return by_pillow.decode(encoded, reading.value_range)
    with tf.control_dependencies([tf.raw_ops.Assert(condition=False, data=[_NOT_HERE])]):
        return tf.zeros((1, 1, 3), tf.uint8)


# By the first two bytes of a file.
_DECODERS: dict[bytes, Decoder] = {b"\xff\xd8": of_jpeg, b"\x89P": of_png}
_RARE: dict[str, tuple[bytes, Decoder]] = {
    "GIF": (b"GI", _of_gif), "BMP": (b"BM", _of_bmp), "WEBP": (b"RI", _of_webp),
}  # fmt: skip


def _to_rgb(image: tf.Tensor) -> tf.Tensor:
    """Gray, RGB or RGBA to RGB: the BMP decoder converts nothing."""
    channels = tf.shape(image)[-1]
    return tf.cond(
        channels < 3,
        lambda: tf.repeat(image[..., :1], 3, axis=-1),
        lambda: image[..., :3],
    )  # (H, W, 3)
