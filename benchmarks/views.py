"""What views of one's own cost: `python -m benchmarks.views`.

Pairs of views per second by the input pipeline alone, of bytes in memory: the paper's policy by its
fast path, the same operations one after the other, and some lists of operations. The ways take
turns; the table has the median of the rounds and its ratio to the fast path.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import command

SIZES = {32: (32, 2048), 224: (320, 64)}  # side of the views -> side and number of the images
BATCH = 64
LISTS = {
    "crop flip": "crop flip",
    "crop flip rot90 color": "crop flip rot90 color",
    "crop flip rotate noise cutout": "crop flip rotate noise cutout",
}


def ways(size: int) -> dict[str, Any]:
    """What makes the views, by name."""
    from simclr_tf.augment import operations
    from simclr_tf.config import AugmentConfig
    from simclr_tf.data.views import ImageViews, ViewRecipe
    from simclr_tf.views import Views, paper, parse_views

    policy = Views(paper())
    found = {
        "the paper's policy": ViewRecipe(AugmentConfig(), size, 2, True, policy).maker(),
        "the same, by operations": ImageViews(2, operations.views_of_image(policy, size)),
    }
    for name, text in LISTS.items():
        found[name] = ViewRecipe(AugmentConfig(), size, 2, True, parse_views(text)).maker()
    return found


def rates(size: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Pairs per second of each way, one figure a round."""
    import simclr_tf
    from simclr_tf.data import pipeline

    side, count = SIZES[size]
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    source = simclr_tf.from_arrays(images)
    stream = pipeline.Stream("train", BATCH)
    running: dict[str, Iterator] = {
        name: iter(pipeline.train_batches(source, stream, maker))
        for name, maker in ways(size).items()
    }
    found: dict[str, list[float]] = {name: [] for name in running}
    for number in range(rounds + 1):
        for name, batches in running.items():
            started, taken = time.monotonic(), 0
            while time.monotonic() - started < seconds:
                next(batches)
                taken += 1
            if number:  # the first round traces and fills buffers
                found[name].append(taken * BATCH / (time.monotonic() - started))
    return found


def main() -> None:
    """Prints a table."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=command.count, default=5)
    parser.add_argument("--seconds", type=command.count, default=5, help="of a way in a round")
    given = parser.parse_args()
    from simclr_tf import startup

    startup.load_tensorflow()
    print("| views | made by | pairs/s, median (lowest to highest) | ratio |")
    print("|---|---|---|---|")
    for size, (name, figures) in itertools.chain.from_iterable(
        ((size, row) for row in rates(size, given.rounds, given.seconds).items()) for size in SIZES
    ):
        middle = statistics.median(figures)
        if name == "the paper's policy":
            fast = middle
        print(f"| {size} px | {name} | {middle:.0f} ({min(figures):.0f} to {max(figures):.0f}) "
              f"| {middle / fast:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    command.end(main)
