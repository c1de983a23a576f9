"""Training speed on several replicas and processes: `python -m benchmarks.scaling`.

The same global batch on 1 device, 2 and 4 logical CPUs, and 2 processes over loopback. They all
share the cores of this machine, on which one device already uses every core: what is measured is
the price of distributing (more, smaller operations and the exchange between them), not a gain.
Efficiency is the speed beside one device's; 100 % would be distribution for nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile

from benchmarks import command, workers

# Name -> (processes, logical CPUs of each).
SETTINGS = {"1 device": (1, 1), "2 replicas": (1, 2), "4 replicas": (1, 4), "2 processes": (2, 1)}
SIZE = 32


def measure(setting: str, batch: int, width: float, calls: int) -> list[float]:
    """Pairs per second of each of `calls` calls, after one that warms up."""
    processes, replicas = SETTINGS[setting]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rates.json")
        words = ["--worker", path, "--replicas", str(replicas), "--batch", str(batch)]
        words += ["--width", str(width), "--calls", str(calls)]
        workers.run_module("benchmarks.scaling", words, processes)
        with open(path) as file:
            return json.load(file)


def _work(path: str, replicas: int, batch: int, width: float, calls: int) -> None:
    from simclr_tf import startup

    startup.load_tensorflow()
    import tensorflow as tf

    from benchmarks.speed import network, timing
    from simclr_tf import distribution
    from simclr_tf.config import StrategyConfig
    from simclr_tf.job import open_job

    job = open_job(StrategyConfig(num_logical_cpus=replicas))
    strategy = job.strategy
    with strategy.scope():
        training = network.build_training(width=width, image_size=SIZE)

    def same_batch(part: distribution.Part) -> tf.data.Dataset:
        return network.same_batch(batch // part.replicas, SIZE, seed=part.index)

    batches = iter(job.distribute(same_batch))
    take = network.stepper(training, batches, strategy)
    take(1)
    steps = 2
    rates = timing.rates(lambda: take(steps), steps * batch, calls)
    if job.is_chief:
        with open(path, "w") as file:
            json.dump(rates, file)


def main() -> None:
    """Prints the table, or works for it."""
    parser = command.Parser(description=__doc__)
    parser.add_argument("--batch", type=command.count, default=128, help="pairs over all replicas")
    parser.add_argument("--width", type=float, default=0.25, help="width of the ResNet-18")
    parser.add_argument("--calls", type=command.count, default=5)
    parser.add_argument("--worker", metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--replicas", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        _work(given.worker, given.replicas, given.batch, given.width, given.calls)
        return
    print(
        f"ResNet-18, width {given.width:g}, {SIZE} px, {given.batch} pairs; {os.cpu_count()} cores"
    )
    print("| where | pairs/s (spread) | efficiency |\n|---|---|---|")
    one = None
    for setting in SETTINGS:
        rates = measure(setting, given.batch, given.width, given.calls)
        middle = statistics.median(rates)
        one = one or middle
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        print(f"| {setting} | {middle:.0f} ({spread}) | {middle / one:.0%} |", flush=True)


if __name__ == "__main__":
    command.end(main)
