"""What the numbers of all settings may be; like `simclr_tf.config`, without TensorFlow.

The limits are generous: beyond them a value means nothing (a temperature of 1e308) or nobody can
hold what it asks for (a million logical CPUs). What fits this machine is another question, see
`simclr_tf.capacity`.
"""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Sequence
from typing import Any

from simclr_tf.errors import require


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers, both ends included unless `above` leaves the lower one out."""

    low: float
    high: float
    above: bool = False

    def __contains__(self, value: Any) -> bool:
        # Compares without converting: NaN is in no interval, 10**400 can't become a float.
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        """The rule as a phrase."""
        word = "greater than" if self.above else "at least"
        return f"must be {word} {_plain(self.low)} and at most {_plain(self.high)}"


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


COUNT = Range(0, 10**9)  # steps, images: 64-bit counters hold more, nobody waits for it
NATURAL = Range(1, 10**9)
EPOCHS = Range(1, 10**6)
FRACTION_OF_EPOCHS = Range(0, 10**6, above=True)
BATCH = Range(1, 2**24)
SHARE = Range(0, 1)
POSITIVE_SHARE = Range(0, 1, above=True)
RATE = Range(1e-12, 1e3)  # the paper: 0.05 to 4.8 after scaling
TEMPERATURE = Range(1e-4, 1e4)  # the paper: 0.05 to 1
WEIGHT_DECAY = Range(0, 10)  # the paper: 0 to 1e-3
IMAGE_SIZE = Range(8, 8192)
MOST_VALUES = 1000  # of a setting that is a list

_LIMITS = "limits"  # in the metadata of a field
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((numbers.Integral,), "a whole number"),
    "float": ((numbers.Real,), "a number"),
    "str": ((str, os.PathLike), "a text"),
}


def limited(default: Any, limits: Range) -> Any:
    """A field of a dataclass of settings whose numbers have limits."""
    return dataclasses.field(default=default, metadata={_LIMITS: limits})


def limits_of(settings: Any, name: str) -> Range | None:
    """The limits of a setting of a dataclass, or of an instance of it; None without."""
    return next(
        (field.metadata.get(_LIMITS) for field in dataclasses.fields(settings)
         if field.name == name), None,
    )  # fmt: skip


def check_settings(settings: Any) -> None:
    """Checks type and range of every setting of a dataclass; nested dataclasses check their own.

    Raises:
        InputError: Names the setting.
    """
    for field in dataclasses.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        kind, _, optional = str(field.type).partition(" | ")
        if kind not in _TYPES or (optional and value is None):
            continue
        limits = limits_of(settings, name)
        is_list = kind == "str" and limits is not None  # one number may stand for a list
        types, described = _TYPES[kind]
        sound = isinstance(value, types) and isinstance(value, bool) == (kind == "bool")
        require(sound or is_list, name, f"must be {described}", value)
        if limits is not None and not is_list:
            require(value in limits, name, str(limits), value)


def check_values(settings: Any, name: str, values: Sequence[float]) -> None:
    """Checks the numbers of a setting that is a list.

    Raises:
        InputError: Names the setting.
    """
    require(len(values) <= MOST_VALUES, name, f"must hold at most {MOST_VALUES} values",
            len(values))  # fmt: skip
    limits = limits_of(settings, name)
    assert limits is not None
    sound = all(value in limits for value in values)
    require(sound, name, f"must hold numbers, each of which {limits}", getattr(settings, name))
