"""Hostile values, and hostile changes of files."""

from __future__ import annotations

import json
import os
import pathlib
import random
from typing import Any

from fuzz.case import Apply

_DEEP = "@@deep@@"
LONG = "x" * 5000
ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b2J"
# What a number of a flag or a record may be instead.
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "-0.0", "1", "2", "0.5", "1e-320", "1e308", "-1e308",
           "1" + "0" * 400, "-1" + "0" * 400, "2147483647", "2147483648", "4294967296",
           "9223372036854775807", "9223372036854775808", "1e5", "1e9", "100000", "1000000000",
           "", " ", "0x10", "١٢", "1_000", "1e", "--1", "None", "true", "3 4", "1,5")  # fmt: skip
INTEGERS = ("-1", "0", "1", "2", "3", "7", "255", "65536", "99999", "1000000", "2147483646",
            "2147483647", "2147483648", "-2147483648", "4294967296", "9223372036854775807",
            "9223372036854775808", "-9223372036854775808", "1" + "0" * 400)  # fmt: skip
TEXTS = ("", " ", ",", ",,", "-", "--", ".", "..", "/", "%s%n", "{}", "None", "a\nb", "ü€😀",
         "caf\udce9", ESCAPES, LONG, "a" * 300, "all", "none", "all,none", "1,,2", "nan,inf",
         "[]", "\\", "'", '"', "$(touch pwned)", "`touch pwned`", "; touch pwned", "|", "*",
         "train[:0%]", "train[5:2]", "train[::2]", "train+train", "test[:1]", "1e400",
         "eval/nothing", "0%", "101%", "-1%", "0_per_class", "999999999999_per_class")  # fmt: skip
# Names in the working folder of `kinds.flag_values.add_places`, and beyond.
PATHS = ("", " ", ".", "..", "~", "~nobody/x", "absent", "absent/deep/er", "photos",
         "photos/train/cat/0.jpg", "fifo", "zero", "full", "loop", "sparse.bin", "empty",
         "empty.bin",
         "garbage.bin", "to_outside", "to_thesis", "../outside/docs/thesis.txt", "dangling",
         "no\nwhere", "caf\udce9", ESCAPES, "x" * 300, "d/" * 1200 + "x", "a" * 5000,
         "http://127.0.0.1:9/x.tar.gz", "s3://bucket/x", "file:///etc/hostname", "://", "gs:",
         "photos/", "./photos/../photos", "*", "x.npz", "x.parquet", "x.keras", "x.tar.gz",
         "x.html", "x.png", "x.json", "/dev/zero", "/dev/stdin", "/proc/self/mem")  # fmt: skip
_SCALARS: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 5, 10**18, 2**31, 2**63, 10**400, 1e308, -1e308, 1e-320,
    float("nan"), float("inf"), "", "x", LONG, "\0", "a\0b", ESCAPES, "\ud800", "../../outside",
    "../outside/docs/thesis.txt", "/dev/zero", "/etc/hostname", "fifo", "http://127.0.0.1:9/x",
    "1", "nan", "a\nb", [], {}, [None], [[]], {"": None}, [0] * 1000, {"a": {"b": 1}}, _DEEP,
)  # fmt: skip


