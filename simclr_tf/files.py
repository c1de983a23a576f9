"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import io
import json
import math
import os
import pathlib
import posixpath
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from simclr_tf.errors import InputError, first_line, require

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PathLike = str | os.PathLike[str]

_BEGINNINGS = {".html": b"<!doctype html", ".json": b"{", ".npz": b"PK", ".parquet": b"PAR1"}
_MOST_BELOW = 255  # of the names of what is written in a folder


def is_remote(path: PathLike) -> bool:
    """Whether a path lies where only `tf.io.gfile` reaches (`gs://...`)."""
    return "://" in os.fspath(path)


def check_local(path: PathLike, name: str) -> None:
    """Refuses a path that is not on this machine's own file system.

    Raises:
        InputError: Names the setting.
    """
    require(not is_remote(path), name, "must be a local path", os.fspath(path))


def check_reachable(path: PathLike, name: str) -> None:
    """Refuses a path on a file system that TensorFlow can't reach here.

    Args:
        path: Any path; nothing need be there.
        name: The setting that holds it.

    Raises:
        InputError: Says which package reads such paths.
    """
    import tensorflow as tf  # Takes seconds; a command line is parsed without it.

    text = os.fspath(path)
    scheme = text.split("://")[0]
    try:
        tf.io.gfile.exists(text)
    except tf.errors.UnimplementedError:
        way = "`pip install 'tensorflow-io'`"
        if scheme == "gs":  # weights are fetched (weights/buckets.py), all else is TensorFlow's
            weights = name in ("checkpoint", "teacher")
            way = "`pip install google-cloud-storage`" if weights else "a TensorFlow that reads it"
        raise InputError(name, f"must be on a file system that TensorFlow reads: {scheme}:// needs "
                         f"{way}, or copy the files here", text) from None  # fmt: skip
    except tf.errors.OpError as error:
        raise InputError(name, f"must be on a path that can be read ({first_line(error)})",
                         text) from None  # fmt: skip


def check_length(path: PathLike, name: str) -> None:
    """Refuses a local path that is too long for the file system, and for what goes below it.

    Raises:
        InputError: Names the setting.
    """
    text = os.path.abspath(os.fspath(path))
    place = text
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    longest = max(len(os.fsencode(part)) for part in text.split(os.sep))
    limits = {"PC_NAME_MAX": 255, "PC_PATH_MAX": 4096}
    for limit in limits:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # as on Windows
            limits[limit] = os.pathconf(place, limit)
    require(longest <= limits["PC_NAME_MAX"], name,
            f"must be made of names of at most {limits['PC_NAME_MAX']} bytes", text)  # fmt: skip
    most = limits["PC_PATH_MAX"] - _MOST_BELOW
    require(len(os.fsencode(text)) <= most, name, f"must have at most {most} bytes",
            text)  # fmt: skip


def list_files(folder: PathLike) -> list[str]:
    """The files in and below a local or remote folder: sorted paths relative to it, with `/`."""
    root = os.fspath(folder)
    walk = _remote_walk if is_remote(root) else os.walk
    found = []
    for place, _, names in walk(root):
        relative = place[len(root) :].strip("/")
        found += [posixpath.join(relative, name) for name in names]
    return sorted(found)


