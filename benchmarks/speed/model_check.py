"""The step model beside what this machine's CPU measures."""

from __future__ import annotations

import os
import pathlib
import statistics
import tempfile
from typing import NamedTuple

from benchmarks.speed import images, ours, peak, step_model, timing
from benchmarks.speed.protocol import UnavailableError
from simclr_tf import startup
from simclr_tf.errors import require


class Check(NamedTuple):
    """Medians of rounds in which both sides took turns.

    Attributes:
        flops: A second, of a matrix product.
        bandwidth: Bytes a second, of a copy beyond the caches.
        measured: Seconds of a step.
        predicted: Seconds that the model gives at all of these rates.
        ratio: Predicted over measured, the median over the rounds.
        spread: Least and greatest of it.
    """

    flops: float
    bandwidth: float
    measured: float
    predicted: float
    ratio: float
    spread: tuple[float, float]

    def sentence(self) -> str:
        """What was found, for the command line."""
        return (
            f"Measured here, on this machine's CPU: ResNet-{DEPTH}, {SIZE} px, {PAIRS} pairs, "
            f"float32: a step takes {self.measured:.2f} s. The model gives {self.predicted:.2f} s "
            f"at the machine's {self.flops / 1e9:.0f} GFLOP/s of a matrix product and "
            f"{self.bandwidth / 1e9:.1f} GB/s of memory: {self.ratio:.2f} of the measured time "
            f"({self.spread[0]:.2f} to {self.spread[1]:.2f} in single rounds)."
        )


DEPTH, SIZE, PAIRS = 18, 32, 64
EDGE = 2048  # of the matrix product
COPIED = 2**26  # bytes; far more than the caches


def _bandwidth() -> timing.Round:
    """Bytes a second that are read and written."""
    import tensorflow as tf

    numbers = tf.zeros([COPIED // 4])
    add = tf.function(lambda one: one + 1.0)
    add(numbers)
    return lambda: {"": timing.rates(lambda: add(numbers), 2 * COPIED, 3)}


def settings_here(flops: float, bandwidth: float) -> step_model.Settings:
    """One device that achieves these rates, and the step of `network.build_training`."""
    return step_model.Settings(
        depth=DEPTH, image_size=SIZE, pairs_per_gpu=PAIRS, gpus=1, precision="float32", peak=flops,
        memory_bandwidth=bandwidth, share=(1.0, 1.0), bandwidth_share=(1.0, 1.0),
        num_proj_layers=3, classes=10,
    )  # fmt: skip


def check(rounds: int = 7, steps: int = 1) -> Check:
    """Measures rates and steps in turn, so that other work on the machine slows both."""
    startup.load_tensorflow()
    from benchmarks.speed import network

    products = peak.products(size=EDGE, products=3, samples=3, precisions=("float32",))
    copies = _bandwidth()
    training = network.build_training(DEPTH, image_size=SIZE)
    take = network.stepper(training, iter(network.same_batch(PAIRS, SIZE)))
    take(2)
    found = []
    for _ in range(rounds):
        flops = 1e9 * statistics.median(products()["float32"])
        bandwidth = statistics.median(copies()[""])
        measured = timing.seconds(lambda: take(steps), 1)[0] / steps
        settings = settings_here(flops, bandwidth)
        predicted = step_model.estimate(settings, "op by op", "host", True).device_seconds
        found.append((flops, bandwidth, measured, predicted, predicted / measured))
    medians = [statistics.median(column) for column in zip(*found, strict=True)]
    ratios = [row[-1] for row in found]
    return Check(*medians, spread=(min(ratios), max(ratios)))


def host_rates(folder: str, image_size: int, pairs: int = 32) -> dict[str, float]:
    """Pairs a second of each core here, by the names of `step_model.Settings`.

    Colour and blur are left out where the library can leave them to the device.

    Args:
        folder: Holds `train/CLASS/*.jpg`; empty for generated photographs.
        image_size: Of the views.
        pairs: Of a batch.

    Raises:
        InputError: There is no such folder.
    """
    missing = bool(folder) and not os.path.isdir(os.path.join(folder, "train"))
    require(not missing, "measure_host", "must be a folder that holds train/CLASS/*.jpg", folder)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fields = {"host": "host_pairs_per_core", "device": "host_part_pairs_per_core"}
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        if not folder:
            images.write_photographs(pathlib.Path(scratch), 2 * pairs)
        for place, name in fields.items():
            try:
                measure = ours.pipeline(
                    dataset=f"folder:{folder or scratch}", data_dir=None, image_size=image_size,
                    pairs=pairs, warm_up=4, batches=3, samples=3, augment_on=place,
                )  # fmt: skip
            except UnavailableError:
                continue
            found[name] = statistics.median(measure()["pairs/s"]) / (cores or 1)
    return found