def _places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all parts of a JSON value, itself included."""
    found = [where]
    items = (
        value.items() if isinstance(value, dict)
        else enumerate(value[:20]) if isinstance(value, list) else ()
    )  # fmt: skip
    for key, item in items:
        found += _places(item, (*where, key))
    return found


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def hostile_json(text: str, random_: random.Random) -> tuple[str, str]:
    """A JSON text with one part replaced, removed or added; and what was done."""
    value = json.loads(text)
    root = {"": value}
    place = random_.choice(_places(value))
    parent: Any = root
    for key in ("", *place)[:-1]:
        parent = parent[key]
    key = ("", *place)[-1]
    how = random_.choice(("set", "set", "set", "remove", "add"))
    if how == "remove" and place:
        del parent[key]
        done = f"without {place}"
    elif how == "add" and isinstance(parent[key], dict):
        name = random_.choice(("", "x", LONG, "__class__", "format_version", ESCAPES, "a/../b"))
        parent[key][name] = random_.choice(_SCALARS)
        done = f"{place} also has {name[:20]!r}"
    else:
        chosen = random_.choice(_SCALARS)
        parent[key] = chosen
        done = f"{place} = {str(chosen)[:40]!r}"
    text = json.dumps(root[""], indent=2)
    return text.replace(f'"{_DEEP}"', _nested(100_000)), done


def change_json(name: str) -> Apply:
    """A change of a JSON file: of its content, or of its bytes."""

    def apply(work: pathlib.Path, random_: random.Random) -> str:
        path = work / name
        if random_.random() < 0.25 or not _is_ours(work, path):
            return change_bytes(name)(work, random_)
        text, done = path.read_text(), []
        for _ in range(random_.choice((1, 1, 1, 2, 3))):
            try:
                text, what = hostile_json(text, random_)
            except (RecursionError, ValueError):  # what one made, the next can't read
                break
            done.append(what)
        path.write_text(text)
        return f"{name}: {'; '.join(done)}"

    return apply


def damage(content: bytes, random_: random.Random) -> tuple[bytes, str]:
    """Bytes with flipped, missing or other parts; and what was done."""
    size = len(content)
    how = random_.choice(("flip", "flip", "flip", "cut", "zero", "insert", "empty", "other"))
    changed = bytearray(content)
    if how == "flip" and size:
        places = [random_.randrange(size) for _ in range(random_.choice((1, 1, 2, 8, 64)))]
        for place in places:
            changed[place] ^= 1 << random_.randrange(8)
        return bytes(changed), f"bits flipped at {places[:4]}"
    if how == "cut" and size:
        at = random_.randrange(size)
        return content[:at], f"cut off at {at} of {size}"
    if how == "zero" and size:
        at = random_.randrange(size)
        changed[at : at + 64] = bytes(len(changed[at : at + 64]))
        return bytes(changed), f"64 zeros at {at}"
    if how == "insert":
        at = random_.randrange(size + 1)
        return content[:at] + random_.randbytes(16) + content[at:], f"16 bytes inserted at {at}"
    if how == "empty":
        return b"", "empty"
    other = random_.choice((b"\xff\xfe\x00", b"null", b"[" * 200_000, b"{}", b"[]", b"1" * 5000,
                            b"{" + b'"a":{' * 50_000, b"\x00" * 100, b"NaN", b'"text"',
                            b"\xef\xbb\xbf{}", random_.randbytes(300)))  # fmt: skip
    return other, f"replaced by {other[:12]!r}... ({len(other)} bytes)"


def change_bytes(name: str) -> Apply:
    """A change of a file's bytes, or of what lies in its place."""

    def apply(work: pathlib.Path, random_: random.Random) -> str:
        path = work / name
        if random_.random() < 0.2 or not _is_ours(work, path):
            return plant(name)(work, random_)
        content, done = damage(path.read_bytes(), random_)
        path.write_bytes(content)
        return f"{name}: {done}"

    return apply


def _is_in(work: pathlib.Path, path: pathlib.Path) -> bool:
    """Whether no folder above a path is a link out of the working folder."""
    return path.parent.resolve().is_relative_to(work.resolve())


def _is_ours(work: pathlib.Path, path: pathlib.Path) -> bool:
    """Whether a path is a regular file that an earlier change has not made something else."""
    return _is_in(work, path) and path.is_file() and not path.is_symlink()


def clear(path: pathlib.Path) -> None:
    """Removes what lies at a place of the working folder, and makes the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            clear(inner)
        path.rmdir()
    elif os.path.lexists(path):
        path.unlink()


PLANTED = ("folder link", "file link", "private link", "dangling link", "link to /dev/zero", "loop",
           "fifo", "folder", "sparse file", "nothing", "empty file", "text")  # fmt: skip


def plant(name: str, kinds: tuple[str, ...] = PLANTED) -> Apply:
    """Puts something else in a file's or folder's place."""

    def apply(work: pathlib.Path, random_: random.Random) -> str:
        kind = random_.choice(kinds)
        path = work / name
        if not _is_in(work, path):
            return f"{name} lies behind a link already"
        clear(path)
        outside = pathlib.Path(os.path.relpath(work.parent / "outside", path.parent.resolve()))
        links = {
            "folder link": outside / "docs",
            "file link": outside / "docs" / "thesis.txt",
            "private link": outside / "private.txt",
            "dangling link": outside / "new",
            "link to /dev/zero": pathlib.Path("/dev/zero"),
            "loop": pathlib.Path(path.name),
        }
        if kind in links:
            path.symlink_to(links[kind])
            return f"{name} is a link to {links[kind]}"
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
            (path / "notes.txt").write_text("the user's\n")
        elif kind == "sparse file":
            with open(path, "wb") as file:
                file.truncate(20 * 2**30)
        elif kind != "nothing":
            path.write_text("" if kind == "empty file" else "the user's\n")
        return f"{name}: {kind}"

    return apply
