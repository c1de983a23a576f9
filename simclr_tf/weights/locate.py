"""Finds the checkpoint that a path means: a run, an export, a published folder, an archive."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf

from simclr_tf import run_folder
from simclr_tf.errors import InputError, one_line, require
from simclr_tf.files import check_reachable, is_remote
from simclr_tf.weights import archives, buckets, integrity, published, torch_files

SAVED_MODEL_FILE = "saved_model.pb"
_ARCHIVE = re.compile(r"\.(tar\.gz|tgz)(\?.*)?$")


class Location(NamedTuple):
    """Where weights lie.

    Attributes:
        prefix: Path of the variables without `.index`.
        saved_model: The SavedModel folder they belong to, None for a checkpoint.
        run_dir: Folder of the run of ours that wrote the checkpoint, None for others.
        torch: Whether `prefix` is a file of PyTorch.
    """

    prefix: str
    saved_model: str | None = None
    run_dir: str | None = None
    torch: bool = False


def checkpoint_step(prefix: str) -> int | None:
    """The number at the end of a checkpoint's name (`.../ckpt-120` -> 120), None without one."""
    match = re.search(r"-(\d+)$", prefix)
    return int(match.group(1)) if match else None


def is_study(folder: str) -> bool:
    """Whether a local or remote folder is a study's, whose runs lie below it."""
    return tf.io.gfile.exists(os.path.join(folder, run_folder.STUDY))


def list_checkpoints(folder: str) -> list[str]:
    """Prefixes of the checkpoints in a folder, oldest first; [] where there is no such folder.

    The files decide, not the `checkpoint` file beside them, which published checkpoints lack.
    """
    indexes = tf.io.gfile.glob(os.path.join(glob.escape(folder), "*.index"))
    prefixes = [index.removesuffix(".index") for index in indexes]
    return sorted(prefixes, key=lambda prefix: (checkpoint_step(prefix) or 0, prefix))


def newest_checkpoint(folder: str) -> str | None:
    """The last of `list_checkpoints`, None without any; its files are not looked at."""
    return next(reversed(list_checkpoints(folder)), None)


def damage(prefix: str) -> str | None:
    """What is wrong with a checkpoint for one who wants its weights; None for an intact one.

    In a folder without any manifest, which another program or an older version wrote, checkpoints
    are taken as they are: whoever reads them meets TensorFlow's checksums anyway.
    """
    guarded = integrity.any_manifest(os.path.dirname(prefix))
    return integrity.problem(prefix, contents=guarded)


def newest_intact(folder: str) -> str | None:
    """The newest checkpoint without damage, with a warning for each newer one that is passed over.

    Returns:
        Its prefix; None in a folder without checkpoints.

    Raises:
        InputError: There are checkpoints, and all are damaged.
    """
    damaged: dict[str, str] = {}
    for prefix in reversed(list_checkpoints(folder)):
        what = damage(prefix)
        if what is None:
            for newer, reason in damaged.items():
                warnings.warn(f"{newer} is damaged ({reason}); using {prefix}", stacklevel=2)
            return prefix
        damaged[prefix] = what
    if damaged:
        listed = "; ".join(
            f"{os.path.basename(prefix)}: {what}" for prefix, what in damaged.items()
        )
        raise InputError("checkpoint", f"must be a folder with an intact checkpoint ({listed})",
                         folder)  # fmt: skip
    return None


def locate(path: str) -> Location:
    """The weights meant by a local path, or one on a file system that TensorFlow reads.

    Args:
        path: A checkpoint prefix or one of its files; a folder with checkpoints (the newest
            intact one counts), such as a run; a SavedModel folder or its `saved_model.pb`; the
            folder that holds a run's exports; a `.safetensors` file, a folder with one, or a file
            of `torch.save`.

    Raises:
        InputError: There is nothing of the kind, all checkpoints in the folder are damaged, or
            TensorFlow can't read such paths here.
    """
    return _locate(path, newest_intact)


def _locate(path: str, choose: Callable[[str], str | None]) -> Location:
    path = path.rstrip("/") if len(path) > 1 else path
    check_reachable(path, "checkpoint")
    if not tf.io.gfile.isdir(path):
        return _locate_file(path, choose)
    if prefix := choose(path):
        return _checkpoint(prefix)
    folder = _saved_model_in(path)
    if folder is None and (file := torch_files.file_in(path)):
        return Location(file, torch=True)
    if folder is None:
        hint = ", such as a run in the cells/ of this study" if is_study(path) else ""
        raise InputError("checkpoint", "must be a folder that holds a checkpoint or a SavedModel"
                         + hint, path)  # fmt: skip
    prefix = _variables_of(folder)
    if not tf.io.gfile.exists(f"{prefix}.index"):
        raise InputError("checkpoint", "must be a SavedModel with its variables/ folder", folder)
    return Location(prefix, saved_model=folder)


