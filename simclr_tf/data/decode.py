"""Encoded images to uint8 RGB, and the search for images and files that cannot be read."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NoReturn

import tensorflow as tf

from simclr_tf.augment.operations import failed_function
from simclr_tf.data import decoders, limits, orientation
from simclr_tf.data.reading import FILES, STORED, Reading
from simclr_tf.data.retry import TRANSIENT, Backoff, plain_reason
from simclr_tf.data.sources import Source, WrappedSource
from simclr_tf.errors import InputError

_JPEG_MARGIN = 2  # px; the chroma at a border is interpolated from what lies next to it
ChooseBoxes = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
# The last is what TFDS's readers of other formats than TFRecord raise, written in Python.
_MISSING = (tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.UnknownError)
# TensorFlow quotes a record that is no message in its error, which Python then can't decode.
_DAMAGED = (tf.errors.DataLossError, UnicodeDecodeError)
_SCAN_CHUNK, _SCAN_BYTES = 256, 2**28  # images in memory at a time during a scan
_READ_RETRIES = 3
# `TRANSIENT` without the errors of one file: EIO is Unknown.
_STORAGE = (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError)
_SKIP = " (--skip_bad_images leaves such files out)"


def decode_image(encoded: tf.Tensor, reading: Reading = FILES) -> tf.Tensor:
    """Decodes a file of any kind in `formats.KINDS`; of several pictures the first.

    Upright, in RGB of 8 bits over white, by the rule of `simclr_tf.data.pixels`. Decoding fails
    before it takes memory where more than `limits.MAX_PIXELS` are declared.

    Args:
        encoded: Content of the file, string scalar; or pixels, which are returned as they are.
        reading: Of the data set. Without Python what only Pillow reads is refused: all kinds but
            JPEG, PNG, GIF, WebP and BMP of 24 and 32 bits.

    Returns:
        uint8 (H, W, 3) in [0, 255]; of pixels any number of channels, and float32 in [0, 1] too.
    """
    if _is_pixels(encoded):
        return encoded
    if reading.channels is not None and not reading.is_plain:
        return decode_stored(encoded, reading)
    image = decoders.by_format(_of_decoder(reading))(encoded)
    image.set_shape((None, None, 3))
    return image


def decode_stored(encoded: tf.Tensor, reading: Reading = STORED) -> tf.Tensor:
    """`decode_image` of a PNG or JPEG, as TFDS stores images; it costs a tenth less at 32 px.

    Args:
        encoded: Content of the file, string scalar, a PNG after `limits.replace_large_pngs`; or
            pixels, which are returned as they are.
        reading: Of the data set.

    Returns:
        uint8 (H, W, 3) in [0, 255].
    """
    if _is_pixels(encoded):
        return encoded
    if reading.is_plain:
        image = tf.cond(
            decoders.is_jpeg(encoded),
            lambda: decoders.of_jpeg(encoded, STORED),
            lambda: decoders.any_of_tensorflow(encoded),
        )  # (H, W, 3)
    else:
        image = decoders.of_features(encoded, reading)
    image.set_shape((None, None, 3))
    return image


def decode_boxes(
    encoded: tf.Tensor, choose: ChooseBoxes, reading: Reading = FILES
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes as much of an image as some boxes need.

    Of a JPEG only what contains all of them, and pixels for pixels what `decode_image` gives.

    Args:
        encoded: As in `decode_image`.
        choose: From height and width of the upright image, int32 (2,), to the corners and sides of
            V boxes, int32 (V, 2) each, rows first.
        reading: Of the data set.

    Returns:
        uint8 (H, W, 3), and corners in it and sides, int32 (V, 2) each.
    """

    def of_jpeg() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        turn = decoders.jpeg_orientation(encoded, reading)
        lengths = orientation.upright_lengths(jpeg_lengths(encoded), turn)
        corners, sides = choose(lengths)
        return *crop_jpeg(encoded, corners, sides, lengths, turn), sides

    def of_any() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = decode_image(encoded, reading)
        return image, *choose(tf.shape(image)[:2])

    if _is_pixels(encoded):
        return of_any()
    image, corners, sides = tf.cond(decoders.is_jpeg(encoded), of_jpeg, of_any)
    image.set_shape((None, None, 3))
    return image, corners, sides


