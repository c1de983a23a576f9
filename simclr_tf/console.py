"""Speaking to a person: no line, and nobody who stops reading, ever ends the work.

A closed pipe (`| head`), a full disk behind a log file, a closed descriptor (`>&-`) and letters
that an encoding lacks are met here, once for all that is said.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from simclr_tf.text import printable

Say = Callable[[str], None]

# Exit statuses. After the last three the same command goes on where the run stopped.
BAD_INPUT, FAILED, WORKER_LOST, INTERRUPTED, PREEMPTED = 2, 1, 75, 130, 143

_losses: list[str] = []
_told: set[str] = set()


class SafeStream:
    """A text stream that can always be written to.

    What its encoding lacks is written as escapes. When writing fails, the text is lost; that is
    noted once (`take_losses`), and later lines are tried again, since a disk may have room then.

    Args:
        stream: The stream behind; None where there is none, as in a process without output.
        name: What notes call it.
    """

    def __init__(self, stream: Any, name: str = "the output"):
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        """Writes as far as it can be done; returns the length of the text."""
        if self._stream is None:
            return len(text)
        with self._losing():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Hands on what was written, as far as it can be done."""
        if self._stream is not None:
            with self._losing():
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        try:
            return bool(self._stream.isatty())
        except (AttributeError, OSError, ValueError):
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: closed by Python
            reason = error.strerror if isinstance(error, OSError) else None
            loss = f"{self._name} could not be written ({reason or error}): lines are lost"
            if loss not in _told:
                _told.add(loss)
                _losses.append(loss)


def say(text: str, stream: SafeStream | TextIO | None = None) -> None:
    """Prints a line at once, printable whatever names it holds; never raises.

    Args:
        text: One line or several.
        stream: Where to; None is the standard output of the moment.
    """
    target = stream if isinstance(stream, SafeStream) else SafeStream(stream or sys.stdout)
    target.write(printable(text) + "\n")
    target.flush()


def silent(text: str) -> None:
    """Says nothing."""


def take_losses() -> list[str]:
    """Why lines were lost since the last call, once for each reason in a process."""
    taken = list(_losses)
    _losses.clear()
    return taken


def run_command(main: Callable[[Sequence[str]], int]) -> int:
    """Runs the command line of a process; for `if __name__ == "__main__"` alone.

    Args:
        main: From the words of the command line to the exit status.

    Returns:
        The exit status.
    """
    # `kill` ends like Ctrl-C: what is half-written is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(PREEMPTED))
    _open_closed_descriptors()
    sys.stdout = SafeStream(sys.stdout, "standard output")
    sys.stderr = SafeStream(sys.stderr, "standard error")
    atexit.register(_end_quietly)
    return main(sys.argv[1:])


def _open_closed_descriptors() -> None:
    """Opens 0, 1 and 2 where they are closed: a checkpoint would get their number, and be written
    into by whatever of TensorFlow speaks.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _end_quietly() -> None:
    """Python complains, and changes the exit status, where its last flush fails."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
                stream.flush()
