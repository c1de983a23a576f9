"""Files of embeddings: written in portions, read as a whole.

The suffix decides the format: `.parquet` (`simclr_tf.retrieval.parquet`) or `.npz`
(`simclr_tf.retrieval.npz`); what both hold is the same.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from types import ModuleType, TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from simclr_tf.errors import InputError, first_line, require
from simclr_tf.files import (
    check_length,
    check_local,
    naming_file,
    open_temporary,
    remove_leftovers,
)
from simclr_tf.json_files import parse_json, texts
from simclr_tf.retrieval.columns import Columns, RowWriter

PathLike = str | os.PathLike[str]

FORMAT_VERSION = 1
# Loaded when they are needed: pyarrow is large.
_MODULES = {".parquet": "simclr_tf.retrieval.parquet", ".npz": "simclr_tf.retrieval.npz"}
SUFFIXES = tuple(_MODULES)

_PORTION_BYTES = 2**25  # of embeddings that wait in memory: a row group of Parquet
_RESERVED = ("format_version", "class_names")


class Embeddings(NamedTuple):
    """The content of a file.

    Attributes:
        ids: N ids: paths below the folder of images, or ids of TFDS.
        labels: (N,) int64, -1 where an image has none; None where no image has one.
        label_names: Names of the classes by label, None where they are not known.
        vectors: (N, D) float32.
        metadata: What the writer was given: encoder, endpoint, data set.
    """

    ids: list[str]
    labels: np.ndarray | None
    label_names: tuple[str, ...] | None
    vectors: np.ndarray
    metadata: dict[str, Any]

    def label_name(self, index: int) -> str | None:
        """Name of an image's class (its number where names are not known), None without one."""
        if self.labels is None or self.labels[index] < 0:
            return None
        label = int(self.labels[index])
        known = self.label_names is not None and label < len(self.label_names)
        return self.label_names[label] if known and self.label_names else str(label)


def to_vectors(values: np.ndarray) -> np.ndarray:
    """Output of any endpoint as one vector an image.

    Args:
        values: (n, D), or maps (n, H, W, D), which are averaged over their positions, as the
            encoder itself does for `final_avg_pool`.

    Returns:
        (n, D) float32.
    """
    positions = tuple(range(1, values.ndim - 1))
    return values.mean(axis=positions, dtype=np.float32)


def check_output(path: PathLike, setting: str = "output") -> pathlib.Path:
    """Refuses a path that embeddings can't be written to, before any work is done.

    An existing file is no reason to refuse: it is replaced when the new one is complete.

    Args:
        path: The file.
        setting: Name of the setting that holds it, for errors.

    Raises:
        InputError: Unknown suffix, not on a local disk, a folder, or in one that can't be written.
    """
    text = os.fspath(path)
    listed = " or ".join(SUFFIXES)
    require(_suffix(text) in SUFFIXES, setting, f"must end in {listed}", text)
    check_local(text, setting)
    check_length(text, setting)
    target = pathlib.Path(text).expanduser()
    require(not target.is_dir(), setting, "must name a file, not a folder", text)
    check_parent(target, setting)
    return target


def check_parent(path: PathLike, setting: str = "output") -> None:
    """Refuses a file in a folder that can't be written, or made where it is missing.

    Permissions don't tell (a superuser has them all, but `/proc` takes no files), so a nameless
    file is made for a moment in the folder, or in the first above it that exists.

    Args:
        path: The file.
        setting: Name of the setting that holds it, for errors.

    Raises:
        InputError: Names the setting.
    """
    check_local(path, setting)
    check_length(path, setting)
    folder = pathlib.Path(path).absolute().parent
    while not os.path.lexists(folder):
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            setting, "must lie in a folder that can be written", os.fspath(path)
        ) from error


