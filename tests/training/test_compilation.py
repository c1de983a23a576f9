"""Where XLA compiles the step, and that it stays the same step."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import ObjectiveConfig, OptimizerConfig
from simclr_tf.errors import InputError
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.training import compilation, loop
from simclr_tf.training.gradient_cache import CachedStep, Chunks
from simclr_tf.training.losses import pretrain_losses, pretrain_losses_of_outputs
from simclr_tf.training.means import Means, metric_names
from simclr_tf.training.step import UpdateStep

ONE_DEVICE = tf.distribute.get_strategy()


class Replicas:
    num_replicas_in_sync = 4


@pytest.mark.parametrize(
    ("setting", "meaning", "step"),
    [("auto", "input", False), ("input", "input", False), ("off", "off", False),
     ("on", "on", True)],
)  # fmt: skip
def test_one_device_compiles_when_asked(setting, meaning, step):
    assert compilation.resolve(setting, ONE_DEVICE) == meaning
    assert compilation.compiles(meaning, ONE_DEVICE) == step
    assert compilation.note(setting, ONE_DEVICE) is None


def test_replicas_can_not_be_compiled():
    assert compilation.resolve("auto", Replicas()) == "input"
    with pytest.raises(InputError, match="jit_compile must be auto, input or off with 4") as one:
        compilation.resolve("on", Replicas())
    assert "\n" not in str(one.value)


def test_a_tpu_compiles_by_itself(monkeypatch):
    monkeypatch.setattr(tf.distribute, "TPUStrategy", Replicas)
    assert {compilation.resolve(one, Replicas()) for one in ("auto", "on", "off")} == {"on"}
    assert not compilation.compiles("on", Replicas())
    assert compilation.note("auto", Replicas()) == (
        "--jit_compile=auto is on: a TPU compiles every step"
    )
    assert compilation.note("on", Replicas()) is None


def test_xla_compiles_what_is_wanted_and_nothing_else():
    def texts(x):  # XLA has no strings
        return tf.strings.length(tf.strings.as_string(x))

    assert compilation.compiled(texts, False) is texts
    with pytest.raises(tf.errors.InvalidArgumentError, match="XLA"):
        compilation.compiled(texts, True)(tf.constant(1.0))


def after_steps(model, cached, jit_compile, skip_bad):
    """Every variable after two steps, and the mean loss."""
    rng = np.random.default_rng(0)
    batch = {f"view_{i}": rng.random((8, 8, 8, 3), np.float32) for i in range(2)}
    batch["label"] = np.arange(8) % 3
    decay = OptimizerConfig()
    optimizer = build_optimizer(decay, 0.1, variable_roles(model))
    optimizer.build(model.trainable_variables)
    means = Means(metric_names(model, "pretrain"))
    if cached:
        combine = pretrain_losses_of_outputs(model, ObjectiveConfig(), decay)
        step = CachedStep(model, combine, optimizer, means, Chunks(8, 4),
                          jit_compile=jit_compile)  # fmt: skip
    else:
        losses = pretrain_losses(model, ObjectiveConfig(), decay)
        step = UpdateStep(losses, model.trainable_variables, optimizer, means,
                          jit_compile=jit_compile)  # fmt: skip
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    outcome = loop.compile_steps(step, ONE_DEVICE, skip_bad)(batches, tf.constant(2))
    assert int(outcome.bad) == 0 and int(optimizer.iterations) == 2
    return [v.numpy() for v in model.variables], means.result()["train/total_loss"]


@pytest.fixture(scope="module")
def plain():
    """What steps that are not compiled come to, by whether they are cached: filled by the test."""
    return {}


@pytest.mark.parametrize(("cached", "skip_bad"), [(False, False), (False, True), (True, False)])
def test_compiled_steps_are_the_same_steps(tiny_model, plain, cached, skip_bad):
    before = [variable.numpy() for variable in tiny_model().variables]
    if cached not in plain:  # no step is bad: skipping those makes no difference
        plain[cached] = after_steps(tiny_model(), cached, False, False)
    expected, loss = plain[cached]
    compiled, same = after_steps(tiny_model(), cached, True, skip_bad)
    assert same == pytest.approx(loss, rel=1e-4)
    moved = [np.abs(one - two).max() for one, two in zip(before, expected, strict=True)]
    apart = [np.abs(one - two).max() for one, two in zip(compiled, expected, strict=True)]
    assert max(moved) > 0.05
    assert max(apart) < 0.02 * max(moved)
