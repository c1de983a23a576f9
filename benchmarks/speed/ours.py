"""Our side of every case; each function prepares and returns what measures a round."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.speed.protocol import UnavailableError
from benchmarks.speed.timing import (
    Round,
    largest,
    peak_after_steps,
    step_rates,
    stream_rates,
    time_and_memory,
    until_first_step,
    update_time,
)
from simclr_tf import startup


def _stepper(
    depth: int,
    image_size: int,
    pairs: int,
    precision: str,
    width: float = 1.0,
    remat: bool = False,
    jit_compile: bool = False,
) -> Callable[[int], None]:
    """Takes a number of pretraining steps on the same batch, and waits for them."""
    startup.load_tensorflow()
    from benchmarks.speed import network

    training = network.build_training(depth, width, image_size, precision, remat, jit_compile)
    return network.stepper(training, iter(network.same_batch(pairs, image_size)))


def step(
    *, depth: int, image_size: int, pairs: int, precision: str, steps: int, samples: int
) -> Round:
    """Pairs per second of the training step alone."""
    return step_rates(_stepper(depth, image_size, pairs, precision), steps, pairs, samples)


def largest_step(
    *,
    depth: int,
    image_size: int,
    batches: Sequence[int],
    precision: str,
    jit_compile: bool,
    steps: int,
    samples: int,
) -> Round:
    """Pairs per second of the step with the largest batch that fits, and that batch."""
    startup.load_tensorflow()
    import tensorflow as tf

    def make_stepper(pairs: int) -> Callable[[int], None]:
        return _stepper(depth, image_size, pairs, precision, jit_compile=jit_compile)

    return largest(make_stepper, batches, steps, samples, tf.errors.ResourceExhaustedError)


def start(*, depth: int, image_size: int, pairs: int, precision: str = "float32") -> Round:
    """Seconds from the start of this process to the end of the first step."""

    def make_stepper() -> Callable[[int], None]:
        startup.load_tensorflow()
        importlib.import_module("export.runs")  # all that `run.py --mode=train` loads
        importlib.import_module("simclr_tf.modes.training")
        return _stepper(depth, image_size, pairs, precision)

    return until_first_step(make_stepper)


def step_memory(
    *,
    depth: int,
    image_size: int,
    pairs: int,
    steps: int,
    precision: str = "float32",
    remat: bool = False,
) -> Round:
    """The peak of this process's memory after some steps."""
    return peak_after_steps(
        lambda: _stepper(depth, image_size, pairs, precision, remat=remat), steps
    )


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
        maker = experiment.recipe.maker()
        return iter(experiment.images.train_batches(experiment.stream, maker))

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

    from simclr_tf.objectives.blocked import contrastive_loss

    views = [tf.random.stateless_normal([pairs, dims], [i, 0]) for i in range(2)]  # (B, D)

    @tf.function
    def gradients(hidden_a: tf.Tensor, hidden_b: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((hidden_a, hidden_b))
            result = contrastive_loss(hidden_a, hidden_b, temperature=0.1)
        return result, tape.gradient(result.loss, (hidden_a, hidden_b))

    return time_and_memory(lambda: gradients(*views)[1][0].numpy(), samples)


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

    return update_time(lambda count: update(tf.constant(count)), updates, samples)


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
