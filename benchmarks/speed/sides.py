"""The sides of a case: each in processes of its own, in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from subprocess import PIPE, Popen
from typing import Any

from benchmarks.speed.figures import Series
from benchmarks.speed.protocol import ERROR, STARTED
from simclr_tf import startup

ROOT = pathlib.Path(__file__).resolve().parents[2]


class SideError(Exception):
    """A side can't say what was asked; `failed` unless it is only absent here."""

    def __init__(self, problem: str, failed: bool = True):
        super().__init__(problem)
        self.failed = failed


@dataclasses.dataclass(frozen=True)
class Side:
    """A measuring process.

    Attributes:
        words: What follows the interpreter.
        series: What it measures: an empty series for every quantity of its answers.
        fresh: Whether every round gets a process of its own.
        interpreter: What runs it.
    """

    words: Sequence[str]
    series: Mapping[str, Series]
    fresh: bool = False
    interpreter: str = sys.executable


def worker_side(
    module: str, function: str, series: Mapping[str, Series], fresh: bool = False, **settings: Any
) -> Side:
    """A side that `benchmarks.speed.MODULE.FUNCTION(**settings)` measures."""
    spec = json.dumps({"module": module, "function": function, **settings})
    return Side(["-m", "benchmarks.speed.worker", spec], series, fresh)


def environment() -> dict[str, str]:
    """The same for every side: oneDNN on, all cores, Keras 2 for the reference."""
    startup.choose_environment()
    chosen = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
    chosen.pop("TF_CONFIG", None)
    return chosen


class Process:
    """A side's running process. Everything it starts ends with it."""

    def __init__(self, side: Side):
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._rest = b""
        self._process = Popen(
            [side.interpreter, *side.words],
            cwd=ROOT,
            env={**environment(), STARTED: repr(time.monotonic())},
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._errors,
            start_new_session=True,  # its group is ended as a whole, and Ctrl-C is ours alone
        )

    def ask(self) -> None:
        """Asks for a round."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer will say why
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def answer(self, timeout: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            SideError: It has failed, has ended, or takes too long.
        """
        assert self._process.stdout is not None
        end = time.monotonic() + timeout
        while b"\n" not in self._rest:
            readable, _, _ = select.select([self._process.stdout], [], [],
                                           max(0.0, end - time.monotonic()))  # fmt: skip
            if not readable:
                raise SideError(f"no answer within {timeout:.0f} s")
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                raise SideError(self._why_it_ended())
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        content = json.loads(line)
        if ERROR in content:
            raise SideError(content[ERROR], failed=not content["unavailable"])
        return content

    def _why_it_ended(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return f"{how}: {said[-1].strip()[:200]}" if said else how

    def close(self) -> None:
        """Ends it and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                file.close()


class _Turn:
    """One side's process and what it has said so far."""

    def __init__(self, side: Side, timeout: float):
        self._side, self._timeout = side, timeout
        self._rounds: dict[str, list[list[float]]] = {quantity: [] for quantity in side.series}
        self._process: Process | None = None
        self._error: SideError | None = None

    def start(self) -> None:
        """Starts the process of a side that keeps it; `wait` must follow."""
        if not self._side.fresh:
            self._start()

    def wait(self) -> None:
        """Waits until it is ready."""
        if self._process is not None:
            self._try(self._process.answer)

    def take(self) -> None:
        """Measures a round."""
        if self._error is not None:
            return
        if self._side.fresh:
            self._start()
            self.wait()
        if self._process is not None:
            self._process.ask()
            for quantity, samples in self._try(self._process.answer).items():
                self._rounds[quantity].append(samples)
        if self._side.fresh:
            self.close()

    def _start(self) -> None:
        try:
            self._process = Process(self._side)
        except OSError as error:
            self._error = SideError(str(error))

    def _try(self, answer: Callable[[float], dict[str, Any]]) -> dict[str, Any]:
        try:
            return answer(self._timeout)
        except SideError as error:
            self._error = error
            self.close()
            return {}

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def found(self) -> list[Series]:
        """The series with their samples, or with what went wrong."""
        error = self._error
        return [
            dataclasses.replace(
                series,
                rounds=self._rounds[quantity],
                problem=None if error is None else str(error),
                failed=error is not None and error.failed,
            )
            for quantity, series in self._side.series.items()
        ]


def measure(
    sides: Sequence[Side], rounds: int, timeout: float, say: Callable[[str], None]
) -> list[Series]:
    """Lets the sides take turns: A B C, A B C, ...

    All processes start together, and nothing is timed before each is ready and idle.

    Args:
        sides: Who measures.
        rounds: How often each has its turn.
        timeout: Seconds within which every answer must come.
        say: Receives a line about each turn.

    Returns:
        The series of all sides, in order. Where a side has failed, its problem.
    """
    turns = [_Turn(side, timeout) for side in sides]
    try:
        for turn in turns:
            turn.start()
        for turn in turns:
            turn.wait()
        for number in range(rounds):
            for side, turn in zip(sides, turns, strict=True):
                first = next(iter(side.series.values()))
                say(f"{first.case}, {first.setting}: {first.side}, round {number + 1} of {rounds}")
                turn.take()
    finally:
        for turn in turns:
            turn.close()
    return [series for turn in turns for series in turn.found()]
