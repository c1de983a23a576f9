"""Texts of others (ids, file names, names of classes) made safe for a terminal."""

from __future__ import annotations

import unicodedata

_OWN = "\n\t"  # of our own tables
# What turns the reading direction: a name could be shown as another one.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Control characters; halves of a pair, which no encoding can write; separators of lines.
_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    r"""A text of any number of lines, with escapes (`\x1b`) for what a terminal would act upon.

    Letters of every script, line breaks and tabs stay; a text that went through once stays too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def printable_name(text: str) -> str:
    r"""`printable` for a part of a line: breaks and tabs become `\n` and `\t` as well."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def _shown(character: str) -> str:
    if character in _OWN:
        return character
    if character in _DIRECTIONS or unicodedata.category(character) in _CATEGORIES:
        return character.encode("unicode_escape").decode("ascii")
    return character
