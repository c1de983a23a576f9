"""Our side of every case; each function prepares and returns what measures a round."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import pkgutil
import time
from collections.abc import Callable
from typing import Any

from benchmarks.speed.figures import GIB
from benchmarks.speed.protocol import STARTED, UnavailableError
from benchmarks.speed.timing import (
    Round,
    peak_gib,
    rates,
    require_memory,
    seconds,
    status,
    stream_rates,
)
from flags import startup


def _stepper(
    depth: int, image_size: int, pairs: int, precision: str, width: float = 1.0
) -> Callable[[int], None]:
    """Takes a number of pretraining steps on the same batch, and waits for them."""
    startup.load_tensorflow()
    import tensorflow as tf

    from benchmarks.speed import network
    from simclr_tf.training import loop

    training = network.build_training(depth, width, image_size, precision)
    run_steps = loop.compile_steps(training.step, tf.distribute.get_strategy())
    batches = iter(network.same_batch(pairs, image_size))

    def take(count: int) -> None:
        run_steps(batches, tf.constant(count))
        training.means.result()  # waits for the steps

    return take


def step(
    *, depth: int, image_size: int, pairs: int, precision: str, steps: int, samples: int
) -> Round:
    """Pairs per second of the training step alone."""
    take = _stepper(depth, image_size, pairs, precision)
    take(2)
    return lambda: {"pairs/s": rates(lambda: take(steps), steps * pairs, samples)}


def start(*, depth: int, image_size: int, pairs: int, precision: str = "float32") -> Round:
    """Seconds from the start of this process to the end of the first step."""

    def measure() -> dict[str, list[float]]:
        startup.load_tensorflow()
        importlib.import_module("export.runs")  # all that `run.py --mode=train` loads
        importlib.import_module("simclr_tf.modes.training")
        _stepper(depth, image_size, pairs, precision)(1)
        return {"s": [time.monotonic() - float(os.environ[STARTED])]}

    return lambda: measure()


def step_memory(
    *, depth: int, image_size: int, pairs: int, steps: int, precision: str = "float32"
) -> Round:
    """The peak of this process's memory after some steps."""

    def measure() -> dict[str, list[float]]:
        _stepper(depth, image_size, pairs, precision)(steps)
        return {"GiB": [peak_gib()]}

    return measure


def pipeline(
    *,
    dataset: str,
    data_dir: str | None,
    image_size: int,
    pairs: int,
    warm_up: int,
    batches: int,
    samples: int,
    augment_on: str = "host",
    use_blur: bool = True,
) -> Round:
    """Pairs per second of the host's part of the input."""
    startup.load_tensorflow()
    import tempfile

    from simclr_tf import experiment as experiment_lib
    from simclr_tf.config import AugmentConfig, DataConfig, RunConfig, TrainConfig
    from simclr_tf.distribution import Part

    settings: dict[str, Any] = {"use_blur": use_blur}
    if "augment_on" in {field.name for field in dataclasses.fields(AugmentConfig)}:
        settings["augment_on"] = augment_on
    elif augment_on != "host":
        raise UnavailableError("there is no setting augment_on")
    run = RunConfig(
        model_dir=os.path.join(tempfile.gettempdir(), "simclr_tf_benchmark"),  # never made
        data=DataConfig(dataset=dataset, data_dir=data_dir, image_size=image_size),
        augment=AugmentConfig(**settings),
        train=TrainConfig(train_batch_size=pairs, train_steps=1_000_000),
    )
    experiment = experiment_lib.prepare(run, trains=True)

    def stream() -> Any:
        return iter(experiment_lib.train_batches(experiment, 0, Part()))

    return lambda: {"pairs/s": stream_rates(stream, pairs, warm_up, batches, samples)}


