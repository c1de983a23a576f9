"""Embeddings as .npz: what `numpy.load` reads with `allow_pickle=False`.

Arrays: `ids` (N,) unicode; `labels` (N,) int64, -1 for an image without one, where there are
labels; `embeddings` (N, D) float32; `metadata`, a JSON text.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from typing import IO, BinaryIO

import numpy as np

from simclr_tf.array_files import ERRORS as ERRORS
from simclr_tf.array_files import open_npz
from simclr_tf.retrieval.columns import Columns, ForeignFileError

_COPY_BYTES = 2**20


class NpzRows:
    """See `simclr_tf.retrieval.columns.RowWriter`.

    The archive has to say N before the first row of an array, so embeddings wait in a nameless
    file in `folder`, which vanishes with the process; ids and labels wait in memory.

    Args:
        file: Open for writing.
        folder: Where the nameless file lies; it takes as much space as the result.
        dimension: D.
        labeled: Whether rows come with labels.
        header: JSON text.
    """

    def __init__(
        self,
        file: BinaryIO,
        folder: str | os.PathLike[str],
        dimension: int,
        labeled: bool,
        header: str,
    ):
        self._file, self._dimension, self._labeled, self._header = file, dimension, labeled, header
        self._waiting = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close` closes it
        self._ids: list[str] = []
        self._labels: list[np.ndarray] = []

    def append(self, ids: Sequence[str], labels: np.ndarray | None, vectors: np.ndarray) -> None:
        """Keeps rows for `finish`."""
        self._waiting.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        self._ids += ids
        if labels is not None:
            self._labels.append(labels)

    def finish(self) -> None:
        """Writes the archive."""
        with zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED) as archive:
            self._add(archive, "metadata", np.array(self._header))
            self._add(archive, "ids", np.array(self._ids, dtype=np.str_))
            if self._labeled:
                self._add(archive, "labels", np.concatenate(self._labels))
            with archive.open("embeddings.npy", "w", force_zip64=True) as member:
                self._copy_embeddings(member)
        self.close()

    def close(self) -> None:
        """Drops what waits."""
        self._waiting.close()

    def _add(self, archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)

    def _copy_embeddings(self, member: IO[bytes]) -> None:
        shape = (len(self._ids), self._dimension)
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        self._waiting.seek(0)
        shutil.copyfileobj(self._waiting, member, _COPY_BYTES)


def read(path: str | os.PathLike[str]) -> Columns:
    """Reads a file.

    Raises:
        ForeignFileError: An archive, but not of this kind.
        Another of `ERRORS`: No archive, a damaged one, or one that declares too much.
    """
    with open_npz(path) as arrays:
        missing = sorted({"ids", "embeddings", "metadata"} - set(arrays.files))
        if missing:
            raise ForeignFileError(f"it has no array {', '.join(missing)}")
        labels = arrays["labels"] if "labels" in arrays.files else None
        return Columns(
            arrays["ids"].tolist(), labels, arrays["embeddings"], str(arrays["metadata"])
        )
