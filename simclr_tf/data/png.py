"""What a PNG says before its pixels: bits, alpha, orientation; for graphs."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_tf.data import orientation

_FIRST_CHUNK = 33  # bytes of signature and header
_MOST_CHUNKS = 1024
_WITH_ALPHA = 4  # a bit of the colour type
_DEEP = 16  # bits


@dataclasses.dataclass(frozen=True)
class PngHeader:
    """What decides how a PNG is decoded; bool and int32 scalars.

    Attributes:
        deep: 16 bits a channel.
        has_alpha: A channel for alpha, or a colour or entry of the palette that is transparent.
        orientation: 1 to 8.
    """

    deep: tf.Tensor
    has_alpha: tf.Tensor
    orientation: tf.Tensor


def is_plain(encoded: tf.Tensor) -> tf.Tensor:
    """Whether the pixels follow the header at once, with up to 8 bits and without alpha."""
    places = tf.minimum([24, 37], tf.strings.length(encoded))
    kinds = tf.strings.substr([encoded] * 2, places, [2, 4])  # depth and colour type, next chunk
    plain = [bytes([depth, color]) for depth in (1, 2, 4, 8) for color in (0, 2)]
    return tf.reduce_any(kinds[0] == plain) & (kinds[1] == b"IDAT")


def read_header(encoded: tf.Tensor) -> PngHeader:
    """Looks through the chunks before the pixels.

    Args:
        encoded: Content of a PNG, string scalar; of a damaged one anything is said.
    """
    length = tf.strings.length(encoded)

    def goes_on(at: tf.Tensor, *rest: tf.Tensor) -> tf.Tensor:
        return (at > 0) & (at < length) & (rest[-1] < _MOST_CHUNKS)

    def step(
        at: tf.Tensor, clear: tf.Tensor, exif: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        size = _number(encoded, at)
        kind = tf.strings.substr(encoded, tf.minimum(at + 4, length), 4)
        after = at + 12 + size  # negative where it overflows
        ends = (kind == b"IDAT") | (size < 0) | (after <= at) | (after > length)
        return (
            tf.where(ends, 0, after),
            clear | (kind == b"tRNS"),
            tf.where(kind == b"eXIf", at, exif),
            count + 1,
        )

    # What is no PNG after its first bytes may be shorter than its header.
    start = tf.where(length > _FIRST_CHUNK + 8, _FIRST_CHUNK, 0)
    _, clear, exif, _ = tf.while_loop(
        goes_on, step, (start, tf.constant(False), tf.constant(0), tf.constant(0))
    )
    depth, color = tf.unstack(_bytes(tf.strings.substr(encoded, tf.minimum(24, length), 2), 2))
    size = tf.where(exif > 0, _number(encoded, exif), 0)
    block = tf.strings.substr(encoded, tf.minimum(exif + 8, length), size)
    turned = tf.cond(
        exif > 0, lambda: orientation.of_exif(block), lambda: tf.constant(orientation.UPRIGHT)
    )
    return PngHeader(depth == _DEEP, clear | (color & _WITH_ALPHA > 0), turned)


def _bytes(content: tf.Tensor, length: int) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(content, tf.uint8, fixed_length=length), tf.int32)


def _number(encoded: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Four bytes at a place, int32 scalar; filled up with zeros behind the end."""
    word = tf.strings.substr(encoded, at, 4)
    return tf.io.decode_raw(word, tf.int32, little_endian=False, fixed_length=4)[0]
