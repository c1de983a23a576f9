"""Activations computed again: the same step in less memory."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import (
    BatchNormConfig,
    EncoderConfig,
    ObjectiveConfig,
    OptimizerConfig,
)
from simclr_tf.models.conv import LayerFactory
from simclr_tf.models.resnet import BlockGroup, ResNet
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.training.gradient_cache import CachedStep, Chunks
from simclr_tf.training.losses import pretrain_losses_of_outputs
from simclr_tf.training.means import Means, metric_names
from tests import shallow, warm

ROOT = pathlib.Path(__file__).resolve().parents[2]
DECAY = 0.9


def build(depth=18, dtype="float32", blocks=2, **settings) -> BlockGroup:
    """A group whose first block projects its shortcut and whose second does not."""
    config = EncoderConfig(resnet_depth=depth, stem="cifar", **settings)
    layers = LayerFactory(BatchNormConfig(batch_norm_decay=DECAY), dtype)
    group = BlockGroup(8, blocks, 2, config, layers, name="group")
    group(tf.zeros([1, 8, 8, 4]))
    fill(group.trainable_variables)
    return group


def fill(variables) -> None:
    rng = np.random.default_rng(0)
    for variable in variables:
        # Gammas that start at 0 would hide half of the network.
        scale, shift = (0.1, 0.7) if "gamma" in variable.name else (0.2, 0.0)
        variable.assign(rng.normal(shift, scale, variable.shape).astype(np.float32))


def step(layer, channels=4, training=True, calls=1) -> dict[str, np.ndarray]:
    """Output, gradients and running statistics after some calls of a traced step."""
    images = tf.constant(np.random.default_rng(1).random((4, 8, 8, channels), np.float32))

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = layer(images, training=training)
            output = output["final_avg_pool"] if isinstance(output, dict) else output
            loss = tf.reduce_mean(tf.cast(output, tf.float32) ** 2)
        return output, tape.gradient(loss, [images, *layer.trainable_variables])

    for _ in range(calls):
        output, gradients = run()
    found = {"output": output}
    names = ["images", *(variable.name for variable in layer.trainable_variables)]
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is not None:
            found[f"gradient {name}"] = gradient
    found |= {f"statistic {v.name}": v for v in layer.variables if "moving_" in v.name}
    return {name: tf.cast(value, tf.float32).numpy() for name, value in found.items()}


def assert_same(plain, again, close=1e-6):
    assert set(plain) == set(again)
    for name, value in plain.items():
        np.testing.assert_allclose(
            again[name], value, rtol=0, atol=close * max(1.0, np.abs(value).max()), err_msg=name
        )
    largest = max(np.abs(v).max() for n, v in plain.items() if n.startswith("gradient"))
    assert largest > 0.01  # there is something to agree on


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"depth": 50},
        {"depth": 50, "sk_ratio": 0.0625},
        {"se_ratio": 0.25},
        {"dtype": "mixed_bfloat16"},
    ],
)
def test_outputs_gradients_and_statistics_are_those_of_the_plain_step(settings):
    plain, again = build(**settings), build(**settings)
    again.recompute = True
    assert_same(step(plain, calls=2), step(again, calls=2))


def test_running_statistics_serve_and_stay_without_training():
    plain, again = build(), build()
    again.recompute = True
    assert_same(step(plain, training=False), step(again, training=False))


def test_running_statistics_move_once_a_step():
    """Against the statistics of what the layer saw, not against the plain step."""
    group = build()
    group.recompute = True
    norm, seen = group.blocks[0].bn_1, []
    norm.call, call = lambda x, **rest: seen.append(x) or call(x, **rest), norm.call
    images = tf.constant(np.random.default_rng(1).random((4, 8, 8, 4), np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(group(images, training=True))
    assert len(seen) == 1
    tape.gradient(loss, group.trainable_variables)
    assert len(seen) == 2, "the backward pass has to compute the block again"
    np.testing.assert_array_equal(seen[0], seen[1])
    expected = (1 - DECAY) * seen[0].numpy().mean((0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-4, atol=1e-7)


def encoder(recompute: bool) -> ResNet:
    made = ResNet(EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar"))
    made.recompute_blocks(recompute)
    made(tf.zeros([1, 8, 8, 3]), training=True)  # the first call creates the variables
    fill(made.trainable_variables)
    return made


def test_a_network_recomputes_all_its_groups_but_not_what_is_frozen():
    shallow.install(shallow.FOUR)
    plain, again = encoder(False), encoder(True)
    assert [group.recompute for group in again.groups] == [True] * 4
    for one in (plain, again):
        one.freeze(2)
    found = step(again, channels=3)
    assert_same(step(plain, channels=3), found)
    assert not any("block_group2" in name for name in found if name.startswith("gradient"))
    again.recompute_blocks(False)
    assert [group.recompute for group in again.groups] == [False] * 4


def test_chunks_of_a_batch_have_the_same_gradient(tiny_model):
    shallow.install(shallow.ONE)
    rng = np.random.default_rng(0)
    views = {name: rng.random((4, 8, 8, 3), np.float32) for name in ("view_0", "view_1")}
    batch = {**{k: tf.constant(v) for k, v in views.items()}, "label": tf.zeros([4], tf.int64)}
    strategy, found = tf.distribute.get_strategy(), []
    for recompute in (False, True):
        model = tiny_model()
        for variable in model.trainable_variables:
            if "gamma" in variable.name:
                variable.assign(tf.fill(variable.shape, 0.5))
        model.encoder.recompute_blocks(recompute)
        optimizer = build_optimizer(OptimizerConfig(), 0.1, variable_roles(model))
        means = Means(metric_names(model, "pretrain"))
        combine = pretrain_losses_of_outputs(model, ObjectiveConfig(), OptimizerConfig())
        cached = CachedStep(model, combine, optimizer, means, Chunks(4, 2))  # fmt: skip
        computed = tf.function(lambda step=cached: step.compute(strategy, batch))()
        moved = [v for v in model.variables if "moving_" in v.name]
        found.append([value.numpy() for value in (*computed.gradients, *moved)])
    assert max(np.abs(value).max() for value in found[0]) > 0.1
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-6)


def program(start, name: str) -> list[float]:
    command = [sys.executable, "-m", "tests.models.remat_program", name]
    # Without it, memory that was freed would count, more or less of it from run to run.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = start(command, cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [float(word) for word in done.stdout.split()]


def test_several_replicas_agree_with_the_plain_step():
    deviation, largest = program(warm.run, "replicas")
    assert largest > 0.1
    assert deviation < 1e-5


def test_it_takes_less_memory():
    """A second pass that TensorFlow merges with the first one would save nothing."""
    # Of a process of its own: a forked one has had the peak of what it was forked from.
    again, plain = program(subprocess.run, "memory")
    assert again < 0.85 * plain
