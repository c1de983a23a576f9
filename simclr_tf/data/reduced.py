"""Views of large images without decoding these at full size, and without aliasing.

A crop of at least twice its view's side is averaged: sampled at the view's pixels alone, it changes
with a shift of three pixels of the file. The file is decoded at a half, a quarter or an eighth of
its size first, as far as the view's pixels are left, which JPEG's decoder does for a part of the
cost. Smaller crops are resized as ever, to the same pixels. So are all of them where
`Reading.antialias` is not set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from simclr_tf.augment import crop, images, policy
from simclr_tf.data import by_pillow, decode, decoders, limits, orientation
from simclr_tf.data.branches import apart
from simclr_tf.data.reading import Reading

EvalView = Callable[[tf.Tensor, int], tf.Tensor]  # (image uint8, image_size) -> view

_RATIOS = (1, 2, 4, 8)  # that JPEG's decoder knows
_SMALL_PIXELS = 2**22  # of a PNG that is decoded whole


@dataclasses.dataclass(frozen=True)
class Piece:
    """As much of an image as some boxes need, possibly reduced.

    Attributes:
        image: uint8 (h, w, 3); of pixels in memory (h, w, C), uint8 or float32 in [0, 1].
        corners: First rows and columns of the V boxes in it, float32 (V, 2): they may lie between
            pixels where it is reduced.
        sides: Heights and widths of the boxes in it, float32 (V, 2).
        ratio: So many pixels of the file by so many are one of the piece, int32 scalar.
    """

    image: tf.Tensor
    corners: tf.Tensor
    sides: tf.Tensor
    ratio: tf.Tensor


def decode_piece(
    encoded: tf.Tensor, choose: decode.ChooseBoxes, size: int, reading: Reading
) -> Piece:
    """Decodes what some boxes need for views of `size` x `size` pixels.

    Args:
        encoded: Content of a file, string scalar, or pixels.
        choose: As in `decode.decode_boxes`.
        size: Side S of the views in pixels.
        reading: Of the data set.
    """

    def whole() -> tuple[tf.Tensor, ...]:
        image = decode.decode_image(encoded, reading)
        return image, *_floats(*choose(tf.shape(image)[:2])), tf.constant(1)

    if not reading.antialias or encoded.dtype != tf.string:
        image, corners, sides = decode.decode_boxes(encoded, choose, reading)
        at, by = _floats(corners, sides)
        return Piece(image, at, by, tf.constant(1))

    def of_jpeg() -> tuple[tf.Tensor, ...]:
        turn = decoders.jpeg_orientation(encoded, reading)
        lengths = orientation.upright_lengths(decode.jpeg_lengths(encoded), turn)
        corners, sides = choose(lengths)
        ratio = _ratio(sides, size)

        def at_full_size() -> tuple[tf.Tensor, ...]:
            image, at = decode.crop_jpeg(encoded, corners, sides, lengths, turn)
            return image, *_floats(at, sides), tf.constant(1)

        return tf.cond(
            ratio == 1,
            at_full_size,
            apart(_reduced_jpeg, encoded, corners, sides, lengths, turn, ratio),
        )

    def of_other() -> tuple[tf.Tensor, ...]:
        corners, sides = choose(by_pillow.lengths(encoded))
        ratio = _ratio(sides, size)

        def reduced() -> tuple[tf.Tensor, ...]:
            image = by_pillow.decode(encoded, reading.value_range, ratio=ratio)
            share = tf.cast(ratio, tf.float32)
            at, by = _floats(corners, sides)
            return image, at / share, by / share, ratio

        return tf.cond(ratio == 1, whole, reduced)

    def no_jpeg() -> tuple[tf.Tensor, ...]:
        height, width = limits.png_lengths(encoded)
        small = limits.is_png(encoded) & (height * width <= _SMALL_PIXELS)
        return tf.cond(small, whole, apart(of_other)) if reading.with_python else whole()

    image, corners, sides, ratio = tf.cond(decoders.is_jpeg(encoded), of_jpeg, apart(no_jpeg))
    image.set_shape((None, None, 3))
    return Piece(image, corners, sides, ratio)


def resize_box(piece: Piece, index: int, size: int, reading: Reading) -> tf.Tensor:
    """A box of a piece as a view, float32 (S, S, C) around [0, 255]: the kernel overshoots."""
    corner, sides = piece.corners[index], piece.sides[index]

    def sampled() -> tf.Tensor:
        start, shape = tf.cast(corner, tf.int32), tf.cast(sides, tf.int32)
        part = crop.part_of(piece.image, start, shape)
        # The kernel takes half as long again for bytes.
        return tf.image.resize(decode.to_byte_range(part), [size, size], method="bicubic")

    if not reading.antialias:
        return sampled()

    def averaged() -> tf.Tensor:
        made = crop.resize_averaged(piece.image, corner, sides, size)
        return made if piece.image.dtype == tf.uint8 else decode.to_byte_range(made)

    return tf.cond(_is_large(piece, sides, size), apart(averaged), sampled)


def eval_image(encoded: tf.Tensor, view: EvalView, size: int, reading: Reading) -> tf.Tensor:
    """The image for evaluation from the content of a file.

    Args:
        encoded: Content of a file, string scalar, or pixels.
        view: `policy.eval_view` or `policy.transfer_view`, which large images need not be decoded
            whole for; or another function.
        size: Side S of the result in pixels.
        reading: Of the data set.

    Returns:
        What `view` returns: of those two float32 (S, S, C) in [0, 1].
    """
    if not reading.antialias or view not in (policy.eval_view, policy.transfer_view):
        return view(decode.decode_image(encoded, reading), size)
    share = policy.eval_proportion(size) if view is policy.eval_view else 1.0

    def choose(lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What is seen, and the whole image, which must be decoded where it is not reduced."""
        corner, sides = crop.center_box(lengths, share)
        return tf.stack([corner, tf.zeros_like(corner)]), tf.stack([sides, lengths])

    piece = decode_piece(encoded, choose, size, reading)
    corner, sides = piece.corners[0], piece.sides[0]

    def averaged() -> tf.Tensor:
        made = crop.resize_averaged(piece.image, corner, sides, size)
        return images.clip(made * (1 / 255) if piece.image.dtype == tf.uint8 else made)

    large = _is_large(piece, sides, size)
    return tf.cond(large, apart(averaged), lambda: view(piece.image, size))


