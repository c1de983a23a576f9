"""Feature matrices read in blocks of rows: arrays in memory, or files far larger than it.

A feature matrix is anything with a `shape`, a `dtype` and rows by slice: a NumPy array, one that
`np.load(path, mmap_mode="r")` maps from a file, an HDF5 data set. Nothing here makes a copy of the
whole; of a mapped file, the pages read are given back after each block.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from simclr_tf.errors import InputError, require

_CHECK_BYTES = 32 * 2**20  # What `check_rows` reads at once, as float32.


class Rows(Protocol):
    """A matrix of shape (N, D) that gives rows by slice."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    @property
    def dtype(self) -> Any:
        """A NumPy type of real numbers."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, rows: Any, /) -> Any:
        """(n, D) for a slice."""


class RowSubset:
    """Some rows of an array or mapped file, in a given order, read when they are asked for."""

    def __init__(self, rows: Rows, index: np.ndarray):
        """Takes a (N, D) matrix and the (n,) row numbers; ascending ones read files in order."""
        self.source, self.index = rows, np.asarray(index, np.int64)  # (n,)
        count = len(rows)
        inside = self.index.ndim == 1 and bool(np.all((self.index >= 0) & (self.index < count)))
        require(inside, "index", f"must be row numbers in [0, {count})", self.index.shape)
        self.shape, self.dtype = (len(self.index), *rows.shape[1:]), rows.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.asarray(self.source[self.index[rows]])


class RowChain:
    """Several feature matrices of the same width, one after the other, as one."""

    def __init__(self, parts: Sequence[Rows]):
        """Takes matrices (N_i, D)."""
        require(len(parts) > 0, "parts", "must hold at least one feature matrix", len(parts))
        widths = {part.shape[1:] for part in parts}
        require(len(widths) == 1, "parts", "must have the same number of dimensions", widths)
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self.ends[-1]), *parts[0].shape[1:])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, step = rows.indices(len(self))
        require(step == 1, "rows", "must be a slice with step 1", step)
        pieces = []
        for part, end in zip(self.parts, self.ends.tolist(), strict=True):
            first = end - len(part)
            pieces.append(part[max(start - first, 0) : max(min(stop, end) - first, 0)])
        return np.concatenate(pieces)


def require_rows(name: str, features: Any) -> Rows:
    """The feature matrix, after a look at its shape and type; a list becomes an array.

    Args:
        name: How an error calls the matrix.
        features: (N, D) real numbers, N and D at least 1.

    Raises:
        InputError: The shape or type is another.
    """
    if not (hasattr(features, "shape") and hasattr(features, "dtype")):
        features = np.asarray(features)
    require(len(features.shape) == 2 and min(features.shape) > 0, name,
            "must have shape (N, D) with N and D at least 1",
            tuple(features.shape))  # fmt: skip
    kinds = (np.floating, np.integer, np.bool_)
    require(any(np.issubdtype(features.dtype, kind) for kind in kinds), name,
            "must be real numbers", str(features.dtype))  # fmt: skip
    return features


def check_rows(name: str, features: Any) -> Rows:
    """`require_rows`, and one pass over the matrix that makes sure every value is finite.

    Raises:
        InputError: See `require_rows`; or a value is not finite as float32: the error gives the
            first such row.
    """
    rows = require_rows(name, features)
    for where, block in row_blocks(rows, rows_within(rows, _CHECK_BYTES)):
        if not np.isfinite(block).all():
            bad = where.start + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise InputError(name, "must be finite", f"NaN or infinity at example {bad}")
    return rows


def row_blocks(features: Rows, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """All rows in order, `size` at a time.

    Yields:
        The slice that the rows come from, and a (n, D) float32 copy of them (a view where the
        matrix is a float32 array in memory); the last block may be shorter. Of a mapped file no
        page stays in memory between the blocks.
    """
    for start in range(0, len(features), size):
        where = slice(start, min(start + size, len(features)))
        with np.errstate(over="ignore"):  # Beyond float32 is infinite; `check_rows` refuses it.
            block = np.asarray(features[where]).astype(np.float32, copy=_is_mapped(features))
        release_pages(features)
        yield where, block


def rows_within(features: Rows, limit: int) -> int:
    """How many rows take at most `limit` bytes as float32; at least 1."""
    return max(1, limit // (4 * max(1, features.shape[1])))


def release_pages(features: Any) -> None:
    """Gives back the memory that reading a mapped file took; nothing for other matrices.

    Only for mappings whose content is the file's: a copy-on-write one holds changes that exist
    nowhere else. The operating system may keep the pages as its own cache.
    """
    for part in _sources(features):
        mapping = _mapping(part)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Products of float32 matrices with all their digits, on GPUs too, for the time of a `with`.

    TensorFlow rounds the factors to 10 bits (TF32) where a GPU is faster with it: too coarse to
    order neighbours or to search along a line.
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _sources(features: Any) -> list[Any]:
    if isinstance(features, RowSubset):
        return _sources(features.source)
    if isinstance(features, RowChain):
        return [source for part in features.parts for source in _sources(part)]
    return [features]


def _is_mapped(features: Any) -> bool:
    return any(_mapping(part) is not None for part in _sources(features))


def _mapping(array: Any) -> mmap.mmap | None:
    """The mapped file behind an array or a view of it."""
    while array is not None and not isinstance(array, mmap.mmap):
        if isinstance(array, np.memmap) and array.mode == "c":
            return None
        array = getattr(array, "base", None)
    return array


@tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32)])
def unit_rows(rows: tf.Tensor) -> tf.Tensor:
    """Rows of length 1; of zeros, zeros. The largest entry first: squares stay within float32.

    Equal rows become equal wherever they stand, which `tf.math.l2_normalize` doesn't promise: how
    processors approximate 1 / sqrt(x) differs between a vector of rows and the last few.
    """
    largest = tf.reduce_max(tf.abs(rows), axis=1, keepdims=True)  # (n, 1)
    scaled = tf.math.divide_no_nan(rows, largest)
    lengths = tf.sqrt(tf.reduce_sum(scaled * scaled, axis=1, keepdims=True))  # (n, 1)
    return tf.math.divide_no_nan(scaled, lengths)  # not `/`, of which graphs make rsqrt again
