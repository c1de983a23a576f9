"""The images behind the ids of a file of embeddings, as far as they are still there."""

from __future__ import annotations

import functools
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from simclr_tf.data import decode, limits, sources, trust
from simclr_tf.data.reading import FILES, Reading
from simclr_tf.errors import InputError

_ESCAPED_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_TFDS_ID = re.compile(r"-(?P<split>[^-]+)\.[^.]+-(?P<shard>\d+)-of-\d+__(?P<position>\d+)$")


def read_image(path: str | os.PathLike[str]) -> np.ndarray | None:
    """An image file as uint8 (H, W, 3), None where it is absent or cannot be decoded.

    Within the limits of `simclr_tf.data.limits`; a pipe or a device is no image file.
    """
    encoded = limits.read_file(path)
    return None if encoded is None else _decoded(encoded)


def image_folder(metadata: dict[str, Any]) -> pathlib.Path | None:
    """The folder of images that the ids are paths below, None for another data set."""
    name, _, path = str(metadata.get("dataset", "")).partition(":")
    return pathlib.Path(path) if name == sources.FOLDER and path else None


def load_images(
    metadata: dict[str, Any], ids: Sequence[str], largest_side: int = 320
) -> list[np.ndarray | None]:
    """The images with the given ids, small enough to hold many.

    Nothing is downloaded, nor opened that is no data set of TFDS itself (`trust.recorded_data`): a
    data set that is no longer there gives no images.

    Args:
        metadata: Of the file, with `dataset` (`folder:PATH` or a TFDS name) and `data_dir`.
        ids: Of the file.
        largest_side: Larger images are reduced to so many pixels.

    Returns:
        uint8 (H, W, 3) each, None for one that is absent or cannot be decoded.
    """
    folder = image_folder(metadata)
    if folder is not None:
        paths = [path_below(folder, name) for name in ids]
        return [None if path is None else shrink(read_image(path), largest_side) for path in paths]
    read = _tfds_reader(metadata)
    return [None if read is None else shrink(read(name), largest_side) for name in ids]


def path_below(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """The path of an id below the folder, None for one that leads out of it by its letters.

    A file of embeddings may come from anybody. Links below the folder are the user's own.
    """
    path = pathlib.PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        return None
    if os.path.lexists(folder / path):
        return folder / path
    # Files of embeddings hold text: bytes that are not UTF-8 stand there as escapes.
    return folder / _ESCAPED_BYTE.sub(lambda found: chr(int(found[1], 16)), name)


def shrink(image: np.ndarray | None, largest_side: int) -> np.ndarray | None:
    """The image with no side above the limit and the same aspect ratio; None stays None."""
    if image is None or max(image.shape[:2]) <= largest_side:
        return image
    reduced = Image.fromarray(image)
    reduced.thumbnail((largest_side, largest_side), Image.Resampling.LANCZOS)
    return np.asarray(reduced)


def _tfds_reader(metadata: dict[str, Any]) -> Callable[[str], np.ndarray | None] | None:
    source = recorded_tfds(metadata)
    return None if source is None else functools.partial(_read_example, source)


def recorded_tfds(metadata: dict[str, Any]) -> Any:
    """The TFDS data set that a file of embeddings names, None where it is not prepared here.

    Nothing is downloaded, nor opened that is no data set of TFDS itself (`trust.recorded_data`).
    """
    try:
        name, folder = trust.recorded_data(metadata["dataset"], metadata.get("data_dir"))
        from simclr_tf.data import tfds_source  # TFDS takes seconds to import

        return (
            tfds_source.open_tfds(name, folder) if tfds_source.is_prepared(name, folder) else None
        )
    except (InputError, KeyError, TypeError):
        return None


def _read_example(source: Any, example_id: str) -> np.ndarray | None:
    """Reads one record: an id of TFDS names the shard and the position in it."""
    found = _TFDS_ID.search(example_id)
    infos = source.builder.info.splits
    if found is None or found["split"] not in infos:
        return None
    shards = infos[found["split"]].shard_lengths
    position = sum(shards[: int(found["shard"])]) + int(found["position"])
    try:
        examples = source.examples(f"{found['split']}[{position}:{position + 1}]")
        for example in examples.take(1).as_numpy_iterator():
            same = os.fsdecode(example["id"]) == example_id
            return _decoded(example["image"], source.reading) if same else None
    except (InputError, tf.errors.OpError):
        pass
    return None


def _decoded(encoded: bytes, reading: Reading = FILES) -> np.ndarray | None:
    try:
        return decode.decode_image(tf.constant(encoded), reading).numpy()  # (H, W, 3)
    except tf.errors.OpError:
        return None
