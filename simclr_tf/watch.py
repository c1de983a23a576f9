"""What the user hears while features of many images are extracted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from simclr_tf.console import Say
from simclr_tf.progress import Progress
from simclr_tf.units import format_duration

_SILENT_SECS = 3.0  # what takes no longer needs no word


class Watch:
    """Tells how far an extraction is once it is seen to take time, and how long all of it takes.

    The rate is measured from the end of the first batch on: tracing says nothing about the rest.

    Args:
        total: Images to extract.
        label: What happens, in front of every line.
        say: Receives the estimate.
        times: How often the same has to be done, this time included.
        shows: Whether this process shows progress; one of a job does.
        clock: Seconds on a monotonic clock.
    """

    def __init__(
        self,
        total: int,
        label: str,
        say: Say,
        times: int = 1,
        shows: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._label, self._say = total, label, say
        self._times, self._shows, self._clock = times, shows, clock
        self._first: tuple[float, int] | None = None
        self._progress: Progress | None = None

    def __call__(self, count: int) -> None:
        """Reports that `count` images are done, counted from the first."""
        now = self._clock()
        if self._first is None:
            self._first = (now, count)
        started, before = self._first
        if not self._shows or count >= self._total:
            pass
        elif self._progress is None and now - started >= _SILENT_SECS and count > before:
            seconds = (now - started) / (count - before) * self._total * self._times
            each = {1: "", 2: " for both encoders"}.get(
                self._times, f" for all {self._times} encoders"
            )
            self._say(f"{self._label}: about {format_duration(seconds)}{each}")
            self._progress = Progress(self._total, initial=count, label=self._label, unit="images")
        if self._progress is not None:
            self._progress.update(count, count, {})

    def close(self) -> None:
        """Shows the last state."""
        if self._progress is not None:
            self._progress.close()


@contextlib.contextmanager
def watching(
    total: int, label: str, say: Say, times: int = 1, shows: bool = True
) -> Iterator[Watch]:
    """A `Watch` for the block."""
    watch = Watch(total, label, say, times, shows)
    try:
        yield watch
    finally:
        watch.close()