def decoding(*, folder: str, images: int, samples: int) -> Round:
    """Images per second of reading and decoding the JPEGs of a folder, and nothing else."""
    startup.load_tensorflow()
    import tensorflow as tf

    files = tf.data.Dataset.list_files(os.path.join(folder, "*", "*.jpg"), shuffle=False)

    def size(path: tf.Tensor) -> tf.Tensor:
        return tf.shape(tf.io.decode_jpeg(tf.io.read_file(path), channels=3))

    sizes = files.repeat().map(size, num_parallel_calls=tf.data.AUTOTUNE).batch(images)
    return lambda: {
        "images/s": stream_rates(lambda: iter(sizes), images, warm_up=1, batches=1, samples=samples)
    }


def loss(*, pairs: int, dims: int, samples: int) -> Round:
    """Seconds of the contrastive loss, forward and backward, and the memory it takes at most."""
    startup.load_tensorflow()
    import tensorflow as tf

    compute = _loss_and_metrics()
    if compute is None:
        compute = _whole_loss()
        require_memory(80 * pairs**2)
    views = [tf.random.stateless_normal([pairs, dims], [i, 0]) for i in range(2)]  # (B, D)

    @tf.function
    def gradients(hidden_a: tf.Tensor, hidden_b: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((hidden_a, hidden_b))
            values = compute(hidden_a, hidden_b)
        return values, tape.gradient(values[0], (hidden_a, hidden_b))

    before = status("VmRSS")
    gradients(*views)

    def measure() -> dict[str, list[float]]:
        found = seconds(lambda: gradients(*views)[1][0].numpy(), samples)
        return {"s": found, "GiB": [(status("VmHWM") - before) / GIB]}

    return measure


def _loss_and_metrics() -> Callable[..., Any] | None:
    """The loss that never holds the whole matrix; None where there is none."""
    from simclr_tf import objectives

    for module in pkgutil.iter_modules(objectives.__path__):
        found = importlib.import_module(f"{objectives.__name__}.{module.name}")
        if hasattr(found, "contrastive_loss"):

            def compute(hidden_a: Any, hidden_b: Any, function: Any) -> Any:
                output = function(hidden_a, hidden_b, 0.1)
                return output.loss, output.accuracy, output.entropy

            return functools.partial(compute, function=found.contrastive_loss)
    return None


def _whole_loss() -> Callable[..., Any]:
    from simclr_tf.objectives import metrics, nt_xent

    def compute(hidden_a: Any, hidden_b: Any) -> Any:
        output = nt_xent.nt_xent(hidden_a, hidden_b, 0.1)
        accuracy = metrics.contrastive_accuracy(output)
        return output.loss, accuracy, metrics.contrastive_entropy(output)

    return compute


def lars(*, depth: int, updates: int, samples: int) -> Round:
    """Seconds of one LARS update of a ResNet's variables."""
    startup.load_tensorflow()
    import tensorflow as tf

    from benchmarks.speed import network

    training = network.build_training(depth)
    variables, optimizer = training.model.trainable_variables, training.optimizer
    gradients = [tf.random.stateless_normal(one.shape, [i, 0]) for i, one in enumerate(variables)]

    @tf.function
    def update(count: tf.Tensor) -> None:
        for _ in tf.range(count):
            optimizer.apply_gradients(
                zip(gradients, variables, strict=True), skip_gradients_aggregation=True
            )

    update(tf.constant(1))

    def measure() -> dict[str, list[float]]:
        found = seconds(lambda: update(tf.constant(updates)), samples)
        return {"ms": [1000 * one / updates for one in found]}

    return measure


def evaluate(
    *, width: float, dataset: str, data_dir: str | None, split: str, batch: int, samples: int
) -> Round:
    """Images per second of the bare forward pass and of feature extraction, in one process."""
    from benchmarks import features

    sides = features.prepare(dataset, data_dir, split, width, batch=batch)
    names = ("bare forward pass", "extraction")

    def measure() -> dict[str, list[float]]:
        found = [[side() for side in (sides.forward, sides.extraction)] for _ in range(samples)]
        return dict(zip(names, map(list, zip(*found, strict=True)), strict=True))

    measure()
    return measure
