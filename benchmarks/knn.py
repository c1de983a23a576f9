"""Seconds and memory of a search for nearest neighbours: `python -m benchmarks.knn`.

The search is compared with its matrix products alone, in the same blocks and the same process, so
that the ratio holds on a busy machine too. Memory is the peak of the process over what it held
before, features included: what the search itself takes.
"""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from benchmarks import command
from benchmarks.memory import Peaks, status
from simclr_tf.evaluation import knn

QUERY_BLOCK, BANK_BLOCK = 1024, 4096  # the defaults of `nearest_neighbors`
SIZES = {"full": (10_000, 50_000, 512, 200), "small": (1_000, 5_000, 64, 50)}


def products_alone(bank: np.ndarray, queries: np.ndarray) -> None:
    """The same matrix products, their results thrown away."""
    anchors = [
        tf.constant(queries[i : i + QUERY_BLOCK]) for i in range(0, len(queries), QUERY_BLOCK)
    ]
    for start in range(0, len(bank), BANK_BLOCK):
        entries = tf.constant(bank[start : start + BANK_BLOCK])
        for block in anchors:
            tf.matmul(block, entries, transpose_b=True)


def timed(action) -> tuple[float, float]:
    """Wall seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Prints one line per repetition."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--repetitions", type=command.count, default=3)
    words = parser.parse_args()
    queries_count, bank_count, dims, k = SIZES[words.size]
    rng = np.random.default_rng(0)
    bank = np.abs(rng.standard_normal((bank_count, dims), np.float32))
    queries = np.abs(rng.standard_normal((queries_count, dims), np.float32))
    labels = rng.integers(0, 10, bank_count)
    knn.nearest_neighbors(bank[:5000], queries[:1100], k)  # everything is compiled and loaded
    print(f"{queries_count:,} x {bank_count:,} x {dims}, k = {k}: "
          f"{2e-9 * queries_count * bank_count * dims:,.0f} GFLOP")  # fmt: skip
    print("| part | seconds | processor seconds | share of the products | peak over the features |")
    print("|---|---|---|---|---|")
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(words.repetitions):
        before = status("RssAnon")
        wall, processor = timed(lambda: products_alone(bank, queries))
        found.clear()
        with Peaks() as peaks:
            all_wall, all_processor = timed(
                lambda: found.append(knn.nearest_neighbors(bank, queries, k))
            )
        sims, indices = found[0]
        vote_wall, vote_processor = timed(
            lambda s=sims, i=indices: [knn.vote(s, labels[i], 10, w) for w in ("weighted", "plain")]
        )
        print(f"| products alone | {wall:.2f} | {processor:.2f} | | |")
        share, over = processor / all_processor, (peaks.anonymous - before) / 2**20
        print(f"| search | {all_wall:.2f} | {all_processor:.2f} | {share:.0%} | {over:,.0f} MiB |")
        print(f"| both votes | {vote_wall:.2f} | {vote_processor:.2f} | | |", flush=True)


if __name__ == "__main__":
    command.end(main)
