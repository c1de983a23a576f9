"""TF-Hub archives: a SavedModel folder as one `.tar.gz` file.

`tensorflow_hub` downloads, unpacks and caches such a file when its handle is an http(s) address
(it asks the server for `?tf-hub-format=compressed`, which file servers ignore). It does not unpack
local files: there, unpack the archive and hand over the folder.
"""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Iterator

import tensorflow as tf

from simclr_tf.errors import require


def write_archive(folder: str, path: str) -> str:
    """Packs a SavedModel, with `saved_model.pb` at the root of the archive.

    The same folder gives the same bytes: entries are sorted, and times, owners and rights are
    fixed. The archive appears when it is complete.

    Args:
        folder: A SavedModel.
        path: Where the archive shall stand; `.tar.gz`.

    Returns:
        `path`.

    Raises:
        InputError: `folder` is no SavedModel.
    """
    found = tf.io.gfile.exists(os.path.join(folder, "saved_model.pb"))
    require(found, "folder", "must be a SavedModel", folder)
    partial = f"{path}.partial-{os.getpid()}"
    try:
        # Weights hardly compress: the lowest level costs a few per cent and saves minutes.
        with (
            tf.io.gfile.GFile(partial, "wb") as file,
            gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed,
            tarfile.open(mode="w|", fileobj=packed, format=tarfile.GNU_FORMAT) as archive,
        ):
            for entry, source in _entries(folder):
                _add(archive, entry, source)
        tf.io.gfile.rename(partial, path, overwrite=True)
    finally:
        if tf.io.gfile.exists(partial):
            tf.io.gfile.remove(partial)
    return path


def _entries(folder: str) -> Iterator[tuple[tarfile.TarInfo, str | None]]:
    """Sub-folders and files in sorted order, each folder before what it holds."""
    for parent, _, names in sorted(tf.io.gfile.walk(folder)):
        inside = os.path.relpath(parent, folder)
        if inside != ".":
            entry = tarfile.TarInfo(inside)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            yield entry, None
        for name in sorted(names):
            source = os.path.join(parent, name)
            entry = tarfile.TarInfo(os.path.normpath(os.path.join(inside, name)))
            entry.size, entry.mode = tf.io.gfile.stat(source).length, 0o644
            yield entry, source


def _add(archive: tarfile.TarFile, entry: tarfile.TarInfo, source: str | None) -> None:
    if source is None:
        archive.addfile(entry)
        return
    with tf.io.gfile.GFile(source, "rb") as file:
        archive.addfile(entry, file)
