"""Reading that goes on after a passing failure of the storage."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import tensorflow as tf

from simclr_tf import console

T = TypeVar("T")

# What may be gone at the next try: a refused or broken connection (Unavailable), EIO (Unknown), a
# timeout (DeadlineExceeded), a stale NFS handle, or an object store whose client has given up
# (Aborted). Not ResourceExhausted: a full disk, or memory that ran out in a step.
TRANSIENT = (
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
)

# What TensorFlow writes around the sentence that says what is wrong: in a compiled function a
# header and a stack, before the sentence the kernel or the iterator, behind it the operation.
_HEADER = ("Graph execution error:", "Detected at node ", "<stack traces unavailable>", " ", "\t")
_AROUND = re.compile(
    r"\{\{.*?\}\}\s*|Error in user-defined function .*? iterator: \S+: (\w+Error: )?|\s*\[Op:.*"
)
_ASSERTION = re.compile(r"^assertion failed: \[(.*)\]$")
_OF_SYSTEM = re.compile(r"\[Errno \d+\]|\b(OSError|TimeoutError|\w*Connection\w*Error)\b")
_LONGEST_REASON = 200


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help, for one of `TRANSIENT`.

    Python code that a pipeline calls fails as Unknown too: what is no error of the system's is its
    own fault, such as that of a function that makes views.
    """
    text = str(error)
    return "PyFunc" not in text or _OF_SYSTEM.search(text) is not None


def plain_reason(error: BaseException) -> str:
    """What is wrong in one short line, without what TensorFlow writes around it."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith(_HEADER)]
    text = _ASSERTION.sub(r"\1", _AROUND.sub("", lines[0])) if lines else ""
    return text[:_LONGEST_REASON] or type(error).__name__


class Backoff:
    """Pauses that grow from one failure in a row to the next.

    Args:
        limit: Failures in a row that are tried again, at least 0.
        first_seconds: The first pause.
        factor: Each pause to the one before.
        longest: No pause is longer, in seconds.
        sleep: Waits for so many seconds.
        say: Receives a line for the user before each pause.
    """

    def __init__(
        self,
        limit: int,
        first_seconds: float = 1.0,
        factor: float = 2.0,
        longest: float = 60.0,
        sleep: Callable[[float], object] = time.sleep,
        say: Callable[[str], object] = console.say,
    ):
        self._limit, self._longest = limit, longest
        self._first, self._factor = first_seconds, factor
        self._sleep, self._say = sleep, say
        self._failures = 0

    def failed(self, error: Exception) -> None:
        """Waits before the next try; raises `error` when there were `limit` in a row before."""
        if self._failures >= self._limit:
            raise error
        seconds = min(self._first * self._factor**self._failures, self._longest)
        self._failures += 1
        self._say(f"note: reading failed ({plain_reason(error)}); "
                  f"retry {self._failures} of {self._limit} in {seconds:g} s")  # fmt: skip
        self._sleep(seconds)

    def worked(self) -> None:
        """Starts counting anew."""
        self._failures = 0


def resume_iteration(open_at: Callable[[int], Iterable[T]], backoff: Backoff) -> Iterator[T]:
    """Iterates; after a transient error it opens anew where it stopped.

    Args:
        open_at: From the number of elements that were taken to those that are left.
        backoff: Decides how often.

    Yields:
        The elements of `open_at(0)`, each once.

    Raises:
        tf.errors.OpError: One of `TRANSIENT` too often in a row, or any other at once.
    """
    taken = 0
    while True:
        try:
            for element in open_at(taken):
                backoff.worked()
                taken += 1
                yield element
            return
        except TRANSIENT as error:
            backoff.failed(error)