def _locate_file(path: str, choose: Callable[[str], str | None]) -> Location:
    if os.path.basename(path) == SAVED_MODEL_FILE:
        return _locate(os.path.dirname(path) or ".", choose)
    if torch_files.is_torch_file(path):
        return Location(path, torch=True)
    require(not path.endswith(".keras"), "checkpoint", "must be a checkpoint or a SavedModel; a "
            ".keras file opens with keras.models.load_model", path)  # fmt: skip
    prefix = re.sub(r"\.(index|meta|manifest\.json|data-\d+-of-\d+)$", "", path)
    if not tf.io.gfile.exists(f"{prefix}.index"):
        raise InputError("checkpoint", "must be a checkpoint prefix, a run, a SavedModel, or a "
                         "folder with one of them", path)  # fmt: skip
    return _checkpoint(prefix)


def _checkpoint(prefix: str) -> Location:
    folder = os.path.dirname(prefix)
    parent = os.path.dirname(folder)
    if os.path.basename(folder) == "variables" and _is_saved_model(parent):
        return Location(prefix, saved_model=parent)
    has_config = tf.io.gfile.exists(os.path.join(folder, run_folder.CONFIG))
    return Location(prefix, run_dir=folder if has_config else None)


def _is_saved_model(folder: str) -> bool:
    return tf.io.gfile.exists(os.path.join(folder, SAVED_MODEL_FILE))


def _variables_of(folder: str) -> str:
    return os.path.join(folder, "variables", "variables")


def _saved_model_in(folder: str) -> str | None:
    """The folder itself, or the newest step among exports in it or in its `saved_model/`."""
    if _is_saved_model(folder) or tf.io.gfile.exists(f"{_variables_of(folder)}.index"):
        return folder
    inner = os.path.join(folder, run_folder.EXPORTS)
    if _is_saved_model(inner):
        return inner
    for parent in (folder, inner):
        names = tf.io.gfile.listdir(parent) if tf.io.gfile.isdir(parent) else []
        steps = sorted((name.rstrip("/") for name in names if name.rstrip("/").isdigit()), key=int)
        folders = [os.path.join(parent, step) for step in steps]
        if found := [folder for folder in folders if _is_saved_model(folder)]:
            return found[-1]
    return None


def is_archive(path: str) -> bool:
    """Whether the path or URL names a TF-Hub archive (`.tar.gz`) or a page of a hub server."""
    if path.startswith(("http://", "https://")):
        return True
    return bool(_ARCHIVE.search(path)) and not tf.io.gfile.isdir(path)


def check(path: str) -> None:
    """Refuses a path without weights as early as possible; URLs are not asked, no file is read.

    Raises:
        InputError: There is nothing of the kind.
    """
    path = published.address(path)
    if buckets.is_address(path):
        buckets.check(path)
        return
    if path.startswith(("http://", "https://")):
        return
    path = _archive_in(path)
    if is_archive(path):
        check_reachable(path, "checkpoint")
        require(tf.io.gfile.exists(path), "checkpoint", "must exist", path)
    else:
        _locate(path, newest_checkpoint)


def is_fetched(path: str) -> bool:
    """Whether a path stands for weights that are fetched from a bucket."""
    return published.is_name(path) or buckets.is_address(path)


def fetched(path: str) -> str:
    """The local copy of the weights that a name or a `gs://` address means; others as they are.

    Raises:
        InputError: They can't be fetched.
    """
    path = published.address(path)
    return buckets.fetch(path) if buckets.is_address(path) else path


@contextlib.contextmanager
def unpacked(path: str) -> Iterator[str]:
    """A path that `locate` takes: archives are unpacked, URLs fetched, others passed on.

    Args:
        path: Any path; the name of a published encoder or an address in a bucket, whose weights are
            fetched once (`buckets`); a local `.tar.gz` (unpacked while the block runs), or an
            http(s) URL of one, which is fetched once (`archives.cache_folder`).

    Raises:
        InputError: The archive can't be fetched or read.
    """
    path = _archive_in(fetched(path))
    if not is_archive(path):
        yield path
    elif path.startswith(("http://", "https://")):
        yield archives.fetch(path)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _unpack(path, folder)
            names = os.listdir(folder)
            inner = os.path.join(folder, names[0]) if len(names) == 1 else folder
            try:
                yield inner if os.path.isdir(inner) else folder
            except InputError as error:  # the folder is gone when the message is read
                name, constraint = (
                    text.replace(folder, path) for text in (error.name, error.constraint)
                )
                raise InputError(name, constraint, path) from None


def _archive_in(path: str) -> str:
    """The archive in an export of several formats without a SavedModel, else the path itself."""
    archive = os.path.join(path, archives.EXPORTED)
    if (
        is_remote(path)
        or not os.path.isfile(archive)
        or os.path.isdir(os.path.join(path, run_folder.EXPORTS))
    ):
        return path
    return archive


def _unpack(path: str, folder: str) -> None:
    require(is_remote(path) or os.path.isfile(path), "checkpoint", "must be a regular file", path)
    try:
        size = tf.io.gfile.stat(path).length
        with tf.io.gfile.GFile(path, "rb") as file:
            archives.unpack(file, size, folder, path)
    except tf.errors.OpError as error:
        raise InputError("checkpoint", f"must be a readable .tar.gz ({one_line(error)})",
                         path) from None  # fmt: skip
