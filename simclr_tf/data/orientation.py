"""Which way up an image is: the orientation that cameras write, read and applied in graphs.

A camera stores the rows of its sensor and notes how it was held: a number from 1 (upright) to 8, in
an Exif block, which is a small TIFF file. JPEG has it in a segment APP1 before its tables, PNG in a
chunk eXIf before its pixels. Other places are not looked at.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_tf.data.branches import apart

UPRIGHT = 1
_EXIF = b"Exif\0\0"
_APP1, _FIRST_NOTE = 0xE1, 0xE0  # below are tables, frames and scans: no Exif follows
_TAG = 0x0112
_SHORT, _LONG = 3, 4
_MOST_ENTRIES = 512
_MOST_SEGMENTS = 256
_LONGEST_BLOCK = 2**16


def jpeg_may_be_turned(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG can have an orientation at all, bool scalar: most have not, at a look.

    A file whose tables follow at once, or behind the 16 bytes of JFIF, has no Exif block.
    """
    places = tf.minimum([2, 20], tf.strings.length(encoded))
    second, fourth = tf.unstack(tf.strings.substr([encoded] * 2, places, [4, 2]))
    bare = tf.strings.substr(second, 0, 2) == b"\xff\xdb"
    return tf.logical_not(bare | ((second == b"\xff\xe0\0\x10") & (fourth == b"\xff\xdb")))


def of_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """The orientation of a JPEG, int32 scalar in [1, 8]; 1 where nothing sound is said."""
    length = tf.strings.length(encoded)
    shortest = 4 + len(_EXIF)

    def step(at: tf.Tensor, found: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, ...]:
        start = tf.strings.substr(encoded, at, shortest)
        first, kind, high, low, *name = tf.unstack(_numbers(start, shortest))
        size = 256 * high + low
        is_exif = (kind == _APP1) & tf.reduce_all(tf.stack(name) == list(_EXIF))
        after = at + 2 + size
        goes_on = (first == 0xFF) & (kind >= _FIRST_NOTE) & (size >= 2) & (after < length)
        return tf.where(goes_on & ~is_exif, after, 0), tf.where(is_exif, at, found), count + 1

    # As few operations a segment as can be: many photographs have five or six before their tables.
    start = (tf.where(length > 4, 2, 0), tf.constant(0), tf.constant(0))
    _, found, _ = tf.while_loop(
        lambda at, _, count: (at > 0) & (count < _MOST_SEGMENTS), step, start
    )
    block = tf.strings.substr(encoded, tf.minimum(found + 4 + len(_EXIF), length), _LONGEST_BLOCK)
    return tf.cond(found > 0, lambda: of_exif(block), lambda: tf.constant(UPRIGHT))


def of_exif(block: tf.Tensor) -> tf.Tensor:
    """The orientation in an Exif block, string scalar; int32 in [1, 8], 1 where none is sound."""
    padded = tf.strings.join([tf.strings.substr(block, 0, _LONGEST_BLOCK), b"\0" * 16])
    content = tf.cast(tf.io.decode_raw(padded, tf.uint8), tf.int32)  # (n,)
    last = tf.size(content) - 1
    little = tf.strings.substr(block, 0, 4) == b"II*\0"
    big = tf.strings.substr(block, 0, 4) == b"MM\0*"

    def number(at: tf.Tensor, count: int) -> tf.Tensor:
        """Unsigned number of `count` bytes at each place, at most 2^31 - 1."""
        at = tf.where((at < 0) | (at > last - count), last - count, at)
        parts = tf.stack([tf.gather(content, at + i) for i in range(count)])  # (count, ...)
        ordered = tf.where(little, tf.reverse(parts, [0]), parts)
        total = tf.zeros_like(ordered[0])
        for i in range(count):
            total = total * 256 + ordered[i]  # what overflows is negative, and out of bounds
        return total

    first = number(tf.constant(4), 4)
    count = tf.clip_by_value(number(first, 2), 0, _MOST_ENTRIES)
    entries = first + 2 + 12 * tf.range(count)  # (E,)
    kinds = number(entries + 2, 2)
    values = tf.where(kinds == _SHORT, number(entries + 8, 2), number(entries + 8, 4))
    sound = (number(entries, 2) == _TAG) & ((kinds == _SHORT) | (kinds == _LONG))
    sound &= (number(entries + 4, 4) == 1) & (values >= 1) & (values <= 8) & (first >= 8)
    found = tf.reduce_max(tf.concat([tf.where(sound, values, 0), [0]], 0))
    return tf.where((little | big) & (found > 0), found, UPRIGHT)


def turns(orientation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What makes an image upright, bool scalars: transpose it, then mirror its rows, its columns.

    Args:
        orientation: int32 scalar in [1, 8].

    Returns:
        Whether to transpose, to turn it upside down (reverse rows), to mirror it left to right.
    """
    is_one_of = lambda *those: tf.reduce_any(orientation == list(those))  # noqa: E731
    return orientation >= 5, is_one_of(3, 4, 7, 8), is_one_of(2, 3, 6, 7)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image (H, W, C) of any type; the result has the same type."""

    def turned() -> tf.Tensor:
        transposed, down, left = turns(orientation)
        order = tf.where(transposed, [1, 0, 2], [0, 1, 2])
        return tf.raw_ops.Reverse(
            tensor=tf.transpose(image, order), dims=tf.stack([down, left, tf.constant(False)])
        )

    return tf.cond(orientation == UPRIGHT, lambda: image, apart(turned))


def upright_lengths(lengths: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Height and width after `upright`, int32 (2,), from those that are stored."""
    return tf.where(orientation >= 5, tf.reverse(lengths, [0]), lengths)


def stored_window(
    first: tf.Tensor, sides: tf.Tensor, lengths: tf.Tensor, orientation: tf.Tensor
) -> tf.Tensor:
    """Where a window of the upright image is stored.

    Args:
        first: Its first row and column, int32 (2,).
        sides: Its height and width, int32 (2,).
        lengths: Height and width of the upright image, int32 (2,).
        orientation: int32 scalar in [1, 8].

    Returns:
        First row and column, height and width in what is stored, int32 (4,).
    """
    transposed, down, left = turns(orientation)
    first = tf.where(tf.stack([down, left]), lengths - first - sides, first)
    order = tf.where(transposed, [1, 0], [0, 1])
    return tf.concat([tf.gather(first, order), tf.gather(sides, order)], 0)


def _numbers(content: tf.Tensor, length: int) -> tf.Tensor:
    """The bytes of a string, filled up with zeros, int32 (length,)."""
    return tf.cast(tf.io.decode_raw(content, tf.uint8, fixed_length=length), tf.int32)
