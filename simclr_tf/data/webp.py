"""What a WebP says before its pixels; for graphs."""

from __future__ import annotations

import tensorflow as tf

_HEADER = 30  # bytes, with all that is read here
_ANIMATED, _EXIF, _ALPHA = 2, 8, 16  # bits


def is_animated(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a WebP has several pictures, bool scalar. TensorFlow's decoder can abort on them."""
    return _kind(encoded, b"VP8X") & _has_bit(encoded, 20, _ANIMATED)


def has_exif(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a WebP has an Exif block, bool scalar."""
    return _kind(encoded, b"VP8X") & _has_bit(encoded, 20, _EXIF)


def has_alpha(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a WebP has a channel for alpha, bool scalar."""
    lossless = _kind(encoded, b"VP8L") & _has_bit(encoded, 24, _ALPHA)
    return lossless | (_kind(encoded, b"VP8X") & _has_bit(encoded, 20, _ALPHA))


def lengths(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The height and width that a WebP declares, int32 scalars; of others anything."""
    part = _header(encoded)
    extended_kind, lossless_kind = _kind(encoded, b"VP8X"), _kind(encoded, b"VP8L")
    lossy = [(part[i] + 256 * part[i + 1]) & 0x3FFF for i in (28, 26)]
    bits = part[21] + 256 * part[22] + 65_536 * part[23]  # 14 bits of the width, 10 of the height
    lossless = [1 + (bits // 2**14) + 2**10 * (part[24] & 0xF), 1 + (bits & 0x3FFF)]
    extended = [1 + part[i] + 256 * part[i + 1] + 65_536 * part[i + 2] for i in (27, 24)]
    height, width = (
        tf.where(extended_kind, whole, tf.where(lossless_kind, exact, lossy))
        for whole, exact, lossy in zip(extended, lossless, lossy, strict=True)
    )
    return height, width


def _header(encoded: tf.Tensor) -> tf.Tensor:
    start = tf.strings.substr(encoded, 0, _HEADER)
    return tf.cast(tf.io.decode_raw(start, tf.uint8, fixed_length=_HEADER), tf.int32)


def _kind(encoded: tf.Tensor, kind: bytes) -> tf.Tensor:
    return tf.strings.substr(encoded, tf.minimum(12, tf.strings.length(encoded)), 4) == kind


def _has_bit(encoded: tf.Tensor, place: int, bit: int) -> tf.Tensor:
    return tf.bitwise.bitwise_and(_header(encoded)[place], bit) > 0
