"""The range of values that a set of images of 16 bits uses.

Cameras and scanners of 10, 12 or 14 bits write files of 16. By the range of the type these would be
almost black.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from simclr_tf.data import formats, limits

_SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".ppm", ".pnm")
_MOST_FILES, _MOST_DEEP = 64, 16
_FULL_BITS, _LEAST_BITS = 16, 8
_PNG_DEPTH = 24  # the byte that tells it


def own_range(paths: Iterable[str]) -> tuple[float, float] | None:
    """From 0 to the largest value of as many bits as the images use, by a sample of them.

    Args:
        paths: Files in a fixed order; the first that can have 16 bits are read.

    Returns:
        None where there are none of 16 bits, or these use all of them.
    """
    largest, deep = -1, 0
    likely = (path for path in paths if path.lower().endswith(_SUFFIXES))
    for _, path in zip(range(_MOST_FILES), likely, strict=False):
        values = _values(path)
        if values is None or values.dtype.name != "uint16":
            continue
        largest, deep = max(largest, int(values.max(initial=0))), deep + 1
        if deep == _MOST_DEEP:
            break
    bits = max(largest.bit_length(), _LEAST_BITS)
    return None if largest < 0 or bits == _FULL_BITS else (0.0, 2.0**bits - 1)


def _values(path: str) -> np.ndarray | None:
    """What a file with more than 8 bits holds; None for others, and for damaged ones."""
    try:
        with open(path, "rb") as file:
            head = file.read(formats.HEAD_BYTES)
        kind = formats.kind_of(head)
        if kind not in ("PNG", "TIFF", "PPM") or (
            kind == "PNG" and head[_PNG_DEPTH : _PNG_DEPTH + 1] != bytes([_FULL_BITS])
        ):
            return None
        encoded = limits.read_file(path)
        if encoded is None:
            return None
        if kind != "PNG":
            return formats.values(encoded)
        formats.lengths(encoded)  # refuses those that are too large
        stored = tf.io.decode_png(encoded, dtype=tf.uint16).numpy()  # (H, W, C)
        return stored[..., : stored.shape[-1] - (stored.shape[-1] % 2 == 0)]  # without alpha
    except (OSError, ValueError, tf.errors.OpError):
        return None


def sample_of(root: str | os.PathLike[str], files: Iterable[tuple[str, ...]]) -> Iterable[str]:
    """Paths of files that are given as tuples of names below a folder."""
    return (os.path.join(root, *parts) for parts in files)
