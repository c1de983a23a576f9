"""A picture of augmented views: what the network is told to regard as the same."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from simclr_tf.errors import require
from simclr_tf.files import write_bytes_atomically
from simclr_tf.report.pictures import in_rgb

_VIEW_GAP = 3  # Pixels between the views of one image ...
_PAIR_GAP = 14  # ... and between images, wider so that pairs are seen as pairs.
_SMALLEST_SIDE = 96  # Views below this are enlarged by a whole factor, pixel by pixel.


def view_grid(
    images_a: np.ndarray,
    images_b: np.ndarray,
    originals: np.ndarray | None = None,
    *,
    max_images: int = 16,
    columns: int | None = None,
) -> np.ndarray:
    """Pairs of views side by side on white, the original on their left where it is given.

    Args:
        images_a: First views, (N, H, W, C), uint8 or floats in [0, 1]; `pictures.in_rgb` says
            how other than three channels are shown.
        images_b: Second views of the same images, same shape.
        originals: (N, ..., C) images of the views' size.
        max_images: At most so many of the N are drawn.
        columns: Images per row; None makes the grid about as wide as high.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InputError: Shapes differ or floats leave [0, 1].
    """
    named = {"images_a": images_a, "images_b": images_b}
    if originals is not None:
        named = {"originals": originals, **named}
    shape = np.shape(images_a)
    for name, images in named.items():
        require(np.shape(images) == shape, name, f"must have the first views' shape {shape}",
                np.shape(images))  # fmt: skip
    pictures = [_to_uint8(name, images)[:max_images] for name, images in named.items()]
    count = len(pictures[0])
    if columns is None:
        columns = max(1, round((count / len(pictures)) ** 0.5))
    rows = [
        _join([_join([picture[index] for picture in pictures], _VIEW_GAP, axis=1)
               for index in range(start, min(start + columns, count))], _PAIR_GAP, axis=1)
        for start in range(0, count, columns)
    ]  # fmt: skip
    rows = [_widen(row, rows[0].shape[1]) for row in rows]
    return np.pad(
        _join(rows, _PAIR_GAP, axis=0),
        [(_PAIR_GAP, _PAIR_GAP), (_PAIR_GAP, _PAIR_GAP), (0, 0)],
        constant_values=255,
    )


def save_view_grid(
    path: str | os.PathLike[str],
    images_a: np.ndarray,
    images_b: np.ndarray,
    originals: np.ndarray | None = None,
    *,
    max_images: int = 16,
    columns: int | None = None,
) -> None:
    """Writes `view_grid` as a PNG, atomically."""
    grid = view_grid(images_a, images_b, originals, max_images=max_images, columns=columns)
    write_bytes_atomically(path, tf.io.encode_png(grid).numpy())


def _to_uint8(name: str, images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8, enlarged by a whole factor to a legible size."""
    images = np.asarray(images)
    require(images.ndim == 4 and images.size > 0, name, "must have shape (N, H, W, C)",
            images.shape)  # fmt: skip
    images = in_rgb(images)
    if images.dtype != np.uint8:
        lowest, highest = float(np.min(images)), float(np.max(images))
        require(lowest >= 0 and highest <= 1, name, "must lie in [0, 1] where they are floats",
                (lowest, highest))  # fmt: skip
        images = np.round(images.astype(np.float32) * 255).astype(np.uint8)
    factor = max(1, -(-_SMALLEST_SIDE // max(images.shape[1:3])))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def _join(pictures: list[np.ndarray], gap: int, axis: int) -> np.ndarray:
    shape = list(pictures[0].shape)
    shape[axis] = gap
    white = np.full(shape, 255, np.uint8)
    pieces = [piece for picture in pictures for piece in (white, picture)]
    return np.concatenate(pieces[1:], axis=axis)


def _widen(row: np.ndarray, width: int) -> np.ndarray:
    return np.pad(row, [(0, 0), (0, width - row.shape[1]), (0, 0)], constant_values=255)