@contextlib.contextmanager
def on_local_disk(folder: PathLike, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Gives a local folder that holds what is wanted of a folder.

    A local one is given as it is. The files of a remote one are copied into a temporary folder of
    the same name, which is gone after the block.

    Args:
        folder: Any that `tf.io.gfile` understands.
        wanted: Whether a file is, by its path as in `list_files`.
    """
    source = os.fspath(folder)
    if not is_remote(source):
        yield source
        return
    import tensorflow as tf  # Only remote paths need it; the import takes seconds.

    with tempfile.TemporaryDirectory() as scratch:
        place = os.path.join(scratch, posixpath.basename(source.rstrip("/")))
        os.makedirs(place)
        for name in filter(wanted, list_files(source)):
            target = os.path.join(place, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with contextlib.suppress(tf.errors.NotFoundError):  # just replaced, or given up
                tf.io.gfile.copy(f"{source.rstrip('/')}/{name}", target)
        yield place


def read_regular(path: PathLike, max_bytes: int) -> bytes:
    """All of a local or remote file, with bounds: a pipe or a device would never end.

    Args:
        path: A regular file; a link to one is followed.
        max_bytes: The largest size that is read.

    Raises:
        FileNotFoundError: There is nothing at this path.
        InputError: It is no regular file, too large, or can't be read; names the path.
    """
    name = os.fspath(path)
    read = _read_remote if is_remote(name) else _read_local
    data = read(name, max_bytes)
    require(len(data) <= max_bytes, name, f"must have at most {max_bytes} bytes", "more")
    return data


def write_text_atomically(path: PathLike, text: str) -> None:
    """Writes UTF-8 text with `write_bytes_atomically`."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: PathLike, data: bytes) -> None:
    """Writes a file under a temporary name in its folder, then renames it over `path`.

    A reader sees the old content or the new one, never a part; after a failure the old file is
    as it was and no temporary file is left. Missing folders are made.

    Args:
        path: A local path, or one that `tf.io.gfile` understands (`gs://...`). An object store
            renames by copying: still whole for readers, not a single operation.
        data: The complete content.

    Raises:
        OSError: It can't be written; the error names `path`, not the temporary file.
    """
    target = os.fspath(path)
    if is_remote(target):
        _write_remote(target, data)
    else:
        _write_local(pathlib.Path(target), data)


def remove_leftovers(path: PathLike) -> None:
    """Removes what processes left that were killed while they wrote a local file.

    A file that is being written (`open_temporary`) stays, and so does what is no regular file or
    does not begin as files of this suffix do: only the name says that it was written here.
    """
    if is_remote(path):
        return
    target = pathlib.Path(path)
    begins = _BEGINNINGS.get(target.suffix.lower(), b"")
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.????????.tmp"):
        with contextlib.suppress(OSError):
            if _is_abandoned(leftover, begins):
                leftover.unlink()


def open_temporary(target: PathLike) -> BinaryIO:
    """Opens a new file beside a local one that it is to replace.

    It is locked until it is closed, so that `remove_leftovers` leaves it, and may be read by
    nobody who may not read the one that is there.
    """
    text = os.fspath(target)
    name = os.path.join(os.path.dirname(text), _temporary_name(os.path.basename(text)))
    try:
        mode = stat.S_IMODE(os.stat(text).st_mode) & 0o777
    except OSError:
        mode = None
    first = 0o666 if mode is None else 0o600
    opened = open(name, "xb", opener=lambda path, flags: os.open(path, flags, first))  # noqa: SIM115
    if mode is not None:
        os.chmod(name, mode)  # whatever the umask says
    if fcntl is not None:
        with contextlib.suppress(OSError):  # as on some network file systems
            fcntl.flock(opened.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    return opened


@contextlib.contextmanager
def naming_file(target: PathLike) -> Iterator[None]:
    """Gives errors of the operating system the name of the file that can't be written."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(target)) from None


def set_aside(path: PathLike) -> str:
    """Renames a damaged file, so that nothing is lost when a new one takes its place.

    Returns:
        Its new path: `result.json.damaged`, or `result.json.damaged-2` where that exists.

    Raises:
        OSError: It can't be renamed (`tf.errors.OpError` on remote paths).
    """
    source = os.fspath(path)
    if is_remote(source):
        import tensorflow as tf  # Only remote paths need it; the import takes seconds.

        exists, rename = tf.io.gfile.exists, tf.io.gfile.rename
    else:
        exists, rename = os.path.lexists, os.rename
    target, number = f"{source}.damaged", 1
    while exists(target):
        number += 1
        target = f"{source}.damaged-{number}"
    rename(source, target)
    return target


def require_ours(path: PathLike, beginning: bytes, name: str) -> None:
    """Refuses to replace a file that was not written here.

    Args:
        path: A local or remote path; nothing need be there.
        beginning: What stands in the first kilobyte of files of ours.
        name: The setting that names the place.

    Raises:
        InputError: Something else is there.
    """
    place = os.fspath(path)
    read = _read_remote if is_remote(place) else _read_local
    try:
        found = read(place, 1023)  # and one byte more
    except FileNotFoundError:
        return
    require(beginning in found, name, f"must lead elsewhere: {place} was not written by this "
            "program, and would be lost", place)  # fmt: skip


def write_json(path: PathLike, value: Any) -> None:
    """Writes `value` as indented JSON, atomically.

    NumPy scalars and arrays, dataclasses, mappings, sequences and paths become plain JSON; the
    order of mappings is kept.

    Raises:
        InputError: A number in it is NaN or infinite, which JSON cannot say; the error names where
            it stands. Nothing is written then.
        TypeError: A value has no JSON form.
    """
    plain = _to_plain(value, where="$")
    write_text_atomically(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


def write_npz(path: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed `.npz` file, atomically."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(buffer, **named)
    write_bytes_atomically(path, buffer.getvalue())


def _read_local(path: str, max_bytes: int) -> bytes:
    """At most one byte more than allowed."""
    try:
        # Without O_NONBLOCK, opening a pipe waits for who writes it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    except (OSError, ValueError) as error:  # ValueError: a character that no path can have
        raise InputError(path, "must be a file that can be read", _why(error)) from None
    try:
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        require(is_regular, path, "must be a regular file", "another kind")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(path, "must be a file that can be read", _why(error)) from None
    finally:
        os.close(descriptor)


def _read_remote(path: str, max_bytes: int) -> bytes:
    """At most one byte more than allowed."""
    import tensorflow as tf  # Only remote paths need it; the import takes seconds.

    try:
        found = tf.io.gfile.stat(path)
        require(not found.is_directory, path, "must be a regular file", "a folder")
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read(min(found.length, max_bytes + 1))
    except tf.errors.NotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    except tf.errors.OpError as error:
        raise InputError(path, "must be a file that can be read", first_line(error)) from None


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or first_line(error)


def _write_local(target: pathlib.Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with naming_file(target):
        file = open_temporary(target)
        try:
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise


def _is_abandoned(leftover: pathlib.Path, begins: bytes) -> bool:
    """Whether it is a file that nobody writes, with this beginning or the first part of it."""
    with open(os.open(leftover, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
        if fcntl is not None:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        return is_regular and begins.startswith(file.read(max(len(begins), 1)))


def _write_remote(target: str, data: bytes) -> None:
    import tensorflow as tf  # Only remote paths need it; the import takes seconds.

    folder, name = target.rsplit("/", 1)
    tf.io.gfile.makedirs(folder)
    temporary = f"{folder}/{_temporary_name(name)}"
    try:
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(data)
        tf.io.gfile.rename(temporary, target, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(temporary)
        raise


def _remote_walk(root: str) -> Iterator[tuple[str, list[str], list[str]]]:
    import tensorflow as tf  # Only remote paths need it; the import takes seconds.

    return iter(tf.io.gfile.walk(root))


def _temporary_name(name: str) -> str:
    return f".{name}.{uuid.uuid4().hex[:8]}.tmp"


def _to_plain(value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    elif isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(where, "must be finite to be written as JSON", value)
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return value
