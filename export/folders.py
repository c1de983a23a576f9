"""Folders that appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import uuid
from collections.abc import Iterator

import tensorflow as tf

from simclr_tf import run_folder
from simclr_tf.errors import InputError, first_line, require
from simclr_tf.experiment import check_writable
from simclr_tf.files import is_remote
from simclr_tf.json_files import read_json
from simclr_tf.removal import Kind, held, is_kind, make_scratch, remove_tree, unmarked

# The files of each kind of folder that is written here, and one that no other folder has.
_MODULE = (
    r"saved_model\.pb|fingerprint\.pb|variables/variables\.[\w.-]+"
    r"|assets\.extra/(simclr_tf\.json|encoder\.json|README\.md)"
)
_FILES = (
    r"encoder\.(tar\.gz|keras|onnx|tflite|safetensors|py)"
    r"|encoder_(float16|dynamic|int8)\.tflite"
)
_REPOSITORY = r"README\.md|config\.json|model\.safetensors|encoder\.py"
_BUNDLE = (
    rf"README\.md|{_FILES}|(saved_model|serving/\d{{1,18}})/({_MODULE})"
    rf"|huggingface/({_REPOSITORY})"
)
_REFERENCE = r"checkpoint|simclr_tf\.json|ckpt-\d+\.(index|data-\d+-of-\d+)"
_CONVERTED = r"config\.json|checkpoint|ckpt-\d+\.(index|data-\d+-of-\d+)"
SAVED_MODEL = Kind(_MODULE, r"assets\.extra/simclr_tf\.json")
_CONVERSION = Kind(_CONVERTED, r"config\.json")
_KINDS = (
    SAVED_MODEL,
    Kind(
        _BUNDLE,
        rf"{_FILES}|(saved_model|serving/\d+)/assets\.extra/simclr_tf\.json"
        r"|huggingface/model\.safetensors",
    ),
    Kind(_REPOSITORY, r"model\.safetensors"),
    Kind(_REFERENCE, r"simclr_tf\.json"),
    _CONVERSION,
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
    directory = _resolved(directory)
    check_target(directory, overwrite, name)
    parent, base = os.path.split(directory)
    # Host and process in the name tell the leftovers of a killed export from one under way.
    stem = f".{base}.partial-{socket.gethostname()}-"
    partial = os.path.join(parent, f"{stem}{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        _remove_leftovers(parent, stem)
        _make_folder(partial, name, directory)
        yield partial
        with unmarked(partial):
            _move_into_place(partial, directory)
    finally:
        remove_tree(partial, *_KINDS)


def _remove_leftovers(parent: str, stem: str) -> None:
    """Removes the temporary folders of this host's processes that are gone."""
    if not tf.io.gfile.isdir(parent or "."):
        return
    for name in tf.io.gfile.listdir(parent or "."):
        name = name.rstrip("/")
        found = re.fullmatch(re.escape(stem) + r"(\d{1,9})(-[0-9a-f]{8})?(\.old)?", name)
        if found and not _is_running(int(found[1])):
            remove_tree(os.path.join(parent, name), *_KINDS)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _resolved(directory: str) -> str:
    """The folder itself where the path is a link or ends in `..`: links are not renamed away."""
    directory = directory.rstrip("/")
    return directory if not directory or is_remote(directory) else os.path.realpath(directory)


def check_target(directory: str, overwrite: bool, name: str = "output") -> None:
    """Refuses a folder that must not, or can't, be written.

    Raises:
        InputError: It exists and `overwrite` is False, it holds more than an export, or its place
            can't be written.
    """
    require(bool(directory.rstrip("/")), name, "must name a folder", directory)
    try:
        exists = tf.io.gfile.exists(directory)
        is_folder = tf.io.gfile.isdir(directory)
        names = held(directory) if is_folder else []
    except (OSError, tf.errors.OpError) as error:
        raise InputError(name, f"must be a folder that can be written ({first_line(error)})",
                         directory) from None  # fmt: skip
    require(is_folder or not exists, name, "must name a folder", directory)
    if not is_remote(directory):
        check_writable(directory, name)
    if not names:
        return
    require(overwrite, name, "must not exist yet (--overwrite replaces an earlier export)",
            directory)  # fmt: skip
    if not any(_is_kind(directory, names, kind) for kind in _KINDS):
        shown = ", ".join(_strange_first(names)[:3])
        raise InputError(name, "must be an earlier export and nothing else to be replaced (it "
                         f"holds {shown})", directory)  # fmt: skip


def check_apart(source: str, output: str) -> None:
    """Refuses to write over what is read.

    Raises:
        InputError: They are the same folder, or the source lies in the output.
    """
    if is_remote(source) or is_remote(output):
        return
    read, written = os.path.realpath(source), os.path.realpath(output)
    inside = os.path.commonpath([read, written]) == written
    require(not inside, "output", "must be another folder than the one that is read", output)


def _strange_first(names: list[str]) -> list[str]:
    known = "|".join(kind.files for kind in _KINDS)
    return sorted(names, key=lambda name: (bool(re.fullmatch(known, name)), name))


def _is_kind(directory: str, names: list[str], kind: Kind) -> bool:
    if not is_kind(names, kind):
        return False
    if kind == _CONVERSION:  # a run of ours has the same names; only a conversion says this
        try:
            return "imported_from" in read_json(os.path.join(directory, run_folder.CONFIG))
        except InputError:
            return False
    return True


def _make_folder(path: str, name: str, directory: str) -> None:
    try:
        make_scratch(path)
    except (OSError, tf.errors.OpError) as error:
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
    if not remove_tree(old, *_KINDS):  # came to lie in it since it was looked at
        raise InputError(directory, f"was replaced; what else it held is in {old} now", directory)