def _is_large(piece: Piece, sides: tf.Tensor, size: int) -> tf.Tensor:
    return (piece.ratio > 1) | (tf.reduce_min(sides) >= 2 * size)


def _floats(*those: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return tuple(tf.cast(one, tf.float32) for one in those)


def _ratio(sides: tf.Tensor, size: int) -> tf.Tensor:
    """By how much an image can be reduced for boxes with these sides, int32 (V, 2)."""
    most = tf.reduce_min(sides) // size
    return tf.reduce_max(tf.where(tf.constant(_RATIOS) <= most, _RATIOS, 1))


def _reduced_jpeg(
    encoded: tf.Tensor,
    corners: tf.Tensor,
    sides: tf.Tensor,
    lengths: tf.Tensor,
    turn: tf.Tensor,
    ratio: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """The values of a `Piece`; all arguments in pixels of the upright image."""
    _, down, left = orientation.turns(turn)
    # The decoder's blocks start at the first row and column that are stored. Seen from the other
    # side they start before the image, by what is missing of the last block.
    shorter = -(-lengths // ratio)  # (2,)
    before = tf.where(tf.stack([down, left]), shorter * ratio - lengths, 0)
    corners += before
    first = tf.reduce_min(corners, 0) // ratio
    end = tf.minimum(-(-tf.reduce_max(corners + sides, 0) // ratio), shorter)
    window = orientation.stored_window(first, end - first, shorter, turn)
    image = tf.switch_case(
        tf.reduce_sum(tf.cast(tf.constant(_RATIOS) < ratio, tf.int32)),
        [lambda one=one: _cropped_jpeg(encoded, window, one) for one in _RATIOS],
    )
    share = tf.cast(ratio, tf.float32)
    at, by, origin = _floats(corners, sides, first)
    return orientation.upright(image, turn), at / share - origin, by / share, ratio


def _cropped_jpeg(encoded: tf.Tensor, window: tf.Tensor, ratio: int) -> tf.Tensor:
    return tf.raw_ops.DecodeAndCropJpeg(
        contents=encoded, crop_window=window, channels=3, ratio=ratio
    )
