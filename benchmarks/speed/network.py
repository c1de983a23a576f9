"""A pretraining step on images in memory, for the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import EncoderConfig, ModelConfig, ObjectiveConfig, OptimizerConfig
from simclr_tf.models.network import Network, build_model
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.training import loop
from simclr_tf.training.losses import pretrain_losses
from simclr_tf.training.means import Means, metric_names
from simclr_tf.training.step import UpdateStep

NUM_CLASSES = 10


class Training(NamedTuple):
    """A step with LARS and what it changes."""

    model: Network
    optimizer: keras.optimizers.Optimizer
    means: Means
    step: UpdateStep


def build_training(
    depth: int = 18,
    width: float = 1.0,
    image_size: int = 32,
    precision: str = "float32",
    remat: bool = False,
    jit_compile: bool = False,
) -> Training:
    """The step of a ResNet with a linear head alongside; call it in the strategy's scope."""
    keras.utils.set_random_seed(0)
    encoder = EncoderConfig(resnet_depth=depth, width_multiplier=width)
    config = ModelConfig(encoder=encoder, precision=precision)
    model = build_model(config, NUM_CLASSES, image_size)
    model.encoder.recompute_blocks(remat)
    decay = OptimizerConfig()
    optimizer = build_optimizer(decay, 0.01, variable_roles(model))
    optimizer.build(model.trainable_variables)
    means = Means(metric_names(model, "pretrain"))
    losses = pretrain_losses(model, ObjectiveConfig(), decay)
    step = UpdateStep(losses, model.trainable_variables, optimizer, means, jit_compile=jit_compile)
    return Training(model, optimizer, means, step)


def stepper(
    training: Training, batches: Iterator, strategy: tf.distribute.Strategy | None = None
) -> Callable[[int], None]:
    """Takes a number of steps in one call, and waits for them."""
    run_steps = loop.compile_steps(training.step, strategy or tf.distribute.get_strategy())

    def take(count: int) -> None:
        run_steps(batches, tf.constant(count))
        training.means.result()  # waits for the steps

    return take


def same_batch(pairs: int, image_size: int, seed: int = 0) -> tf.data.Dataset:
    """The same random pairs again and again."""
    views: dict[str, Any] = {
        f"view_{i}": tf.random.stateless_uniform([pairs, image_size, image_size, 3], [i, seed])
        for i in range(2)
    }
    label = tf.zeros([pairs], tf.int64)
    return tf.data.Dataset.from_tensors({**views, "label": label}).repeat()
