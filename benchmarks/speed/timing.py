"""What both sides time in the same way; needs no framework."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.memory import status
from benchmarks.speed.figures import GIB
from benchmarks.speed.protocol import UnavailableError

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


def peak_gib() -> float:
    """The largest resident memory of this process so far, GiB."""
    return status("VmHWM") / GIB