class EmbeddingWriter:
    """Writes a file of embeddings in portions, as a context manager.

    The file appears when the block ends, under a temporary name until then; an exception in the
    block leaves no trace, and an older file of the name as it was. Memory holds the ids and labels
    and at most 32 MiB of embeddings.

        with EmbeddingWriter("photos.parquet", {"endpoint": "final_avg_pool"}) as writer:
            writer.append(["a.jpg", "b.jpg"], vectors)

    Args:
        path: `.parquet` or `.npz`; missing folders are made.
        metadata: What JSON can say, read back by `read_embeddings`.
        class_names: Names of the classes by label.

    Raises:
        InputError: See `check_output`.
    """

    def __init__(
        self, path: PathLike, metadata: Mapping[str, Any], class_names: Sequence[str] | None = None
    ):
        self._target = check_output(path)
        names = None if class_names is None else list(class_names)
        header = {**metadata, "format_version": FORMAT_VERSION, "class_names": names}
        self._header = json.dumps(header, allow_nan=False)
        self._class_names = names or []
        self._file: BinaryIO | None = None
        self._rows: RowWriter | None = None
        self._dimension, self._labeled = 0, False
        self._waiting: list[tuple[list[str], np.ndarray | None, np.ndarray]] = []
        self._waiting_bytes = 0
        self.count = 0

    def append(
        self, ids: Sequence[str], vectors: np.ndarray, labels: np.ndarray | None = None
    ) -> None:
        """Adds n images.

        Args:
            ids: n texts. Bytes of a file name that are not UTF-8 are written as escapes.
            vectors: (n, D), finite; D is that of the first call.
            labels: (n,) integers, -1 for an image without label; given always or never.

        Raises:
            InputError: Shapes don't fit, or a value is NaN or infinite.
        """
        vectors = np.asarray(vectors, np.float32)
        labels = None if labels is None else np.asarray(labels, np.int64)
        started = self._rows is not None
        dimension = self._dimension if started else (vectors.shape or (0,))[-1]
        labeled = self._labeled if started else labels is not None
        _check_rows(ids, vectors, labels, dimension, labeled)
        if not started:
            self._open(dimension, labeled)
        self._waiting.append((list(map(_printable, ids)), labels, vectors))
        self._waiting_bytes += vectors.nbytes
        self.count += len(vectors)
        if self._waiting_bytes >= _PORTION_BYTES:
            self._flush()

    def __enter__(self) -> EmbeddingWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                require(self.count > 0, os.fspath(self._target), "must get at least one image",
                        self.count)  # fmt: skip
                self._complete()
        finally:
            self._discard()

    def _open(self, dimension: int, labeled: bool) -> None:
        target = self._target
        self._dimension, self._labeled = dimension, labeled
        self._file = _create(target)  # closed in `_discard`
        module = _module(target)
        with naming_file(target):
            if _suffix(target) == ".npz":
                self._rows = module.NpzRows(
                    self._file, target.parent, dimension, labeled, self._header
                )
            else:
                self._rows = module.ParquetRows(
                    self._file, dimension, labeled, self._class_names, self._header
                )

    def _flush(self) -> None:
        if self._rows is None or not self._waiting:
            return
        ids = [name for portion, _, _ in self._waiting for name in portion]
        labels = [portion for _, portion, _ in self._waiting if portion is not None]
        vectors = np.concatenate([portion for _, _, portion in self._waiting])  # (n, D)
        self._waiting, self._waiting_bytes = [], 0
        with naming_file(self._target):
            self._rows.append(ids, np.concatenate(labels) if labels else None, vectors)

    def _complete(self) -> None:
        self._flush()
        assert self._rows is not None and self._file is not None
        with naming_file(self._target):
            self._rows.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._file.name, self._target)
            self._file.close()

    def _discard(self) -> None:
        """Closes everything; removes the temporary file where it still is."""
        self._waiting = []
        if self._rows is not None:
            with contextlib.suppress(Exception):  # a full disk fails here again
                self._rows.close()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            pathlib.Path(self._file.name).unlink(missing_ok=True)


