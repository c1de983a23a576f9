"""Progress of a loop: a bar on a terminal, now and then a line everywhere else."""

from __future__ import annotations

import collections
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

from simclr_tf.console import SafeStream, say
from simclr_tf.text import printable
from simclr_tf.units import format_bytes, format_duration, format_rate

_WINDOW_SECS = 30.0


class _Bar(tqdm):
    monitor_interval = 0  # No background thread: the loop itself moves the bar.
    state = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        return {**super().format_dict, "state": self.state}


class Progress:
    """Shows step, metrics, rate and time left of a loop.

    On a terminal it draws one bar. Elsewhere (a log file, a pipe) it writes a plain line at the
    first update, then at most one every `interval_secs`, and one at the end.

    The rate is measured over the last half minute, and never over the time before the first
    update: tracing and the first step say nothing about the steps that follow.

    Args:
        total: Last step of the loop.
        initial: Step at which this run starts (above 0 after a resume).
        label: What the loop does, in front of every line.
        unit: What is counted per second.
        stream: Where to write; None is the standard output of the moment.
        is_terminal: None asks the stream.
        interval_secs: Least time between two plain lines.
        clock: Seconds on a monotonic clock.
    """

    def __init__(
        self,
        total: int,
        initial: int = 0,
        label: str = "train",
        unit: str = "pairs",
        stream: TextIO | None = None,
        is_terminal: bool | None = None,
        interval_secs: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._label, self._unit = total, label, unit
        self._stream = SafeStream(sys.stdout if stream is None else stream)
        self._interval_secs, self._clock = interval_secs, clock
        self._window: collections.deque[tuple[float, int, int]] = collections.deque()
        self._step = initial
        self._text = ""
        self._last_line: tuple[float, int] | None = None  # Time and step.
        self._closed = False
        self._bar: _Bar | None = None
        if self._stream.isatty() if is_terminal is None else is_terminal:
            size = _size_settings(self._stream)
            self._bar = _Bar(
                total=total, initial=initial, desc=label, file=self._stream, mininterval=0.1,
                miniters=1, bar_format="{desc} {percentage:.0f}%|{bar}| {state}", **size,
            )  # fmt: skip

    def update(self, step: int, units_done: int, values: Mapping[str, float]) -> None:
        """Reports where the loop stands.

        Args:
            step: Steps done, counted from 0 of the whole training, as `total` is.
            units_done: Units (pairs, images) handled so far; the count may begin anywhere, only
                differences matter.
            values: Metrics to show, in their order ("loss", "contrastive accuracy").
        """
        now = self._clock()
        self._window.append((now, step, units_done))
        while len(self._window) > 2 and now - self._window[1][0] >= _WINDOW_SECS:
            self._window.popleft()
        advance, self._step = step - self._step, step
        self._text = self._describe(values)
        if self._bar is not None:
            self._bar.state = self._text
            self._bar.update(advance)
        elif self._line_is_due(now):
            self._write_line(now)

    def note(self, text: str) -> None:
        """Writes a line of its own, above the bar where there is one."""
        if self._bar is not None and not self._closed:
            self._bar.write(printable(text), file=self._stream)
        else:
            say(text, self._stream)

    def close(self) -> None:
        """Shows the last state; further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
        elif self._last_line is not None and self._last_line[1] != self._step:
            self._write_line(self._clock())

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def units_per_second(self) -> float:
        """Rate over the window; NaN until there are two updates."""
        return self._rate(2)

    @property
    def seconds_left(self) -> float:
        """Time that the remaining steps will take at the present rate; NaN while unknown."""
        steps_per_second = self._rate(1)
        if not steps_per_second > 0:
            return math.nan
        return max(self._total - self._step, 0) / steps_per_second

    def _rate(self, column: int) -> float:
        if len(self._window) < 2:
            return math.nan
        first, last = self._window[0], self._window[-1]
        if last[0] <= first[0]:
            return math.nan
        return (last[column] - first[column]) / (last[0] - first[0])

    def _describe(self, values: Mapping[str, float]) -> str:
        in_bar = self._bar is not None  # There, 80 columns have to hold everything.
        parts = [f"{'' if in_bar else 'step '}{self._step}/{self._total}"]
        parts += [f"{name} {value:.4g}" for name, value in values.items()]
        if len(self._window) >= 2:
            parts.append(f"{format_rate(self.units_per_second)} {self._unit}/s")
            left = self.seconds_left
            compact = in_bar and math.isfinite(left)
            parts.append(f"{_Bar.format_interval(left) if compact else format_duration(left)} left")
        return ", ".join(parts)

    def _line_is_due(self, now: float) -> bool:
        return self._last_line is None or now - self._last_line[0] >= self._interval_secs

    def _write_line(self, now: float) -> None:
        self._last_line = (now, self._step)
        say(f"{self._label}: {self._text}", self._stream)


class Download:
    """Shows how much of a download has arrived, on the standard error stream.

    On a terminal it draws a bar. Elsewhere it writes a line at the start and one every
    `interval_secs`.

    Args:
        label: What is downloaded.
        total: Its bytes.
        stream: Where to write; None is the standard error stream of the moment.
        interval_secs: Time between two plain lines.
        clock: Seconds on a monotonic clock.
    """

    def __init__(
        self,
        label: str,
        total: int,
        stream: TextIO | None = None,
        interval_secs: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._stream = SafeStream(sys.stderr if stream is None else stream)
        self._label, self._total, self._done = label, total, 0
        self._interval_secs, self._clock, self._last = interval_secs, clock, clock()
        self._bar: _Bar | None = None
        if self._stream.isatty():
            self._bar = _Bar(total=total, desc=label, unit="B", unit_scale=True, file=self._stream,
                             **_size_settings(self._stream))  # fmt: skip
        else:
            say(f"fetching {label}, {format_bytes(total)}", self._stream)

    def add(self, count: int) -> None:
        """Reports bytes that have arrived; below 0 takes back what must be fetched again."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._clock() - self._last >= self._interval_secs:
            self._last = self._clock()
            done, total = format_bytes(self._done), format_bytes(self._total)
            say(f"fetching {self._label}: {done} of {total}", self._stream)

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _size_settings(stream: SafeStream) -> dict[str, Any]:
    """Size settings for tqdm: fixed where the terminal says 0, as pseudo-terminals of some job
    runners do. tqdm would show nothing there.
    """
    try:
        size = os.get_terminal_size(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return {"dynamic_ncols": True}
    if size.columns > 0 and size.lines > 0:
        return {"dynamic_ncols": True}
    return {"ncols": size.columns or 100, "nrows": size.lines or 24}
