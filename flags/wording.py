"""What absl says of a flag that can't be read, in the words of this project."""

from __future__ import annotations

import re
from collections.abc import Mapping

from simclr_tf.errors import one_line

_VALUE = re.compile(r"flag --(?P<name>\w+)=(?P<value>.*?): (?P<why>\(?'?[A-Za-z].*)", re.DOTALL)
_UNKNOWN = re.compile(
    r"Unknown command line flag '(?P<name>[^']*)'(?:\. Did you mean: (?P<near>.*?) ?\?)?"
)
_WANTED = {
    "invalid literal for int": "a whole number",
    "could not convert string to float": "a number",
    "Non-boolean argument": "True or False",
}


def plain(error: Exception, foreign: Mapping[str, str] | None = None) -> str:
    """One line for an error of absl's parser.

    Args:
        error: Of `absl.flags`, or the ValueError of a flag's text.
        foreign: Names of flags elsewhere, and what to write here.
    """
    text = one_line(error)
    found = _VALUE.fullmatch(text)
    for beginning, wanted in _WANTED.items():
        if found and beginning in found["why"]:
            return f"--{found['name']} must be {wanted}. Received: {found['value']!r}"
    unknown = _UNKNOWN.match(text)
    if unknown is None:
        return text
    name = unknown["name"]
    ours = (foreign or {}).get(name.lower().replace("-", "_"))
    if ours:
        none, _, reason = ours.partition("none: ")
        return f"there is no flag --{name}" + (f"; use {ours}" if none else f": {reason}")
    near = unknown["near"]
    return f"there is no flag --{name}" + (f" (did you mean --{near}?)" if near else "")
