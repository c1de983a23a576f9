"""What absl says of a flag that can't be read, in the words of this project."""

from __future__ import annotations

import re

from simclr_tf.errors import one_line

_VALUE = re.compile(r"flag --(?P<name>\w+)=(?P<value>.*?): (?P<why>\(?'?[A-Za-z].*)", re.DOTALL)
_WANTED = {
    "invalid literal for int": "a whole number",
    "could not convert string to float": "a number",
    "Non-boolean argument": "True or False",
}


def plain(error: Exception) -> str:
    """One line for an error of absl's parser.

    Args:
        error: Of `absl.flags`, or the ValueError of a flag's text.
    """
    text = one_line(error)
    found = _VALUE.fullmatch(text)
    for beginning, wanted in _WANTED.items():
        if found and beginning in found["why"]:
            return f"--{found['name']} must be {wanted}. Received: {found['value']!r}"
    unknown, _, similar = text.partition(". Did you mean: ")
    return f"{unknown} (did you mean {similar.rstrip(' ?')}?)" if similar else text
