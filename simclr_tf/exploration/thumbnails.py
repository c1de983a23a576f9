"""Small pictures of many images, and sheets of them for a page."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from simclr_tf.augment import policy
from simclr_tf.data import limits, reduced
from simclr_tf.data.reading import FILES, READING, Reading, recorded_reading
from simclr_tf.data.sources import Source, lookup_table
from simclr_tf.errors import InputError
from simclr_tf.report.pictures import thumbnails as as_bytes
from simclr_tf.retrieval import images

_SHEET_SIDE = 2048  # px: phones decode such a picture in 16 MB
_QUALITY = 72  # of JPEG
_AT_ONCE = 64
_PARALLEL = 4

# Images of a source, or what a file of embeddings says of its own.
Origin = tuple[Source, str] | dict[str, Any]


class Thumbnails(NamedTuple):
    """Small pictures.

    Attributes:
        pixels: (n, S, S, 3) uint8.
        rows: (n,) int64, ascending, which of the images they are of.
    """

    pixels: np.ndarray
    rows: np.ndarray


class Sheets(NamedTuple):
    """Pictures side by side on a few large ones.

    Attributes:
        side: Of one, in pixels.
        columns: Of a sheet, and rows of a full one.
        uris: Of the sheets, JPEG in base64.
        rows: Of each sheet.
    """

    side: int
    columns: int
    uris: list[str]
    rows: list[int]


def load_thumbnails(origin: Origin, ids: Sequence[str], rows: np.ndarray, side: int) -> Thumbnails:
    """The central square of some images, as far as they are still there and can be decoded.

    Images are decoded at reduced size where that suffices, several at once; memory holds the
    pictures alone.

    Args:
        origin: A source and a split expression, or the metadata of a file of embeddings; see
            `simclr_tf.retrieval.images.load_images` for what of these is opened.
        ids: Of all images.
        rows: (m,) int64, which are wanted, ascending.
        side: Of a picture in pixels.
    """
    chosen: list[np.ndarray] = []
    found: list[int] = []
    for batch_rows, batch in _batches(origin, ids, rows, side):
        found += batch_rows.tolist()
        chosen += list(as_bytes(batch, side))
    if not found:
        return Thumbnails(np.empty((0, side, side, 3), np.uint8), np.empty(0, np.int64))
    order = np.argsort(found)
    return Thumbnails(np.stack([chosen[i] for i in order]), np.array(found, np.int64)[order])


def make_sheets(pixels: np.ndarray) -> Sheets:
    """Pictures (n, S, S, 3) uint8 as sheets, row by row."""
    side = pixels.shape[1]
    columns = max(1, min(_SHEET_SIDE // side, int(np.ceil(np.sqrt(max(len(pixels), 1))))))
    uris, heights = [], []
    for start in range(0, len(pixels), columns**2):
        part = pixels[start : start + columns**2]
        height = -(-len(part) // columns)
        full = np.zeros((height * columns, side, side, 3), np.uint8)
        full[: len(part)] = part
        sheet = full.reshape(height, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
        uris.append(_jpeg(sheet.reshape(height * side, columns * side, 3)))
        heights.append(height)
    return Sheets(side, columns, uris, heights)


def _jpeg(sheet: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "jpeg", quality=_QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _batches(
    origin: Origin, ids: Sequence[str], rows: np.ndarray, side: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows (b,) with their images (b, S, S, C), in any order; without what can't be decoded."""
    if not len(rows):
        return
    if isinstance(origin, tuple):
        yield from _of_source(*origin, ids, rows, side)
        return
    folder = images.image_folder(origin)
    if folder is not None:
        reading = recorded_reading(origin.get(READING)) or FILES
        yield from _of_folder(folder, ids, rows, side, reading)
        return
    splits = origin.get("splits")
    source = images.recorded_tfds(origin)
    if source is None or not isinstance(splits, list):
        return
    for split in splits:
        yield from _of_source(source, str(split), ids, rows, side)


def _of_folder(
    folder: pathlib.Path, ids: Sequence[str], rows: np.ndarray, side: int, reading: Reading
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    def files() -> Iterator[tuple[int, bytes]]:
        for row in rows.tolist():
            path = images.path_below(folder, ids[row])
            encoded = None if path is None else limits.read_file(path)
            if encoded is not None:
                yield row, encoded

    reading = dataclasses.replace(reading, antialias=True)
    signature = (tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.string))
    dataset = tf.data.Dataset.from_generator(files, output_signature=signature)
    yield from _decoded(dataset, side, reading)


def _of_source(
    source: Source, split: str, ids: Sequence[str], rows: np.ndarray, side: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    place = {os.fsencode(ids[row]): row for row in rows.tolist()}
    try:
        examples = source.examples(split, "split")
    except InputError:  # a file of embeddings may name anything
        return
    wanted = lookup_table(sorted({ids[row] for row in rows.tolist()}))
    chosen = examples.filter(lambda example: wanted.lookup(example["id"]))
    pairs = chosen.map(lambda example: (example["id"], example["image"]))
    reading = dataclasses.replace(source.reading, antialias=True)
    for names, batch in _decoded(pairs, side, reading):
        yield np.array([place[name] for name in names.tolist()], np.int64), batch


def _decoded(
    dataset: tf.data.Dataset, side: int, reading: Reading
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Keys with images (b, S, S, C) of (key, content of a file or pixels)."""
    picture = _picture(side, reading)
    with tf.device("CPU:0"):
        made = dataset.map(
            lambda key, content: (key, picture(content)), num_parallel_calls=_PARALLEL
        ).ignore_errors()
        try:
            yield from made.batch(_AT_ONCE).prefetch(1).as_numpy_iterator()
        except tf.errors.OpError:  # the records themselves are damaged
            return


@functools.cache  # traced once for all folders
def _picture(side: int, reading: Reading) -> Callable[[tf.Tensor], tf.Tensor]:
    """From the content of a file, or pixels, to the picture (S, S, C)."""
    return tf.function(
        lambda content: reduced.eval_image(content, policy.transfer_view, side, reading)
    )
