"""The folder of a case, and what a command changed in it.

box/work      the working folder: what the command may read and, in parts, write
box/outside   the sentinel: nobody named it, links in `work` point to it
box/home, box/tmp   HOME and TMPDIR
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import stat
from collections.abc import Iterable, Mapping

_HASHED_BYTES = 2**23  # of larger files, size and time tell
# State of a path: kind and permissions, size, time of the last change, content.
State = tuple[int, int, int, str]


class Sandbox:
    """A folder that is built anew for every case.

    Args:
        folder: Where it lies; an earlier one is removed.
        fixtures: The folder with what `add` copies.
    """

    def __init__(self, folder: pathlib.Path, fixtures: pathlib.Path):
        self.folder, self._fixtures = folder, fixtures
        self.work, self.outside = folder / "work", folder / "outside"
        self.home, self.temporary = folder / "home", folder / "tmp"
        remove(folder)
        for place in (self.work, self.outside, self.home, self.temporary):
            place.mkdir(parents=True)
        _fill_sentinel(self.outside)

    def add(self, name: str) -> None:
        """Copies a fixture into the working folder."""
        source, target = self._fixtures / name, self.work / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)

    def state(self) -> dict[str, State]:
        """The state of every path, by its path relative to the folder."""
        found = {}
        for place, folders, files in os.walk(self.folder):
            for name in [*folders, *files]:
                path = os.path.join(place, name)
                found[os.path.relpath(path, self.folder)] = _state(path)
        return found


def differences(
    before: Mapping[str, State],
    after: Mapping[str, State],
    writes: Iterable[str] = (),
    kept: Iterable[str] = (),
) -> dict[str, str]:
    """What changed outside of what may: path -> `new`, `gone` or `changed`.

    Args:
        before: From `Sandbox.state`.
        after: The same, later.
        writes: Paths that may change with all that lies below them.
        kept: Paths below those that may not.
    """

    def may(path: str) -> bool:
        return _below(path, writes) and not _below(path, kept)

    # A folder's time changes with what is made or removed in it, which may be allowed there.
    parents = {"work", "tmp", "home", *(os.path.dirname(path) for path in writes)}
    found = {}
    for path in sorted(before.keys() | after.keys()):
        if may(path) or before.get(path) == after.get(path):
            continue
        if path not in before:
            found[path] = "new"
        elif path not in after:
            found[path] = "gone"
        elif path not in parents:
            found[path] = "changed"
    return found


def remove(folder: pathlib.Path) -> None:
    """Removes a folder of ours, whatever permissions a case has left in it."""
    if not os.path.lexists(folder):
        return
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o700)
    shutil.rmtree(folder)


def _below(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _state(path: str) -> State:
    found = os.lstat(path)
    content = ""
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(found.st_mode) and found.st_size <= _HASHED_BYTES:
        try:
            content = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
        except OSError as error:
            content = type(error).__name__
    return found.st_mode, found.st_size, found.st_mtime_ns, content


def _fill_sentinel(outside: pathlib.Path) -> None:
    (outside / "docs" / "letters").mkdir(parents=True)
    (outside / "empty").mkdir()
    (outside / "docs" / "thesis.txt").write_text("years of work\n")
    (outside / "docs" / "letters" / "one.txt").write_text("dear\n")
    (outside / "docs" / ".hidden").write_text("hidden\n")
    (outside / "notes.txt").write_text("notes\n")
    (outside / "private.txt").write_text("secret\n")
    (outside / "private.txt").chmod(0o600)
    (outside / "link").symlink_to("docs")
    for place, folders, files in os.walk(outside, topdown=False):
        for name in [*folders, *files]:
            os.utime(os.path.join(place, name), (1e9, 1e9), follow_symlinks=False)
    os.utime(outside, (1e9, 1e9))
