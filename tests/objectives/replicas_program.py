"""Objectives on one device and on several logical CPUs; writes what they give as JSON.

Run by the tests as a process of its own: logical devices are configured before TensorFlow starts,
and strategies of different sizes do not get along in one process.
"""

import json
import sys

import numpy as np
import tensorflow as tf

from simclr_tf.config import ObjectiveConfig
from simclr_tf.objectives import contrastive, metrics, nt_xent, supervised

BATCH, WIDTH, CLASSES = 8, 6, 3
OTHER_OBJECTIVES = {
    "NT-Xent, other view": {"negatives": "other_view"},
    "logistic": {"objective": "nt_logistic"},
    "logistic, semi-hard": {"objective": "nt_logistic", "semi_hard": True},
    "margin": {"objective": "margin_triplet"},
    "margin, semi-hard, other view": {
        "objective": "margin_triplet", "semi_hard": True, "negatives": "other_view"
    },
}  # fmt: skip


def draw():
    rng = np.random.default_rng(0)
    return {
        "a": rng.normal(size=(BATCH, WIDTH)).astype(np.float32),
        "b": rng.normal(size=(BATCH, WIDTH)).astype(np.float32),
        "logits": rng.normal(size=(BATCH, CLASSES)).astype(np.float32),
        # Spread unevenly: the last replica of four holds no label at all.
        "labels": np.array([0, 1, 2, -1, -1, 1, -1, -1]),
    }


def objectives(a, b, logits, labels, replicas, temperature, loss_function=nt_xent.nt_xent):
    """Losses, metrics and gradients of one replica's share, as in a training step."""
    with tf.GradientTape() as tape:
        tape.watch([a, b, logits])
        output = loss_function(a, b, temperature)
        supervised_loss = supervised.softmax_cross_entropy(logits, labels, CLASSES)
        total = (output.loss + supervised_loss) / replicas
    gradients = tape.gradient(total, [a, b, logits])
    scalars = [
        output.loss,
        supervised_loss,
        metrics.contrastive_accuracy(output),
        metrics.contrastive_entropy(output),
        metrics.cross_view_accuracy(output),
    ]
    return scalars, gradients, output.labels


def without_gather(a, b, temperature):
    """What a replica computes that does not know of the others."""
    parts = nt_xent._gather_views
    nt_xent._gather_views = lambda a, b: (a, b, 0)
    try:
        return nt_xent.nt_xent(a, b, temperature)
    finally:
        nt_xent._gather_views = parts


def share(strategy, array):
    """Every replica's rows of an array."""
    pieces = np.split(array, strategy.num_replicas_in_sync)
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(pieces[context.replica_id_in_sync_group])
    )


def on_replicas(strategy, arrays, temperature, loss_function=nt_xent.nt_xent, graph=True):
    count = strategy.num_replicas_in_sync

    def step(a, b, logits, labels):
        return strategy.run(
            objectives, args=(a, b, logits, labels, count, temperature, loss_function)
        )

    run = tf.function(step) if graph else step
    scalars, gradients, labels = run(
        *[share(strategy, arrays[name]) for name in ("a", "b", "logits", "labels")]
    )
    local = strategy.experimental_local_results
    return {
        "scalars": [float(np.mean(local(scalar))) for scalar in scalars],
        "gradients": [np.concatenate(local(g)).tolist() for g in gradients],
        "labels": np.concatenate(local(labels)).tolist(),
    }


def pairwise_on_replicas(strategy, arrays, config):
    """Loss and gradients of the configured objective."""
    count = strategy.num_replicas_in_sync

    def slopes(a, b):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            loss = contrastive.objective_of_views(a, b, config).loss
            total = loss / count
        return loss, tape.gradient(total, [a, b])

    views = share(strategy, arrays["a"]), share(strategy, arrays["b"])
    loss, gradients = strategy.run(slopes, args=views)
    local = strategy.experimental_local_results
    return {
        "loss": float(np.mean(local(loss))),
        "gradients": [np.concatenate(local(g)).tolist() for g in gradients],
    }


def uneven_message(strategy):
    """The error of replicas that hold 1, 2, ... images."""
    rows = strategy.experimental_distribute_values_from_function(
        lambda context: tf.ones([1 + context.replica_id_in_sync_group, WIDTH])
    )
    try:
        tf.function(lambda: strategy.run(lambda x: nt_xent.nt_xent(x, x, 0.1).loss, (rows,)))()
    except (tf.errors.OpError, ValueError) as error:
        return str(error)
    return ""


def main(count, path):
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # costs more
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, logical)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    arrays = draw()
    one = tf.distribute.OneDeviceStrategy(devices[0])
    several = tf.distribute.MirroredStrategy(devices)
    results = {}
    for temperature, graph in ((0.5, True), (0.01, False)):  # to trace costs more than to compute
        results[f"one device, {temperature}"] = on_replicas(one, arrays, temperature, graph=False)
        results[f"replicas, {temperature}"] = on_replicas(several, arrays, temperature, graph=graph)
    for name, settings in OTHER_OBJECTIVES.items():
        config = ObjectiveConfig(temperature=0.5, margin=0.4, **settings)
        for where, strategy in (("one device", one), ("replicas", several)):
            results[f"{name}, {where}"] = pairwise_on_replicas(strategy, arrays, config)
    results["no gather"] = on_replicas(several, arrays, 0.5, without_gather, graph=False)
    results["uneven"] = uneven_message(several)  # last: it leaves collectives unusable
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
