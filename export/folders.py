"""Folders that appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from simclr_tf.errors import InputError, first_line, require

# What exported and converted folders consist of: only a folder with nothing else is replaced.
_EXPORTED = re.compile(
    r"saved_model(\.pb)?|variables|assets(\.extra)?|fingerprint\.pb|keras_metadata\.pb"
    r"|encoder\.(tar\.gz|keras)|README\.md"
    r"|config\.json|checkpoint|ckpt-\d+\.(index|data-\d+-of-\d+)"
)


@contextlib.contextmanager
def appearing(directory: str, overwrite: bool = False, name: str = "output") -> Iterator[str]:
    """Gives a temporary folder that becomes `directory` when the block ends well.

    A reader sees the old folder or the new one; after a failure the old one stands as it was and
    nothing else is left. An object store (`gs://...`) renames by copying: whole, but not at once.

    Args:
        directory: The folder to write; local, or any path that `tf.io.gfile` knows.
        overwrite: Whether an existing export is replaced.
        name: What errors call the folder.

    Yields:
        The path to write to.

    Raises:
        InputError: `directory` exists and `overwrite` is False, or holds something that is no
            export, or can't be written.
    """
    directory = directory.rstrip("/")
    check_target(directory, overwrite, name)
    parent, base = os.path.split(directory)
    partial = os.path.join(parent, f".{base}.partial-{os.getpid()}")
    try:
        _remove(partial)
        _make_folder(partial, name, directory)
        yield partial
        _move_into_place(partial, directory)
    finally:
        _remove(partial)


def check_target(directory: str, overwrite: bool, name: str = "output") -> None:
    """Refuses a folder that must not be written.

    Raises:
        InputError: It exists and `overwrite` is False, or it holds more than an export.
    """
    require(bool(directory.rstrip("/")), name, "must name a folder", directory)
    if not tf.io.gfile.exists(directory):
        return
    require(tf.io.gfile.isdir(directory), name, "must name a folder", directory)
    require(overwrite, name, "must not exist yet (overwrite replaces it)", directory)
    held = {entry.rstrip("/") for entry in tf.io.gfile.listdir(directory)}
    if others := sorted(entry for entry in held if not _EXPORTED.fullmatch(entry)):
        raise InputError(name, "must be an export to be replaced, nothing else is removed (it "
                         f"holds {', '.join(others[:3])})", directory)  # fmt: skip


def _make_folder(path: str, name: str, directory: str) -> None:
    try:
        tf.io.gfile.makedirs(path)
    except tf.errors.OpError as error:
        raise InputError(name, f"must be a folder that can be written ({first_line(error)})",
                         directory) from None  # fmt: skip


def _move_into_place(partial: str, directory: str) -> None:
    if not tf.io.gfile.exists(directory):
        tf.io.gfile.rename(partial, directory)
        return
    old = f"{partial}.old"
    tf.io.gfile.rename(directory, old)
    try:
        tf.io.gfile.rename(partial, directory)
    except BaseException:
        tf.io.gfile.rename(old, directory)
        raise
    tf.io.gfile.rmtree(old)


def _remove(path: str) -> None:
    if tf.io.gfile.exists(path):
        tf.io.gfile.rmtree(path)
