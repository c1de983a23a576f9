"""JSON from files and texts that may be damaged or hostile: bounded, and an error in one line.

Needs nothing but the standard library until a file is read. Writing is `simclr_tf.files`'.
"""

from __future__ import annotations

import collections
import json
import math
import os
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from simclr_tf.console import Say
from simclr_tf.errors import InputError, require

PathLike = str | os.PathLike[str]
T = TypeVar("T")
D = TypeVar("D")

MAX_BYTES = 64 * 2**20  # of a record; the names of 21,841 classes take less than 1 MiB
MAX_DEPTH = 64
_INTEGERS = range(-(2**63), 2**64)
_KINDS: dict[type, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    list: "list",
    dict: "object",
}
_REQUIRED: Any = object()


def read_json(path: PathLike, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object that a local or remote file holds.

    Args:
        path: A regular file: a pipe or a device is refused, not waited for.
        max_bytes: The largest size that is read.

    Raises:
        InputError: It is missing, can't be read, or is refused by `parse_json`; names the file.
    """
    found = find_json(path, max_bytes)
    if found is None:
        raise InputError(os.fspath(path), "must be a file that can be read", "no such file")
    return found


def find_json(path: PathLike, max_bytes: int = MAX_BYTES) -> dict[str, Any] | None:
    """As `read_json`, but None where there is no such file."""
    from simclr_tf.files import read_regular  # It loads NumPy, which texts do not need.

    name = os.fspath(path)
    try:
        data = read_regular(name, max_bytes)
    except FileNotFoundError:
        return None
    return parse_json(data, name)


def find_or_set_aside(
    path: PathLike, say: Say, kinds: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """As `find_json` for a file that is about to be written anew; {} where there is none.

    A damaged one is renamed, so that nothing is lost, and said.

    Args:
        path: The file.
        say: Receives a note on a damaged file.
        kinds: The types, as in `field`, of values that may be in it.

    Raises:
        OSError: It can't be renamed (`tf.errors.OpError` on remote paths).
    """
    name = os.fspath(path)
    try:
        found = find_json(name) or {}
        for key, kind in (kinds or {}).items():
            field(found, key, kind, name, None)
        return found
    except InputError as error:
        from simclr_tf.files import set_aside  # It loads NumPy.

        say(f"note: {name} is damaged ({error.constraint}) and kept as {set_aside(name)}")
        return {}


def parse_json(text: str | bytes, name: str) -> dict[str, Any]:
    """The JSON object that a text holds.

    Args:
        text: UTF-8 where it is bytes; whoever reads it bounds its length.
        name: What it is, for errors: the path of its file, or the setting.

    Raises:
        InputError: It is no JSON, no object, names a key twice, is nested deeper than `MAX_DEPTH`,
            or holds a number that is not finite, a whole number of more than 64 bits or the
            character NUL.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        found = json.loads(
            text,
            parse_int=_whole_number,
            parse_float=_finite,
            parse_constant=_finite,
            object_pairs_hook=_without_repeats,
        )
        _check_nesting(found, text)
    except UnicodeDecodeError as error:
        raise InputError(name, f"must be JSON in UTF-8 (byte {error.start} is not)",
                         f"{len(error.object)} bytes") from None  # fmt: skip
    except RecursionError:
        raise InputError(name, f"must be JSON nested at most {MAX_DEPTH} deep",
                         f"{len(text)} characters") from None  # fmt: skip
    except ValueError as error:
        raise InputError(name, f"must be JSON ({error})", _shortened(text)) from None
    require(isinstance(found, dict), name, "must be JSON, an object", _shortened(text))
    return cast(dict[str, Any], found)


def field(
    content: Mapping[str, Any], key: str, kind: type[T], name: str, default: D = _REQUIRED
) -> T | D:
    """A value of a JSON object that has the type which is expected.

    Args:
        content: The object.
        key: Where the value stands.
        kind: `str`, `int`, `float` (whole numbers become one), `bool`, `list` or `dict`.
        name: What the object is from, for errors: the path of its file.
        default: Stands for a value that is missing or null; without it there must be one.

    Raises:
        InputError: Names file and key: `config.json must have a text as dataset`.
    """
    value = content.get(key)
    if value is None and default is not _REQUIRED:
        return default
    if kind is float and type(value) is int:
        value = float(value)
    article = "" if kind is bool else "an " if kind is dict else "a "
    require(type(value) is kind, name, f"must have {article}{_KINDS[kind]} as {key}",
            _shortened(value))  # fmt: skip
    return cast(T, value)


def texts(content: Mapping[str, Any], key: str, name: str, default: D = _REQUIRED) -> list[str] | D:
    """As `field`, a list of texts."""
    value = content.get(key)
    if value is None and default is not _REQUIRED:
        return default
    whole = isinstance(value, list) and all(isinstance(item, str) for item in value)
    require(whole, name, f"must have a list of texts as {key}", _shortened(value))
    return cast(list[str], value)


def _whole_number(digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else None
    if number is None or number not in _INTEGERS:
        raise ValueError(f"a whole number of more than 64 bits: {_shortened(digits)}")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"a number that is not finite: {_shortened(digits)}")
    return number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = collections.Counter(key for key, _ in pairs)
        raise ValueError(f"{_shortened(counts.most_common(1)[0][0])} is there twice")
    return found


def _check_nesting(found: Any, text: str) -> None:
    """Refuses what deeper functions, which call themselves, could not go through; and NUL."""
    may_hold_nul = "u0000" in text
    level, depth = [found], 0
    while level:
        if depth >= MAX_DEPTH and any(isinstance(value, list | dict) for value in level):
            raise RecursionError
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
                inner += value if may_hold_nul else ()
            elif isinstance(value, list):
                inner += value
            elif may_hold_nul and isinstance(value, str) and "\0" in value:
                raise ValueError("a text with the character NUL")
        level, depth = inner, depth + 1


def _shortened(value: Any) -> Any:
    """What was received, short enough for a line."""
    if isinstance(value, str):
        return value if len(value) <= 80 else f"{value[:80]}..."
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return value
