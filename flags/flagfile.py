"""`--flagfile=FILE`: words of a command line that stand in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from simclr_tf.errors import require
from simclr_tf.settings import recipes

_FORM = "must be a text with one flag a line, of 1 MiB at most"
_MOST_FILES = 100
_NAMES = ("--flagfile", "-flagfile")


def expand(words: Sequence[str]) -> list[str]:
    """The words with each `--flagfile=FILE` replaced by the flags in that file, one a line.

    Blank lines and lines that start with `#` or `//` are left out. A file may name further ones.

    Raises:
        InputError: A file can't be read, is no text, names itself, or has a line of another form;
            or there are over 100.
    """
    expanded: list[str] = []
    read: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, path = word.partition("=")
        if word == "--":
            return [*expanded, word, *rest]
        if name not in _NAMES:
            expanded.append(word)
            continue
        if not equals:
            require(bool(rest), "flagfile", "must name a file", None)
            path = rest.pop(0)
        expanded += _lines(path, (), read)
    return expanded


def _lines(path: str, above: tuple[str, ...], read: list[str]) -> list[str]:
    place = os.path.realpath(os.path.expanduser(path))
    require(place not in above, "flagfile", "must not lead back to itself", path)
    read.append(place)
    require(len(read) <= _MOST_FILES, "flagfile", f"must lead to at most {_MOST_FILES} files", path)
    words = []
    for line in _read(place, path).splitlines():
        line = line.strip()
        name, _, inner = line.partition("=")
        if name in _NAMES:
            words += _lines(inner.strip(), (*above, place), read)
        elif line and not line.startswith(("#", "//")):
            is_flag = line.startswith("-") and not any(letter.isspace() for letter in name)
            require(is_flag, "flagfile", f"must have lines of the form --name=value ({path})", line)
            words.append(line)
    return words


def _read(place: str, path: str) -> str:
    require(os.path.isfile(place), "flagfile", "must name a file that exists", path)
    text = recipes.read_text(place, "flagfile", _FORM, path)
    require("\0" not in text, "flagfile", _FORM, path)
    return text
