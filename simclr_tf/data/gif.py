"""The first frame of a GIF, without the others.

TensorFlow's decoder holds the pixels of every frame, of which a small file can have thousands.
"""

from __future__ import annotations

import tensorflow as tf

_SCREEN = 13  # bytes of signature and screen, before the table of colours
_IMAGE = 10  # bytes before a frame's table of colours
_TRAILER = b";"


def first_frame(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cuts a GIF off after its first frame; for graphs.

    Args:
        encoded: Content of the file, string scalar; damaged ones give damaged ones.

    Returns:
        The shorter file, string, and the height and width that its frame declares, int32 scalars.
    """
    length = tf.strings.length(encoded)
    content = tf.concat([tf.io.decode_raw(encoded, tf.uint8), [0]], 0)  # 0 stands beyond the end

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(content[tf.minimum(at, length)], tf.int32)

    def table(flags: tf.Tensor) -> tf.Tensor:
        """Bytes of the table of colours that flags declare."""
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def after_blocks(at: tf.Tensor) -> tf.Tensor:
        """Behind blocks that say their lengths, up to an empty one."""
        (end,) = tf.while_loop(lambda i: byte(i) > 0, lambda i: (i + 1 + byte(i),), (at,))
        return end + 1

    (start,) = tf.while_loop(  # extensions: comments, delays, names of programs
        lambda i: byte(i) == ord("!"),
        lambda i: (after_blocks(i + 2),),
        (_SCREEN + table(byte(tf.constant(_SCREEN - 3))),),
    )
    end = after_blocks(start + _IMAGE + table(byte(start + _IMAGE - 1)) + 1)
    shorter = tf.strings.join([tf.strings.substr(encoded, 0, end), _TRAILER])
    width, height = (byte(start + i) + 256 * byte(start + i + 1) for i in (5, 7))
    return shorter, height, width
