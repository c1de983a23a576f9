"""Keeps a case's process in its folder, and notes what it tries beyond it."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

# Landlock (man 7 landlock): numbers of its calls, the same on every architecture.
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_NO_NEW_PRIVILEGES = 38
# Writing, removing and making files; moving them between folders; cutting them off.
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_RIGHTS_BY_VERSION = {1: _WRITE_FILE | sum(1 << bit for bit in range(4, 13)), 2: 1 << 13,
                      3: _TRUNCATE}  # fmt: skip
_DEVICES = ("/dev/null", "/dev/full", "/dev/zero", "/dev/tty")

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HARMLESS = ("lscpu",)  # joblib, below scikit-learn, asks it for the number of cores
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile")
# Events of changes of the file system -> positions of their paths and of the folders' descriptors.
_CHANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
}
_FOLLOWING = ("os.chmod", "os.chown", "os.truncate", "os.utime")  # act on what a link points to


def can_confine() -> bool:
    """Whether the kernel has Landlock."""
    return _version() > 0


def confine(folder: str) -> None:
    """Forbids this process to write anywhere but in `folder`, where the kernel can.

    Raises:
        OSError: The kernel has Landlock, and refuses.
    """
    version = _version()
    if version <= 0:
        return
    rights = 0
    for since, added in _RIGHTS_BY_VERSION.items():
        rights |= added if version >= since else 0
    ruleset = _call(_CREATE, struct.pack("=Q", rights), ctypes.c_size_t(8), 0)
    on_devices = rights & (_WRITE_FILE | _TRUNCATE)
    allowed = {folder: rights, **dict.fromkeys(_DEVICES, on_devices)}
    for path, some in allowed.items():
        if os.path.exists(path):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            _call(_ADD_RULE, ruleset, 1, struct.pack("=Qi", some, place), 0)
            os.close(place)
    _library().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def watch(folder: str, note: Callable[[str], None]) -> None:
    """Notes what Python code of this process does from now on that no command of ours should.

    That is: changing files outside of `folder`, starting programs, unpickling, and connections to
    other machines. What TensorFlow's own code does is seen by its effects only.
    """
    root = os.path.realpath(folder) + os.sep
    busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            for text in _deeds(event, arguments, root):
                note(text)
        finally:
            busy = False

    sys.addaudithook(hook)


def _deeds(event: str, arguments: tuple[Any, ...], root: str) -> list[str]:
    if event in _PROGRAMS and arguments[0] not in _HARMLESS:
        return [f"starts a program: {event} {arguments[0]!r}"]
    if event == "pickle.find_class":
        return [f"unpickles: {arguments[0]}.{arguments[1]}"]
    if event == "socket.connect":
        address = arguments[1]
        local = not isinstance(address, tuple) or str(address[0]).startswith(("127.", "::1"))
        return [] if local else [f"connects: {address!r}"]
    paths = []
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        paths = [os.path.realpath(os.fsdecode(arguments[0]))] if arguments[2] & _WRITING else []
    elif event in _FOLLOWING and not isinstance(arguments[0], int):
        paths = [os.path.realpath(os.fsdecode(arguments[0]))]
    elif event in _CHANGES:
        paths = [_place(arguments, *positions) for positions in _CHANGES[event]]
    outside = [path for path in paths if not path.startswith((root, "/dev/", "/proc/self/"))]
    return [f"writes outside: {event} {path}" for path in outside]


def _place(arguments: tuple[Any, ...], path: int, descriptor: int) -> str:
    """The path that a change acts on, the links of its folders followed."""
    name = os.fsdecode(arguments[path])
    folder = arguments[descriptor] if descriptor < len(arguments) else -1
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(name):
        name = os.path.join(f"/proc/self/fd/{folder}", name)
    return os.path.join(os.path.realpath(os.path.dirname(name) or "."), os.path.basename(name))


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _version() -> int:
    """The version of Landlock, at most 0 without it."""
    if not sys.platform.startswith("linux"):
        return 0
    return _library().syscall(_CREATE, None, ctypes.c_size_t(0), 1)


def _call(number: int, *arguments: Any) -> int:
    result = _library().syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result
