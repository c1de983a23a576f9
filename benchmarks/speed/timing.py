"""What both sides time in the same way; needs no framework."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.memory import status
from benchmarks.speed.figures import GIB
from benchmarks.speed.protocol import STARTED, UnavailableError

Round = Callable[[], dict[str, list[float]]]


def seconds(action: Callable[[], Any], samples: int) -> list[float]:
    """How long each of some calls takes."""
    found = []
    for _ in range(samples):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return found


def rates(action: Callable[[], Any], amount: float, samples: int) -> list[float]:
    """Amount per second of each of some calls."""
    return [amount / one for one in seconds(action, samples)]


def stream_rates(
    open_stream: Callable[[], Iterator], amount: float, warm_up: int, batches: int, samples: int
) -> list[float]:
    """Amount per second of a stream of batches, opened anew.

    What was made ahead while other sides had their turn would look like speed, so an old stream is
    not taken up again. The first batches fill buffers and find the parallelism.

    Args:
        open_stream: Starts the stream.
        amount: In a batch.
        warm_up: Batches that are not timed.
        batches: In a sample.
        samples: How many.
    """
    stream = open_stream()
    for _ in range(warm_up):
        next(stream)

    def take() -> None:
        for _ in range(batches):
            next(stream)

    return rates(take, amount * batches, samples)


def require_memory(needed: float) -> None:
    """Refuses what would drive this machine out of memory.

    Raises:
        UnavailableError: Fewer bytes than these are free.
    """
    with open("/proc/meminfo") as file:
        line = next(line for line in file if line.startswith("MemAvailable:"))
    free = int(line.split()[1]) * 1024
    if free < needed:
        raise UnavailableError(
            f"takes about {needed / GIB:.0f} GiB, {free / GIB:.0f} GiB are free here"
        )


def step_rates(take: Callable[[int], None], steps: int, pairs: int, samples: int) -> Round:
    """Pairs per second of calls of some steps each, after two that warm up."""
    take(2)
    return lambda: {"pairs/s": rates(lambda: take(steps), steps * pairs, samples)}


def largest(
    make_stepper: Callable[[int], Callable[[int], None]],
    batches: Sequence[int],
    steps: int,
    samples: int,
    full: type[Exception] | tuple[type[Exception], ...],
) -> Round:
    """Pairs per second with the first of the batches that fits, and which that is.

    Args:
        make_stepper: From the pairs of a batch to what takes a number of steps.
        batches: The largest first.
        steps: Of a sample.
        samples: How many.
        full: What is raised where memory does not suffice.

    Raises:
        UnavailableError: None of them fits.
    """
    for pairs in batches:
        try:
            measure = step_rates(make_stepper(pairs), steps, pairs, samples)
        except full:
            gc.collect()
        else:
            return lambda pairs=pairs: {**measure(), "pairs": [float(pairs)]}
    raise UnavailableError(f"not even {batches[-1]} pairs fit into the memory")


def until_first_step(make_stepper: Callable[[], Callable[[int], None]]) -> Round:
    """Seconds from the start of this process to the end of the first step."""

    def measure() -> dict[str, list[float]]:
        make_stepper()(1)
        return {"s": [time.monotonic() - float(os.environ[STARTED])]}

    return measure


def peak_after_steps(make_stepper: Callable[[], Callable[[int], None]], steps: int) -> Round:
    """The peak of this process's memory after some steps."""

    def measure() -> dict[str, list[float]]:
        make_stepper()(steps)
        return {"GiB": [status("VmHWM") / GIB]}

    return measure


def time_and_memory(action: Callable[[], Any], samples: int) -> Round:
    """Seconds of calls after a first one, and the memory that all of them took at most."""
    before = status("VmRSS")
    action()

    def measure() -> dict[str, list[float]]:
        found = seconds(action, samples)
        return {"s": found, "GiB": [(status("VmHWM") - before) / GIB]}

    return measure


def update_time(update: Callable[[int], None], updates: int, samples: int) -> Round:
    """Milliseconds of an update, from calls of some updates each."""
    update(1)

    def measure() -> dict[str, list[float]]:
        found = seconds(lambda: update(updates), samples)
        return {"ms": [1000 * one / updates for one in found]}

    return measure