def crop_jpeg(
    encoded: tf.Tensor, corners: tf.Tensor, sides: tf.Tensor, lengths: tf.Tensor, turn: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """As much of a JPEG as some boxes need.

    Args:
        encoded: Content of the file, string scalar.
        corners: Of the V boxes in the upright image, int32 (V, 2), rows first.
        sides: Their heights and widths, int32 (V, 2).
        lengths: Height and width of the upright image, int32 (2,).
        turn: The orientation, int32 scalar.

    Returns:
        uint8 (H, W, 3), upright, and the corners in it, int32 (V, 2).
    """
    first = tf.maximum(tf.reduce_min(corners, 0) - _JPEG_MARGIN, 0)
    end = tf.minimum(tf.reduce_max(corners + sides, 0) + _JPEG_MARGIN, lengths)
    window = orientation.stored_window(first, end - first, lengths, turn)
    image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
    return orientation.upright(image, turn), corners - first


def jpeg_lengths(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width that a JPEG declares, int32 (2,); fails where they are too large."""
    lengths = tf.io.extract_jpeg_shape(encoded)[:2]
    with tf.control_dependencies([limits.check_pixels(lengths[0], lengths[1])]):
        return tf.identity(lengths)


def _of_decoder(reading: Reading) -> Reading:
    """Without what only views differ in: there is one trace for all of these."""
    return dataclasses.replace(reading, antialias=False)


def _is_pixels(image: Any) -> bool:
    return tf.is_tensor(image) and image.dtype != tf.string


def to_byte_range(image: tf.Tensor) -> tf.Tensor:
    """Pixels as float32 in [0, 255], from uint8 or from floats in [0, 1]."""
    if image.dtype == tf.uint8:
        return tf.cast(image, tf.float32)
    return tf.cast(image, tf.float32) * 255.0


def bad_examples(
    source: Source,
    split: str,
    setting: str = "train_split",
    on_count: Callable[[int], object] | None = None,
) -> Iterator[tuple[str, str]]:
    """Reads and decodes every image once, in threads.

    Args:
        source: The data set.
        split: A split expression.
        setting: Name of the setting that holds it, for errors.
        on_count: Called now and then with the number of images looked at so far.

    Yields:
        The id of each image that cannot be read, cannot be decoded or has not the shape of all
        others, and why, in the order of the data set.
    """
    shape = source.image_shape

    def problem(record: dict[str, Any]) -> str | None:
        try:
            encoded = _read(source, record)
            if encoded.dtype == tf.string and encoded == limits.TOO_LARGE:
                return limits.TOO_MANY_PIXELS
            found = tuple(decode_image(encoded, source.reading).shape[:2])
        except _STORAGE:  # its failure says nothing of the image
            raise
        except tf.errors.OpError as error:
            return plain_reason(error)
        return None if shape in (None, found) else f"{found[0]} x {found[1]} pixels"

    count = 0
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk in _chunks(source.records(split, setting).as_numpy_iterator()):
            count += len(chunk)
            if on_count is not None:
                on_count(count)
            for record, why in zip(chunk, pool.map(problem, chunk), strict=True):
                if why is not None:
                    yield os.fsdecode(record["id"]), why


def _read(source: Source, record: dict[str, Any]) -> tf.Tensor:
    """The encoded image of a record; after a failure that may pass, tries again."""
    tensors = {name: tf.constant(value) for name, value in record.items()}
    backoff = Backoff(_READ_RETRIES)
    while True:
        try:
            return source.read(tensors)["image"]
        except TRANSIENT as error:
            backoff.failed(error)


def _chunks(records: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.get("image", b""))  # none before a folder's file is read
        if len(chunk) == _SCAN_CHUNK or size >= _SCAN_BYTES:
            yield chunk
            chunk, size = [], 0
    yield chunk


def _blame_python(error: Exception) -> None:
    """All images are sound: Python code in the pipeline that failed is that of somebody's views."""
    if "PyFunc" in str(error):
        raise InputError("views", "must be made of every image without an error",
                         plain_reason(error)) from None  # fmt: skip


@contextlib.contextmanager
def naming_bad_image(source: Source, split: str, setting: str = "train_split") -> Iterator[None]:
    """Turns a failure of the data inside the block into an error that names the file.

    A failing input pipeline does not say at which image or record it was, so the split is searched
    for it.

    Raises:
        InputError: With the path of the first missing or damaged file of `split`, or the location
            of the first image of it that cannot be decoded or has not the shape of all others.
    """
    try:
        yield
    except _MISSING as error:
        _name_missing_file(source, split, setting, error)
        _blame_python(error)
        raise
    except tf.errors.FailedPreconditionError as error:
        _name_missing_file(source, split, setting, error)  # a folder has its name
        if "expected to contain" in str(error):
            _name_bad_record(source, split, error)
        raise
    except _DAMAGED as error:
        _name_bad_record(source, split, error)
        raise
    except tf.errors.InvalidArgumentError as error:
        if (found := failed_function(error)) is not None:
            raise found from error
        try:
            bad = next(bad_examples(source, split, setting), None)
        except (tf.errors.OpError, UnicodeDecodeError):
            _name_bad_record(source, split, error)
            raise error from None
        if bad is None:
            _blame_python(error)
            raise
        _name_bad_image(source, *bad, error)


def _name_bad_image(source: Source, example_id: str, reason: str, error: Exception) -> NoReturn:
    shape = source.image_shape
    kind = "readable image"
    if shape is not None:
        kind = f"readable image of {shape[0]} x {shape[1]} pixels, as all of {source.name}"
    raise InputError(
        source.location(example_id),
        f"must be a {kind}{_SKIP}",
        reason,
    ) from error


def _builder(source: Source) -> Any:
    """TFDS's builder of a data set; None for a folder, where each image is a file."""
    while isinstance(source, WrappedSource):
        source = source.base
    return getattr(source, "builder", None)


def _name_missing_file(source: Source, split: str, setting: str, error: Exception) -> None:
    """Raises an error that names the first file of the split that can't be opened, if one is."""
    for path in source.files(split, setting):
        try:
            with tf.io.gfile.GFile(path, "rb") as file:
                file.read(1)
        except tf.errors.OpError as found:
            hint = _SKIP if _builder(source) is None else ""
            raise InputError(
                path, f"must be a file that can be read, as a part of {source.name}{hint}",
                plain_reason(found),
            ) from error  # fmt: skip


def _name_bad_record(source: Source, split: str, error: Exception) -> None:
    """Raises an error that names the file if a TFRecord file of the split is damaged."""
    builder = _builder(source)
    if builder is None:
        return
    from simclr_tf.data import tfrecords  # TFDS takes seconds to import

    found = tfrecords.find_bad_record(builder.info, split)
    if found is not None:
        path, position, reason = found
        raise InputError(
            path, f"must be a readable TFRecord file (record {position} is damaged)", reason
        ) from error
