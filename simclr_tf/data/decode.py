"""Encoded images to uint8 RGB, and the search for images and files that cannot be read."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import tensorflow as tf

from simclr_tf.data.retry import plain_reason
from simclr_tf.data.sources import Source, WrappedSource
from simclr_tf.errors import InputError

_BMP_MAGIC = b"BM"
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_MARGIN = 2  # px; the chroma at a border is interpolated from what lies next to it
_SCAN_CHUNK = 256  # images in memory at a time during a scan


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG, PNG, GIF (first frame) or BMP of any colour type.

    Grayscale is repeated on three channels, alpha is dropped, CMYK is converted and 16 bits are
    reduced to 8. BMP is read with 8 (gray), 24 or 32 bits a pixel.

    Args:
        encoded: Content of the file, string scalar; or pixels, which are returned as they are.

    Returns:
        uint8 (H, W, 3) in [0, 255].
    """
    if _is_pixels(encoded):
        return encoded
    image = tf.cond(
        tf.strings.substr(encoded, 0, len(_BMP_MAGIC)) == _BMP_MAGIC,
        lambda: _to_rgb(tf.io.decode_bmp(encoded)),
        lambda: decode_stored(encoded),
    )  # (H, W, 3)
    image.set_shape((None, None, 3))
    return image


def decode_stored(encoded: tf.Tensor) -> tf.Tensor:
    """`decode_image` of a PNG or JPEG, as TFDS stores images; it costs a tenth less at 32 px.

    Args:
        encoded: Content of the file, string scalar; or pixels, which are returned as they are.

    Returns:
        uint8 (H, W, 3) in [0, 255].
    """
    if _is_pixels(encoded):
        return encoded
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return image


def decode_boxes(
    encoded: tf.Tensor, choose: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes as much of an image as some boxes need.

    Of a JPEG only what contains all of them, and pixels for pixels what `decode_image` gives.

    Args:
        encoded: As in `decode_image`.
        choose: From height and width, int32 (2,), to the corners and sides of V boxes, int32
            (V, 2) each, rows first.

    Returns:
        uint8 (H, W, 3), and corners in it and sides, int32 (V, 2) each.
    """

    def of_jpeg() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        lengths = tf.io.extract_jpeg_shape(encoded)[:2]
        corners, sides = choose(lengths)
        first = tf.maximum(tf.reduce_min(corners, 0) - _JPEG_MARGIN, 0)
        end = tf.minimum(tf.reduce_max(corners + sides, 0) + _JPEG_MARGIN, lengths)
        window = tf.concat([first, end - first], 0)
        return tf.image.decode_and_crop_jpeg(encoded, window, channels=3), corners - first, sides

    def of_any() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = decode_image(encoded)
        return image, *choose(tf.shape(image)[:2])

    if _is_pixels(encoded):
        return of_any()
    is_jpeg = tf.strings.substr(encoded, 0, len(_JPEG_MAGIC)) == _JPEG_MAGIC
    image, corners, sides = tf.cond(is_jpeg, of_jpeg, of_any)
    image.set_shape((None, None, 3))
    return image, corners, sides


def _is_pixels(image: Any) -> bool:
    return tf.is_tensor(image) and image.dtype == tf.uint8


def _to_rgb(image: tf.Tensor) -> tf.Tensor:
    """Gray, RGB or RGBA to RGB: the BMP decoder converts nothing."""
    channels = tf.shape(image)[-1]
    return tf.cond(
        channels < 3,
        lambda: tf.repeat(image[..., :1], 3, axis=-1),
        lambda: image[..., :3],
    )  # (H, W, 3)


def find_bad_examples(examples: tf.data.Dataset, stop_at_first: bool = False) -> list[str]:
    """Decodes every image once, in threads.

    Args:
        examples: As from `Source.examples`.
        stop_at_first: Return as soon as one is found.

    Returns:
        The ids of the images that cannot be decoded, in the order of the data set.
    """
    decode = tf.function(
        decode_image, input_signature=[tf.TensorSpec((), tf.string)], autograph=False
    )

    def is_bad(example: dict[str, Any]) -> bool:
        try:
            decode(tf.constant(example["image"]))
        except tf.errors.OpError:
            return True
        return False

    bad: list[str] = []
    iterator = examples.as_numpy_iterator()
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(itertools.islice(iterator, _SCAN_CHUNK)):
            flags = pool.map(is_bad, chunk)
            bad += [os.fsdecode(e["id"]) for e, flag in zip(chunk, flags, strict=True) if flag]
            if bad and stop_at_first:
                return bad[:1]
    return bad


@contextlib.contextmanager
def naming_bad_image(source: Source, split: str, setting: str = "train_split") -> Iterator[None]:
    """Turns a failure of the data inside the block into an error that names the file.

    A failing input pipeline does not say at which image or record it was, so the split is searched
    for it.

    Raises:
        InputError: With the path of the first damaged TFRecord file of `split`, or the location of
            the first image of it that cannot be decoded.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.FailedPreconditionError) as error:
        # Of the second kind only that records are missing.
        if isinstance(error, tf.errors.DataLossError) or "expected to contain" in str(error):
            _name_bad_record(source, split, error)
        raise
    except tf.errors.InvalidArgumentError as error:
        try:
            bad = find_bad_examples(source.examples(split, setting), stop_at_first=True)
        except tf.errors.OpError:
            _name_bad_record(source, split, error)
            raise error from None
        if not bad:
            raise
        raise InputError(
            source.location(bad[0]),
            "must be a readable JPEG, PNG, GIF or BMP image (--skip_bad_images leaves such files "
            "out)",
            plain_reason(error),
        ) from error


def _name_bad_record(source: Source, split: str, error: tf.errors.OpError) -> None:
    """Raises an error that names the file if a TFRecord file of the split is damaged."""
    while isinstance(source, WrappedSource):
        source = source.base
    builder = getattr(source, "builder", None)
    if builder is None:  # a folder
        return
    from simclr_tf.data import tfrecords  # TFDS takes seconds to import

    found = tfrecords.find_bad_record(builder.info, split)
    if found is not None:
        path, position, reason = found
        raise InputError(
            path, f"must be a readable TFRecord file (record {position} is damaged)", reason
        ) from error
