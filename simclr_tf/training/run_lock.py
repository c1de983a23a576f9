"""One training run per folder."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import functools
import json
import os
import shlex
import socket
import stat
import sys
from collections.abc import Callable, Iterator

from simclr_tf import console, run_folder
from simclr_tf.console import Say
from simclr_tf.errors import InputError, RunError
from simclr_tf.files import is_remote
from simclr_tf.json_files import field, parse_json
from simclr_tf.removal import refuse_links

_MAX_OWNER_BYTES = 1 << 16
# A link is not followed: what it leads to would be overwritten.
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

# Descriptors of the locks that this process holds.
_held: set[int] = set()


class InUseError(InputError):
    """Another run holds the lock of a folder."""


@contextlib.contextmanager
def lock_run(model_dir: str, say: Say = console.say) -> Iterator[Callable[[], None]]:
    """Keeps other training runs out of a folder while the block runs.

    The lock is `flock` on `model_dir/run.lock`, which names its owner. It ends with the process,
    however that ends: what a killed one leaves is a file without a lock, which the next run takes
    over. Forked children do not hold it. It covers all processes that see the same file system,
    other hosts where `flock` reaches them (NFS does by default). Where several processes make up
    one run, one of them takes the lock.

    Object stores and file systems without `flock` go unguarded, with a note.

    Args:
        model_dir: Folder of the run; made where it is missing, and removed again if nothing else
            came to lie in it.
        say: Receives the notes.

    Yields:
        A check, for the block to call before it writes: raises `RunError` once the folder, or the
        lock in it, has been removed or replaced.

    Raises:
        InUseError: Another run holds the lock.
        InputError: The folder can't be written, something else is in the lock's place, or a link in
            that of a folder of ours.
    """
    refuse_links(model_dir)
    descriptor = None
    is_new = not is_remote(model_dir) and not os.path.isdir(model_dir)
    if is_remote(model_dir):
        say(f"note: {model_dir} can't be locked: nothing keeps a second run out of it")
    else:
        descriptor = _acquire(model_dir, say)
    path = os.path.join(model_dir, run_folder.LOCK)

    def check() -> None:
        if descriptor is not None and not _is_at(path, descriptor):
            raise RunError(f"{model_dir} was removed or replaced while the run was at work in it; "
                           "nothing more is written")  # fmt: skip

    try:
        yield check
    finally:
        if descriptor is not None and descriptor in _held:  # not so in a forked child
            _release(path, descriptor)
        if is_new:
            with contextlib.suppress(OSError):  # it is in use
                os.rmdir(model_dir)


def _acquire(model_dir: str, say: Say) -> int | None:
    """The descriptor of the locked file, None where the file system has no locks."""
    path = os.path.join(model_dir, run_folder.LOCK)
    _let_go_in_children()
    while True:
        try:
            os.makedirs(model_dir, exist_ok=True)
            descriptor = os.open(path, _OPEN_FLAGS, 0o666)
        except OSError as error:
            constraint = (
                f"must be a folder that can be written ({run_folder.LOCK}: {error.strerror})"
            )
            raise InputError("model_dir", constraint, model_dir) from None
        _require_plain(descriptor, path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _describe_owner(descriptor)
            os.close(descriptor)
            who = f"another run ({owner})" if owner else "another run"
            raise InUseError("model_dir", f"must not be in use by {who}", model_dir) from None
        except OSError as error:  # ENOLCK, ENOTSUP and the like
            _remove_unused(path, descriptor)
            say(f"note: {model_dir} can't be locked ({error.strerror}): nothing keeps a second "
                "run out of it")  # fmt: skip
            return None
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # its owner removed it between the two calls; there may be a new one
    _held.add(descriptor)
    if former := _describe_owner(descriptor):
        say(f"note: taking over {path} from a run that was killed ({former})")
    _write_owner(descriptor)
    return descriptor


def _require_plain(descriptor: int, path: str) -> None:
    """Refuses a lock that is somebody's file by another name: its owner is written into it."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise InputError(path, "must be a plain file of its own, or be removed", path)


def _release(path: str, descriptor: int) -> None:
    """Removes the file while it is locked, so that no one else can hold it."""
    _held.discard(descriptor)
    with contextlib.suppress(OSError):
        if _is_at(path, descriptor):
            os.unlink(path)
    os.close(descriptor)


def _remove_unused(path: str, descriptor: int) -> None:
    """Removes the file that could not be locked, unless it is another run's."""
    with contextlib.suppress(OSError):
        if os.fstat(descriptor).st_size == 0:
            os.unlink(path)
    os.close(descriptor)


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _write_owner(descriptor: int) -> None:
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }
    with contextlib.suppress(OSError):  # a full disk: the lock holds without it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(owner) + "\n").encode(), 0)


def _describe_owner(descriptor: int) -> str | None:
    """The owner recorded in the file, None where there is none (yet)."""
    try:
        owner = parse_json(os.pread(descriptor, _MAX_OWNER_BYTES, 0), run_folder.LOCK)
        pid = field(owner, "pid", int, run_folder.LOCK)
        host, since = (field(owner, key, str, run_folder.LOCK) for key in ("host", "since"))
        return f"process {pid} on host {host} since {since}"
    except (OSError, InputError):
        return None


@functools.cache
def _let_go_in_children() -> None:
    """From now on, forked children close their copies, each of which would keep the lock."""
    os.register_at_fork(after_in_child=_close_all)


def _close_all() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()
