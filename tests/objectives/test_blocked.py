"""The blocked contrastive loss against the plain one and its metrics."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.objectives import metrics
from simclr_tf.objectives.blocked import contrastive_loss
from simclr_tf.objectives.nt_xent import nt_xent
from tests import warm


def views(images, dims=16, scale=1.0, noise=0.7):
    rng = np.random.default_rng(images)
    base = rng.normal(size=(images, dims))
    return [
        tf.constant(scale * (base + noise * rng.normal(size=base.shape)), tf.float32)
        for _ in range(2)
    ]


def plain(a, b, temperature, hidden_norm):
    output = nt_xent(a, b, temperature, hidden_norm)
    accuracy = metrics.contrastive_accuracy(output)
    return output.loss, accuracy, metrics.contrastive_entropy(output)


def with_gradients(function, a, b):
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        found = function(a, b)
        loss = 3.0 * found[0]  # an upstream gradient that is not 1
    return found, tape.gradient(loss, [a, b])


def assert_equal(found, expected):
    (loss, accuracy, entropy), gradients = found
    (plain_loss, plain_accuracy, plain_entropy), plain_gradients = expected
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-6)
    np.testing.assert_allclose(accuracy, plain_accuracy, atol=1e-6)
    np.testing.assert_allclose(entropy, plain_entropy, atol=5e-6)
    for one, other in zip(gradients, plain_gradients, strict=True):
        largest = np.abs(other).max()
        np.testing.assert_allclose(one, other, atol=3e-6 * max(largest, 1e-3))


@pytest.mark.parametrize("hidden_norm", [True, False])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("block_size", [1, 7, 16, 1000])
def test_blocks_give_the_plain_loss(block_size, temperature, hidden_norm):
    a, b = views(24, scale=1.0 if hidden_norm else 0.1)
    found = with_gradients(
        lambda a, b: contrastive_loss(a, b, temperature, hidden_norm, block_size), a, b
    )
    assert_equal(found, with_gradients(lambda a, b: plain(a, b, temperature, hidden_norm), a, b))


@pytest.mark.parametrize("images", [1, 64, 200])
def test_the_chosen_form_gives_the_plain_loss(images):
    a, b = views(images)
    graph = tf.function(lambda a, b: with_gradients(lambda a, b: contrastive_loss(a, b, 0.1), a, b))
    assert_equal(graph(a, b), with_gradients(lambda a, b: plain(a, b, 0.1, True), a, b))


# 2b anchors among 2b candidates: 180 * 180 = 32,400 logits and 182 * 182 = 33,124.
@pytest.mark.parametrize(("images", "hits"), [(90, 1), (91, 0)])
def test_up_to_32768_logits_take_the_plain_form(images, hits):
    """Where all candidates tie it counts the first of them, blocks count none."""
    same = tf.ones([images, 2])
    accuracy = contrastive_loss(same, same, 0.1, hidden_norm=False).accuracy
    assert float(accuracy) == pytest.approx(hits / images)


@pytest.mark.parametrize("block_size", [0, 16])
def test_a_batch_of_unknown_size(block_size):
    a, b = views(24)
    spec = [tf.TensorSpec([None, 16])] * 2
    graph = tf.function(
        lambda a, b: with_gradients(
            lambda a, b: contrastive_loss(a, b, 0.1, block_size=block_size), a, b
        ),
        input_signature=spec,
    )
    assert_equal(graph(a, b), with_gradients(lambda a, b: plain(a, b, 0.1, True), a, b))


def test_compiles_under_xla():
    a, b = views(24)
    graph = tf.function(
        lambda a, b: with_gradients(lambda a, b: contrastive_loss(a, b, 0.1, block_size=10), a, b),
        jit_compile=True,
    )
    assert_equal(graph(a, b), with_gradients(lambda a, b: plain(a, b, 0.1, True), a, b))


def test_no_matrix_of_all_similarities_is_made():
    images, rows = 300, 50
    spec = [tf.TensorSpec([images, 16])] * 2
    graph = tf.function(
        lambda a, b: with_gradients(lambda a, b: contrastive_loss(a, b, 0.1, True, rows), a, b),
        input_signature=spec,
    ).get_concrete_function()
    sizes = [
        output.shape.num_elements() or 0 for op in graph.graph.get_operations()
        for output in op.outputs if output.shape.is_fully_defined()
    ]  # fmt: skip
    assert max(sizes) <= 2 * images * 16


def test_zero_vectors_have_a_finite_gradient():
    a = tf.zeros([40, 16])
    found, gradients = with_gradients(
        lambda a, b: contrastive_loss(a, b, 0.1, block_size=8), a, tf.identity(a)
    )
    np.testing.assert_allclose(found.loss, 2 * np.log(79), rtol=1e-6)
    assert np.isfinite(np.stack(gradients)).all()
    assert float(found.accuracy) == 0  # no tie counts as right


def test_bfloat16_is_computed_in_float32():
    a, b = (tf.cast(view, tf.bfloat16) for view in views(24))
    found = contrastive_loss(a, b, 0.1, block_size=8)
    assert found.loss.dtype == tf.float32
    np.testing.assert_allclose(found.loss, nt_xent(a, b, 0.1).loss, rtol=1e-6)


def test_bad_arguments():
    a, b = views(4)
    with pytest.raises(InputError, match="loss_block_size must be at least 0"):
        contrastive_loss(a, b, 0.1, block_size=-1)
    with pytest.raises(InputError, match="temperature"):
        contrastive_loss(a, b, 0.0)


REPLICAS = """
import json, sys
import numpy as np, tensorflow as tf
from simclr_tf.objectives.blocked import contrastive_loss

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
arrays = rng.normal(size=(2, 24, 16)).astype(np.float32)

def share(a, b, replicas):
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        found = contrastive_loss(a, b, 0.1, block_size=5)
        loss = found.loss / replicas
    return [*found], tape.gradient(loss, [a, b])

def on(strategy):
    count = strategy.num_replicas_in_sync
    pieces = [np.split(array, count) for array in arrays]
    values = [
        strategy.experimental_distribute_values_from_function(
            lambda context, piece=piece: tf.constant(piece[context.replica_id_in_sync_group]))
        for piece in pieces
    ]
    run = tf.function(lambda a, b: strategy.run(share, args=(a, b, count)))
    local = strategy.experimental_local_results
    found, gradients = run(*values)
    return ([float(np.mean(local(one))) for one in found],
            [np.concatenate(local(one)).tolist() for one in gradients])

print(json.dumps([on(tf.distribute.get_strategy()),
                  on(tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]))]))
"""


def test_replicas_equal_one_device():
    ran = warm.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    (one, gradients), (two, gradients_of_two) = json.loads(ran.stdout.splitlines()[-1])
    np.testing.assert_allclose(two, one, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradients_of_two, gradients, atol=1e-6)
