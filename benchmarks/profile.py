"""Where a training step's time goes, by type of operation: `python -m benchmarks.profile`.

Some pretraining steps of a ResNet-18 run under TensorFlow's profiler, whose trace is read here; no
plug-in and no network is needed. Seconds are those that the threads spent in an operation's kernel.
Work that a kernel hands to the thread pool counts for as long as the kernel waits for it, so the
sum over all types can exceed the time on the clock; shares are of that sum.
"""

from __future__ import annotations

import collections
import pathlib
import re
import tempfile
from collections.abc import Iterable
from typing import Any, NamedTuple

from benchmarks import command
from benchmarks.speed.cases import PRECISIONS
from simclr_tf import startup

# `path/of/the/op:Type` is a kernel; everything else is the runtime's own.
_KERNEL = re.compile(r"[^:]+:([A-Za-z_]\w*)")
# They wait for the operations inside them.
_CONTAINERS = {"While", "StatelessWhile", "If", "StatelessIf", "PartitionedCall",
               "StatefulPartitionedCall"}  # fmt: skip


class Total(NamedTuple):
    """What the operations of one type took together."""

    kind: str
    seconds: float
    calls: int


def totals(events: Iterable[tuple[str, float]]) -> list[Total]:
    """Adds up (name, seconds) by type of operation, the longest first."""
    seconds: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for name, duration in events:
        kernel = _KERNEL.fullmatch(name)
        if kernel and kernel[1] not in _CONTAINERS:
            seconds[kernel[1]] += duration  # type: ignore[assignment]
            calls[kernel[1]] += 1
    return [Total(kind, spent, calls[kind]) for kind, spent in seconds.most_common()]


def table(found: list[Total], steps: int, rows: int = 15) -> str:
    """The first rows as Markdown, per step."""
    whole = sum(one.seconds for one in found)
    shown = found[:rows]
    rest = found[rows:]
    if rest:
        kinds = f"{len(rest)} other types"
        shown = [*shown, Total(kinds, sum(one.seconds for one in rest),
                               sum(one.calls for one in rest))]  # fmt: skip
    lines = ["| operation | ms per step | share | calls per step |", "|---|---|---|---|"]
    lines += [
        f"| {one.kind} | {1000 * one.seconds / steps:.1f} | {one.seconds / whole:.1%} | "
        f"{one.calls / steps:.0f} |"
        for one in shown
    ]
    return "\n".join(lines)


def _events(folder: pathlib.Path) -> Iterable[tuple[str, float]]:
    """Names and seconds of all that the profiler wrote down."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    for path in folder.rglob("*.xplane.pb"):
        space: Any = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            for line in plane.lines:
                for event in line.events:
                    name = plane.event_metadata[event.metadata_id].name
                    yield name, event.duration_ps / 1e12


def profile(
    *, depth: int, width: float, image_size: int, pairs: int, precision: str, steps: int
) -> tuple[list[Total], float]:
    """The totals of some steps, and the seconds of a step without the profiler."""
    startup.load_tensorflow()
    import tensorflow as tf

    from benchmarks.speed import network, timing

    training = network.build_training(depth, width, image_size, precision)
    take = network.stepper(training, iter(network.same_batch(pairs, image_size)))
    take(steps)
    (plain,) = timing.seconds(lambda: take(steps), 1)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            take(steps)
        return totals(_events(pathlib.Path(folder))), plain / steps


def main() -> None:
    """Prints the table."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--depth", type=command.count, default=18)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image_size", type=command.count, default=32)
    parser.add_argument("--pairs", type=command.count, default=64)
    parser.add_argument("--steps", type=command.count, default=5)
    given = parser.parse_args()
    found, plain = profile(**vars(given))
    print(
        f"ResNet-{given.depth}, width {given.width:g}, {given.image_size} px, {given.pairs} pairs, "
        f"{given.precision}: {1000 * plain:.0f} ms per step without the profiler, "
        f"{given.pairs / plain:.1f} pairs/s\n"
    )
    print(table(found, given.steps))


if __name__ == "__main__":
    command.end(main)
