"""The one error that bad input raises, and what ends a run from outside."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from typing import Any

from simclr_tf.text import printable_name

_LONGEST_RECEIVED = 300


class InputError(ValueError):
    """A value from outside (a setting, a file, a data set) breaks a constraint.

    The text is one line: what, which constraint, what was received. Command lines show it as is
    and exit with a non-zero status.

    Example:
        >>> try:
        ...     simclr_tf.ObjectiveConfig(temperature=0)
        ... except simclr_tf.InputError as error:
        ...     print(error.name)
        temperature

    Attributes:
        name: The setting, in the spelling of `simclr_tf.config` (the flags use the same), or the
            path of the file that is at fault.
        constraint: The rule, as a phrase that follows the name: "must be > 0".
        received: The offending value.
    """

    def __init__(self, name: str, constraint: str, received: Any):
        self.name = name
        self.constraint = constraint
        self.received = received
        super().__init__(name, constraint, received)

    def __str__(self) -> str:
        return self.describe(self.name)

    def describe(self, name: str) -> str:
        """The message with the setting spelled as `name` (a command line writes `--name`).

        It is printable: escapes stand for what a terminal would act upon.
        """
        return printable_name(f"{name} {self.constraint}. Received: {_shown(self.received)}")


def _shown(value: Any) -> str:
    """`repr`, shortened: what a file holds may be of any length."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no number of over 4300 digits
        return f"a {type(value).__name__} that is too long to print"
    longest = _LONGEST_RECEIVED
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"


def require(condition: bool, name: str, constraint: str, received: Any) -> None:
    """Raises `InputError(name, constraint, received)` unless `condition` holds."""
    if not condition:
        raise InputError(name, constraint, received)


def require_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raises `InputError` with the nearest choice unless `value` is one of `choices`."""
    if value not in choices:
        listed = ", ".join(str(choice) for choice in choices)
        raise InputError(name, f"must be one of {listed}{did_you_mean(value, choices)}", value)


def did_you_mean(value: Any, choices: Collection[Any]) -> str:
    """` (did you mean NAME?)` for a text that is close to one of the choices, else nothing."""
    names = [choice for choice in choices if isinstance(choice, str)]
    close = difflib.get_close_matches(str(value), names, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def require_valid(condition: bool, constraint: str) -> None:
    """Raises `ValueError(constraint)` unless `condition` holds: for a part of a file's content.

    Whoever reads the file makes it an `InputError` with the file's name, or a note.
    """
    if not condition:
        raise ValueError(constraint)


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, for use inside another message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def one_line(error: BaseException) -> str:
    """All of an exception's text in one line, for use inside another message."""
    return " ".join(str(error).split()) or type(error).__name__


def describe_failure(error: Exception) -> str:
    """One line on an exception that nobody foresaw.

    A file that the system does not give is said in plain words; anything else may be a bug, so its
    class is named, and where the traceback is.
    """
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str | bytes):
        return printable_name(f"{os.fsdecode(error.filename)} can't be used ({error.strerror})")
    return f"{type(error).__name__}: {one_line(error)} (--debug: traceback)"


class Preempted(BaseException):
    """The process was asked to end (SIGTERM).

    Like `KeyboardInterrupt`, no `except Exception` swallows it.
    """


class RunError(RuntimeError):
    """Something other than bad input ended a run; the text says it in one line."""


class WorkerLostError(RunError):
    """Another worker of the job does not answer; this one can't go on without it."""