def read_embeddings(path: PathLike, setting: str = "embeddings") -> Embeddings:
    """Reads a file that `EmbeddingWriter` has written.

    Args:
        path: `.parquet` or `.npz`.
        setting: Name of the setting that holds the path, for errors.

    Raises:
        InputError: No such file, another kind of file, or a damaged one.
    """
    text = os.fspath(path)
    source = pathlib.Path(text).expanduser()
    check_local(text, setting)
    check_length(source, setting)
    require(source.is_file(), setting, "must name an existing file of embeddings", text)
    require(_suffix(text) in SUFFIXES, setting, f"must end in {' or '.join(SUFFIXES)}", text)
    module = _module(source)
    try:
        columns = module.read(source)
        header = parse_json(columns.header, "its metadata")
        _check_columns(columns, header)
        names = texts(header, "class_names", "its metadata", None)
    except module.ERRORS as error:  # every refusal of ours and of JSON is a ValueError
        raise InputError(
            text, "must be a complete file of embeddings, as mode=embed writes it",
            first_line(error)[:200],
        ) from error  # fmt: skip
    metadata = {key: value for key, value in header.items() if key not in _RESERVED}
    return Embeddings(
        columns.ids, columns.labels, None if names is None else tuple(names), columns.vectors,
        metadata,
    )  # fmt: skip


def _create(target: pathlib.Path) -> BinaryIO:
    """Opens a new file beside `target`, with the folders that are missing."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target)
        return open_temporary(target)
    except OSError as error:
        raise InputError("output", f"must be a file that can be written ({error.strerror})",
                         os.fspath(target)) from error  # fmt: skip


def _check_rows(
    ids: Sequence[str],
    vectors: np.ndarray,
    labels: np.ndarray | None,
    dimension: int,
    labeled: bool,
) -> None:
    fits = vectors.ndim == 2 and vectors.shape[1] == dimension > 0
    require(fits, "vectors", f"must have shape (n, {dimension or 'D'})", vectors.shape)
    require(len(ids) == len(vectors), "ids", f"must be {len(vectors)}, one per vector",
            len(ids))  # fmt: skip
    require((labels is not None) == labeled, "labels", "must be given always or never",
            labels)  # fmt: skip
    if labels is not None:
        require(labels.shape == (len(vectors),), "labels",
                f"must have shape ({len(vectors)},)", labels.shape)  # fmt: skip
    finite = np.isfinite(vectors).all(axis=1)  # (n,)
    if not finite.all():
        raise InputError("vectors", "must be finite", ids[int(np.argmin(finite))])


def _check_columns(columns: Columns, header: Mapping[str, Any]) -> None:
    if not {*_RESERVED} <= set(header):
        raise ValueError(f"its metadata lacks {', '.join(_RESERVED)}")
    if header["format_version"] != FORMAT_VERSION:
        raise ValueError(f"its format has version {header['format_version']}, not {FORMAT_VERSION}")
    vectors, labels, count = columns.vectors, columns.labels, len(columns.ids)
    if vectors.ndim != 2 or vectors.dtype != np.float32 or 0 in (count, vectors.size):
        raise ValueError(f"its embeddings are {vectors.dtype} of shape {vectors.shape}")
    if len(vectors) != count:
        raise ValueError(f"it has {count} ids for {len(vectors)} embeddings")
    if not (np.isfinite(vectors.min()) and np.isfinite(vectors.max())):  # NaN wins both
        raise ValueError("an embedding has a value that is NaN or infinite")
    strange = [
        name for name in columns.ids if not isinstance(name, str) or "\0" in name or not name
    ]
    if strange:
        raise ValueError(f"its ids must be texts, one is {strange[0]!r}")
    if labels is not None and (labels.dtype != np.int64 or labels.shape != (count,)):
        raise ValueError(f"its labels are {labels.dtype} of shape {labels.shape}")


def _suffix(path: PathLike) -> str:
    return pathlib.PurePath(path).suffix.lower()


def _module(path: PathLike) -> ModuleType:
    return importlib.import_module(_MODULES[_suffix(path)])


def _printable(name: str) -> str:
    """The id without the surrogates that stand for bytes which are not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
