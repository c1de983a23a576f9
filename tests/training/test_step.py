"""The step as a whole: what is summed, noticed and left out."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.training.losses import Losses
from simclr_tf.training.means import Means
from simclr_tf.training.step import UpdateStep

STRATEGY = tf.distribute.get_strategy()


def build(loss=lambda weight, x: weight * x, momentum=0.9, **options):
    """A step that minimises a function of one weight and of the batch's `x`."""
    weight = tf.Variable(3.0)
    optimizer = keras.optimizers.SGD(0.1, momentum)
    optimizer.build([weight])
    means = Means(("train/total_loss",))

    def losses(batch):
        total = loss(weight, batch["x"])
        return Losses(total, {"train/total_loss": total})

    return weight, optimizer, means, UpdateStep(losses, [weight], optimizer, means, **options)


def test_a_step_updates_counts_and_reports():
    weight, optimizer, means, step = build(momentum=0.0)
    assert bool(step.take(STRATEGY, {"x": tf.constant(2.0)}))
    assert float(weight) == pytest.approx(3.0 - 0.1 * 2.0)
    assert int(optimizer.iterations) == 1
    assert means.result() == {"train/total_loss": pytest.approx(6.0)}


class FourCpus:
    """What a step asks of a strategy of four replicas."""

    num_replicas_in_sync = 4
    extended = types.SimpleNamespace(worker_devices=["/cpu:0", "/cpu:1", "/cpu:2", "/cpu:3"])


def test_the_gradients_of_replicas_add_up_to_that_of_the_mean_loss(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tf.distribute, "get_strategy", FourCpus)
        step = build()[-1]
    shares = [step.compute(STRATEGY, {"x": tf.constant(x)}) for x in (1.0, 2.0, 3.0, 6.0)]
    assert sum(float(share.gradients[0]) for share in shares) == pytest.approx(3.0)
    assert float(shares[3].losses.total) == pytest.approx(18.0)  # as it is reported


def test_a_compiled_step_does_the_same_and_is_compiled():
    weight, optimizer, means, step = build(momentum=0.0, jit_compile=True)
    assert bool(step.take(STRATEGY, {"x": tf.constant(2.0)}))
    assert float(weight) == pytest.approx(3.0 - 0.1 * 2.0)
    assert int(optimizer.iterations) == 1
    assert means.result() == {"train/total_loss": pytest.approx(6.0)}
    texts = lambda weight, x: weight * tf.strings.to_number(tf.strings.as_string(x))  # noqa: E731
    _, _, _, refused = build(texts, jit_compile=True)
    for act in (refused.take, refused.compute):
        with pytest.raises(tf.errors.InvalidArgumentError, match="XLA"):
            act(STRATEGY, {"x": tf.constant(2.0)})


@pytest.mark.parametrize(
    "loss",
    [
        lambda weight, x: weight * x,  # the loss and its gradient
        lambda weight, x: weight + tf.stop_gradient(x),  # the loss alone
        lambda weight, x: tf.sqrt(weight * 0 * tf.where(tf.math.is_finite(x), 1.0, 0.0)),  # neither
    ],
)
def test_what_is_not_finite_is_noticed(loss):
    _, _, _, step = build(loss)
    computed = step.compute(STRATEGY, {"x": tf.constant(np.inf)})
    gradient = computed.gradients[0].numpy()
    expected = np.isfinite(gradient) and np.isfinite(computed.losses.total.numpy())
    assert bool(computed.finite) == expected
    assert not expected  # sqrt has an infinite slope at 0: its gradient alone is not finite


def test_computing_changes_nothing_and_a_skipped_step_only_counts():
    weight, optimizer, means, step = build()
    step.compute(STRATEGY, {"x": tf.constant(2.0)})
    step.skip()
    assert float(weight) == 3.0
    assert int(optimizer.iterations) == 1
    assert np.isfinite(means.result()["train/total_loss"])
    # The momentum of a skipped step is not there either.
    step.take(STRATEGY, {"x": tf.constant(0.0)})
    assert float(weight) == 3.0


def test_a_variable_without_gradient_is_left_alone():
    used, unused = tf.Variable(1.0), tf.Variable(2.0)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([used, unused])
    means = Means(("train/total_loss",))
    step = UpdateStep(lambda batch: Losses(used * batch["x"], {}), [used, unused], optimizer, means)
    assert bool(step.take(STRATEGY, {"x": tf.constant(1.0)}))
    assert (float(used), float(unused)) == (pytest.approx(0.9), 2.0)


def test_autograph_leaves_the_replicas_part_alone():
    statuses = []

    def loss(weight, x):
        statuses.append(tf.__internal__.autograph.control_status_ctx().status.name)
        return weight * x

    _, _, _, step = build(loss)

    @tf.function
    def take():
        statuses.append(tf.__internal__.autograph.control_status_ctx().status.name)
        finite = step.take(STRATEGY, {"x": tf.constant(2.0)})
        step.update(step.compute(STRATEGY, {"x": tf.constant(2.0)}))
        return finite

    take()
    assert statuses == ["ENABLED", "DISABLED", "DISABLED"]
