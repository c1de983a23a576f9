"""The first frame of a GIF, without the others.

TensorFlow's decoder holds the pixels of every frame, of which a small file can have thousands.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_tf.data.pixels import BACKGROUND

_SCREEN = 13  # bytes of signature and screen, before the table of colours
_IMAGE = 10  # bytes before a frame's table of colours
_TRAILER = b";"
_CONTROL = 0xF9  # the extension that tells which colour is transparent
_BYTES = [bytes([value]) for value in range(256)]


@dataclasses.dataclass(frozen=True)
class Frame:
    """The first frame of a GIF as a file of its own.

    Attributes:
        content: String scalar. A transparent colour is `pixels.BACKGROUND` in it.
        height: That the frame declares, int32 scalar.
        width: That the frame declares, int32 scalar.
        fills_screen: Whether nothing of the picture is left free, bool scalar.
    """

    content: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    fills_screen: tf.Tensor


def first_frame(encoded: tf.Tensor) -> Frame:
    """Cuts a GIF off after its first frame; for graphs.

    Args:
        encoded: Content of the file, string scalar; damaged ones give damaged ones.
    """
    length = tf.strings.length(encoded)
    content = tf.concat([tf.io.decode_raw(encoded, tf.uint8), [0]], 0)  # 0 stands beyond the end

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(content[tf.minimum(at, length)], tf.int32)

    def word(at: tf.Tensor) -> tf.Tensor:
        return byte(at) + 256 * byte(at + 1)

    def table(flags: tf.Tensor) -> tf.Tensor:
        """Bytes of the table of colours that flags declare."""
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def after_blocks(at: tf.Tensor) -> tf.Tensor:
        """Behind blocks that say their lengths, up to an empty one."""
        (end,) = tf.while_loop(lambda i: byte(i) > 0, lambda i: (i + 1 + byte(i),), (at,))
        return end + 1

    def extension(at: tf.Tensor, control: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Comments, delays, names of programs; the last that tells a colour."""
        return after_blocks(at + 2), tf.where(byte(at + 1) == _CONTROL, at + 3, control)

    screen_flags = byte(tf.constant(_SCREEN - 3))
    start, control = tf.while_loop(
        lambda at, _: byte(at) == ord("!"),
        extension,
        (_SCREEN + table(screen_flags), tf.constant(0)),
    )
    own = table(byte(start + _IMAGE - 1))
    end = after_blocks(start + _IMAGE + own + 1)
    shorter = tf.strings.join([tf.strings.substr(encoded, 0, end), _TRAILER])
    common = [_SCREEN, table(screen_flags)]
    colors, size = tf.unstack(tf.where(own > 0, tf.stack([start + _IMAGE, own]), common))
    color = 3 * byte(control + 3)
    shorter = tf.cond(
        (control > 0) & (byte(control) % 2 == 1) & (color < size) & (colors + size < length),
        lambda: _opaque(shorter, control, byte(control), colors + color),
        lambda: shorter,
    )
    left, top, width, height = (word(start + i) for i in (1, 3, 5, 7))
    fills = (left == 0) & (top == 0) & (width >= word(6)) & (height >= word(8))
    return Frame(shorter, height, width, fills)


def _opaque(
    encoded: tf.Tensor, control: tf.Tensor, flags: tf.Tensor, color: tf.Tensor
) -> tf.Tensor:
    """Without the mark of a transparent colour, which becomes that of the background."""
    unmarked = _patched(encoded, control, tf.gather(tf.constant(_BYTES), flags - 1), 1)
    return _patched(unmarked, color, bytes([BACKGROUND] * 3), 3)


def _patched(
    encoded: tf.Tensor, at: tf.Tensor, content: tf.Tensor | bytes, count: int
) -> tf.Tensor:
    """With other bytes at a place before the end, `count` of them."""
    rest = tf.strings.length(encoded) - at - count
    return tf.strings.join(
        [tf.strings.substr(encoded, 0, at), content, tf.strings.substr(encoded, at + count, rest)]
    )
