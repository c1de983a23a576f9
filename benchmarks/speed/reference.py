"""The reference implementation's side of every case: `PATH/tf2`, run and never copied.

It needs `TF_USE_LEGACY_KERAS=1` and parsed flags; its modules import each other by their bare
names. What stands here calls them as its `run.py` does.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.speed.timing import (
    Round,
    peak_after_steps,
    require_memory,
    step_rates,
    stream_rates,
    time_and_memory,
    until_first_step,
    update_time,
)

NUM_CLASSES = 10


class Reference(NamedTuple):
    """Its modules."""

    data: Any
    data_util: Any
    metrics: Any
    model: Any
    objective: Any


def load(path: str, **settings: Any) -> Reference:
    """Imports its program with all that belongs to it, and sets its flags."""
    sys.path.insert(0, os.path.join(path, "tf2"))
    importlib.import_module("run")
    from absl import flags, logging

    logging.set_verbosity(logging.ERROR)
    settings = {"train_mode": "pretrain", "use_tpu": False, **settings}
    flags.FLAGS(["run.py", *(f"--{name}={value}" for name, value in settings.items())])
    return Reference(*(importlib.import_module(name) for name in Reference._fields))


def _stepper(path: str, depth: int, image_size: int, pairs: int) -> Callable[[int], None]:
    """Takes a number of pretraining steps on the same batch, and waits for them.

    Without blur, which it computes within the step and we outside.
    """
    reference = load(path, resnet_depth=depth, image_size=image_size, train_batch_size=pairs,
                     use_blur=False)  # fmt: skip
    import tensorflow as tf
    import tf_keras as keras

    strategy = tf.distribute.MirroredStrategy()
    with strategy.scope():
        model = reference.model.Model(NUM_CLASSES)
        optimizer = reference.model.build_optimizer(0.01)
        names = ("loss", "accuracy", "entropy", "head_loss", "head_accuracy", "decay", "total")
        means = {name: keras.metrics.Mean(name) for name in names}

    def train(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            projected, logits = model(images, training=True)
            contrastive, similarities, positives = reference.objective.add_contrastive_loss(
                projected, hidden_norm=True, temperature=0.1, strategy=strategy
            )
            reference.metrics.update_pretrain_metrics_train(
                means["loss"], means["accuracy"], means["entropy"], contrastive, similarities,
                positives,
            )  # fmt: skip
            both = tf.concat([labels, labels], 0)
            supervised = reference.objective.add_supervised_loss(labels=both, logits=logits)
            reference.metrics.update_finetune_metrics_train(
                means["head_loss"], means["head_accuracy"], supervised, both, logits
            )
            decay = reference.model.add_weight_decay(model)
            total = contrastive + supervised + decay
            means["decay"].update_state(decay)
            means["total"].update_state(total)
            share = total / strategy.num_replicas_in_sync
        variables = model.trainable_variables
        gradients = tape.gradient(share, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    @tf.function
    def run_steps(iterator: Any, count: tf.Tensor) -> None:
        for _ in tf.range(count):
            strategy.run(train, args=next(iterator))

    def same_batch(context: Any) -> tf.data.Dataset:
        del context
        images = tf.random.stateless_uniform([pairs, image_size, image_size, 6], [0, 0])
        labels = tf.one_hot(tf.zeros([pairs], tf.int64), NUM_CLASSES)
        return tf.data.Dataset.from_tensors((images, labels)).repeat()

    batches = iter(strategy.distribute_datasets_from_function(same_batch))

    def take(count: int) -> None:
        run_steps(batches, tf.constant(count))
        means["total"].result().numpy()  # waits for the steps

    return take


def step(*, path: str, depth: int, image_size: int, pairs: int, steps: int, samples: int) -> Round:
    """Pairs per second of the training step alone."""
    return step_rates(_stepper(path, depth, image_size, pairs), steps, pairs, samples)


def start(*, path: str, depth: int, image_size: int, pairs: int) -> Round:
    """Seconds from the start of this process to the end of the first step."""
    return until_first_step(lambda: _stepper(path, depth, image_size, pairs))


def step_memory(*, path: str, depth: int, image_size: int, pairs: int, steps: int) -> Round:
    """The peak of this process's memory after some steps."""
    return peak_after_steps(lambda: _stepper(path, depth, image_size, pairs), steps)


def pipeline(
    *,
    path: str,
    dataset: str | None,
    data_dir: str,
    image_size: int,
    pairs: int,
    warm_up: int,
    batches: int,
    samples: int,
    blur: bool = False,
) -> Round:
    """Pairs per second of the host's part of the input.

    Args:
        path: The clone.
        dataset: A TFDS name; None reads the folder of images `data_dir`, with a folder `train`.
        data_dir: Where it lies.
        image_size: In pixels.
        pairs: In a batch.
        warm_up: As in `stream_rates`.
        batches: As in `stream_rates`.
        samples: As in `stream_rates`.
        blur: Whether the host also blurs, which the reference leaves to the accelerator.
    """
    reference = load(path, image_size=image_size, train_batch_size=pairs)
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.ImageFolder(data_dir) if dataset is None else tfds.builder(
        dataset, data_dir=data_dir)  # fmt: skip
    make = reference.data.build_input_fn(builder, pairs, None, True)
    dataset_ = make(tf.distribute.InputContext())
    if blur:

        def blurred(images: tf.Tensor, labels: tf.Tensor) -> Any:
            views = tf.split(images, 2, axis=-1)
            return reference.data_util.batch_random_blur(views, image_size, image_size), labels

        dataset_ = dataset_.map(blurred, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)
    return lambda: {
        "pairs/s": stream_rates(lambda: iter(dataset_), pairs, warm_up, batches, samples)
    }


def loss(*, path: str, pairs: int, dims: int, samples: int) -> Round:
    """Seconds of the contrastive loss, forward and backward, and the memory it takes at most."""
    reference = load(path)
    import tensorflow as tf

    require_memory(60 * pairs**2)
    hidden = tf.random.stateless_normal([2 * pairs, dims], [0, 0])  # (2B, D)

    @tf.function
    def gradients(values: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(values)
            total, _, _ = reference.objective.add_contrastive_loss(
                values, hidden_norm=True, temperature=0.1
            )
        return tape.gradient(total, values)

    return time_and_memory(lambda: gradients(hidden).numpy(), samples)


def lars(*, path: str, depth: int, updates: int, samples: int) -> Round:
    """Seconds of one LARS update of a ResNet's variables."""
    reference = load(path, resnet_depth=depth, image_size=32, use_blur=False)
    import tensorflow as tf

    model = reference.model.Model(NUM_CLASSES)
    model(tf.zeros([2, 32, 32, 6]), training=True)
    variables, optimizer = model.trainable_variables, reference.model.build_optimizer(0.01)
    gradients = [tf.random.stateless_normal(one.shape, [i, 0]) for i, one in enumerate(variables)]

    @tf.function
    def update(count: tf.Tensor) -> None:
        for _ in tf.range(count):
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return update_time(lambda count: update(tf.constant(count)), updates, samples)
