"""Scratch folders, and the one way in which folders are deleted.

What was not made here is never deleted: a folder goes only if it carries a mark of ours, and a link
goes as the link that it is, wherever it leads.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from simclr_tf.errors import InputError
from simclr_tf.files import PathLike, is_remote, list_files, write_text_atomically

MARK = ".simclr_tf-scratch"
_MARK_TEXT = "simclr_tf made this folder for a moment and deletes it with all that is in it.\n"
_NOT_A_FILE = " (a link, or no regular file)"


RUN_FOLDERS = ("cells", "eval", "examples", "predictions", "report", "saved_model", "train")


def refuse_links(folder: PathLike) -> None:
    """Refuses a run's folder in which a folder of ours is a link: what it leads to is not ours.

    Raises:
        InputError: Names the link.
    """
    for name in RUN_FOLDERS:
        path = os.path.join(os.fspath(folder), name)
        if not is_remote(path) and os.path.islink(path):
            raise InputError(path, "must not be a link: what a run writes, and deletes, stays in "
                             "its own folder", os.readlink(path))  # fmt: skip


class Kind(NamedTuple):
    """A kind of folder that is written here, by the files below it.

    Attributes:
        files: Pattern that every path below it matches, with `/`.
        mark: Pattern of one that no other folder has.
    """

    files: str
    mark: str


def make_scratch(path: PathLike) -> None:
    """Makes a new folder that `remove_tree` deletes, whatever comes to lie in it.

    Args:
        path: Local, or one that `tf.io.gfile` understands; there must be nothing, not even a link.

    Raises:
        OSError, tf.errors.OpError: It is there already, or can't be made.
    """
    folder = os.fspath(path)
    if is_remote(folder):
        import tensorflow as tf  # Only remote paths need it; the import takes seconds.

        tf.io.gfile.makedirs(folder)
    else:
        os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
        os.mkdir(folder)
    _mark(folder)


@contextlib.contextmanager
def unmarked(path: PathLike) -> Iterator[None]:
    """Makes a scratch folder an ordinary one, which the block renames to its place.

    Where the block fails it is scratch again.
    """
    folder = os.fspath(path)
    mark = os.path.join(folder, MARK)
    if is_remote(mark):
        import tensorflow as tf  # Only remote paths need it; the import takes seconds.

        tf.io.gfile.remove(mark)
    else:
        os.unlink(mark)
    try:
        yield
    except BaseException:
        _mark(folder)
        raise


def _mark(folder: str) -> None:
    mark = os.path.join(folder, MARK)
    if is_remote(mark):
        write_text_atomically(mark, _MARK_TEXT)
        return
    with open(mark, "x", encoding="utf-8") as file:  # the name alone marks: no rename is needed
        file.write(_MARK_TEXT)


def remove_tree(path: PathLike, *kinds: Kind) -> bool:
    """Deletes a folder with all that is in it, if it is a scratch folder or of one of the kinds.

    A link in its place is unlinked. Links inside are not followed.

    Args:
        path: Local, or one that `tf.io.gfile` understands.
        kinds: Of folders that may go, beside scratch folders and empty ones.

    Returns:
        Whether nothing is there (any more); False where something of others is, untouched.

    Raises:
        OSError, tf.errors.OpError: It can't be deleted.
    """
    folder = os.fspath(path).rstrip("/")
    if is_remote(folder):
        import tensorflow as tf  # Only remote paths need it; the import takes seconds.

        if not tf.io.gfile.exists(folder):
            return True
        ours = tf.io.gfile.isdir(folder) and is_ours(folder, *kinds)
        if ours:
            tf.io.gfile.rmtree(folder)
        return ours
    if os.path.islink(folder):
        os.unlink(folder)
    elif os.path.lexists(folder):
        if not os.path.isdir(folder) or not is_ours(folder, *kinds):
            return False
        shutil.rmtree(folder)
    return True


def is_ours(folder: PathLike, *kinds: Kind) -> bool:
    """Whether a folder is scratch, empty, or of one of the kinds."""
    names = held(folder)
    return not names or MARK in names or any(is_kind(names, kind) for kind in kinds)


def is_kind(names: Iterable[str], kind: Kind) -> bool:
    """Whether a folder that holds these names, as `held` lists them, is of the kind."""
    names = list(names)
    known = all(re.fullmatch(kind.files, name) for name in names)
    return known and any(re.fullmatch(kind.mark, name) for name in names)


def held(folder: PathLike) -> list[str]:
    """What lies below a folder, plain folders apart: sorted paths relative to it, with `/`.

    Links and whatever else is no regular file are not followed and say so behind their name, which
    no file of a kind has.
    """
    root = os.fspath(folder)
    if is_remote(root):
        return list_files(root)
    found = []
    for place, folders, files in os.walk(root, onerror=_raise):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISDIR(mode):
                relative = os.path.relpath(path, root).replace(os.sep, "/")
                found.append(relative if stat.S_ISREG(mode) else relative + _NOT_A_FILE)
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error
