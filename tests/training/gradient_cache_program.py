"""Gradients of a batch in chunks on so many logical CPUs; with one, those of the whole batch too.

Run by the test as a process of its own: logical devices are configured before TensorFlow starts.
"""

import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf import distribution
from simclr_tf.config import (
    EncoderConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    ProjectionConfig,
    StrategyConfig,
)
from simclr_tf.job import Job
from simclr_tf.models.network import build_model
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.training import loop
from simclr_tf.training.gradient_cache import CachedStep, Chunks
from simclr_tf.training.losses import pretrain_losses_of_outputs, stack_views
from simclr_tf.training.means import Means, metric_names
from simclr_tf.training.step import UpdateStep, any_replica
from tests import shallow

BATCH, SIZE = 16, 8
DECAY = OptimizerConfig(weight_decay=1e-3)


def examples():
    rng = np.random.default_rng(0)
    views = {name: rng.random((BATCH, SIZE, SIZE, 3), np.float32) for name in ("view_0", "view_1")}
    return {**views, "label": rng.integers(-1, 3, BATCH)}


def batches(part):
    rows = np.arange(BATCH).reshape(part.count, -1)[part.index]
    mine = {name: values[rows] for name, values in examples().items()}
    return tf.data.Dataset.from_tensor_slices(mine).batch(BATCH // part.replicas, True).repeat()


def make(strategy, chunk, frozen, head="nonlinear"):
    """Model and step; `chunk=None` is the whole batch with the running statistics."""
    shallow.install((1, 1, 1, 0))  # with one, gradients are large and rounding shows
    with strategy.scope():
        keras.utils.set_random_seed(0)
        encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
        projection = ProjectionConfig(num_proj_layers=2, proj_out_dim=8, proj_head_mode=head)
        config = ModelConfig(encoder=encoder, projection=projection)
        model = build_model(config, 3, SIZE)
        optimizer = build_optimizer(DECAY, 0.1, variable_roles(model))
        optimizer.build(model.trainable_variables)
        means = Means(metric_names(model, "pretrain"))
        combine = pretrain_losses_of_outputs(model, ObjectiveConfig(), DECAY)
        if chunk is not None:
            chunks = Chunks(BATCH, chunk, frozen)
            return model, means, CachedStep(model, combine, optimizer, means, chunks)

        def losses(batch):
            outputs = model(stack_views(batch), training=not frozen)
            return combine(outputs["proj_head_output"], outputs["logits_sup"], batch["label"])

        return model, means, UpdateStep(losses, model.trainable_variables, optimizer, means)


def measure(strategy, chunk, frozen, head="nonlinear"):
    model, means, step = make(strategy, chunk, frozen, head)
    # Gammas that start at 0 would hide half of the network.
    for index, variable in enumerate(model.trainable_variables):
        if "gamma" in variable.name:
            variable.assign(tf.fill(variable.shape, 0.5 + 0.01 * index))
    iterator = iter(Job(strategy).distribute(batches))

    @tf.function
    def take():  # as `step.take` does
        computed = step.compute(strategy, next(iterator))
        strategy.run(step.update, args=(computed,))
        return computed.gradients

    gradients = take()
    found = {
        f"gradient {variable.name}": any_replica(strategy, gradient).numpy()
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    }
    for variable in model.variables:
        if "moving_" in variable.name:
            found[f"statistics {variable.name}"] = variable.numpy()
    if strategy.num_replicas_in_sync == 1:
        take()
    else:
        loop.compile_steps(step, strategy)(iterator, tf.constant(1))
    for variable in model.trainable_variables:
        found[f"weight {variable.name}"] = variable.numpy()
    for name, value in means.result().items():
        if not name.endswith("acc"):  # jumps where two logits are nearly equal
            found[f"mean {name}"] = np.array(value)
    return found


def main(replicas, path):
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # costs more
    strategy = distribution.build_strategy(StrategyConfig(num_logical_cpus=replicas))
    settings = {"chunks of 4 frozen": (4, True)}
    if replicas == 1:
        settings |= {"whole frozen": (None, True), "whole": (None, False),
                     "one chunk": (16, False), "chunks of 8": (8, False)}  # fmt: skip
    found = {}
    for setting, (chunk, frozen) in settings.items():
        for name, value in measure(strategy, chunk, frozen).items():
            found[f"{setting}: {name}"] = value
    if replicas == 1:
        for setting, chunk in (("whole without head", None), ("chunks without head", 4)):
            for name, value in measure(strategy, chunk, True, head="none").items():
                found[f"{setting}: {name}"] = value
    np.savez(path, **found)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
