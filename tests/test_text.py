"""Texts of others on a terminal."""

import pytest

from simclr_tf.errors import InputError
from simclr_tf.text import printable, printable_name

_HARMLESS = [
    "photos/a b.jpg",
    "Übung/été/写真/фото.png",
    "family \N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}",  # joined emoji
    r"C:\new\x1b",  # what was escaped before, or looks like it
    "",
]
_ACTING = [
    ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
    ("a\rb\x08\x7f\x00", r"a\rb\x08\x7f\x00"),
    ("\x9b31m\x85", r"\x9b31m\x85"),  # the one-byte forms
    ("gpj.\u202eexe\u2066\u200f\u061c", r"gpj.\u202eexe\u2066\u200f\u061c"),
    ("a\u2028b\u2029", r"a\u2028b\u2029"),
    ("\udcff.jpg", r"\udcff.jpg"),  # a byte of a file name that is not UTF-8
]


@pytest.mark.parametrize("text", _HARMLESS)
def test_harmless_text_stays(text):
    assert printable(text) == printable_name(text) == text


@pytest.mark.parametrize(("text", "shown"), _ACTING)
def test_what_a_terminal_acts_upon_is_escaped(text, shown):
    assert printable(text) == printable_name(text) == shown
    assert printable(shown) == shown
    shown.encode("utf-8")  # raises where a half of a pair is left


def test_tables_keep_their_lines_and_names_stay_in_one():
    assert printable("a\tb\n\x1bc") == "a\tb\n\\x1bc"
    assert printable_name("a\tb\nc") == r"a\tb\nc"


def test_an_error_is_one_printable_line():
    error = InputError("a\n\x1b[1m.jpg", "must be é\u202e", "\x1b\u202e\udcff")
    assert str(error) == (
        r"a\n\x1b[1m.jpg must be é\u202e. Received: '\x1b\u202e\udcff'"
    )  # fmt: skip
