"""Batch norm on several logical CPUs or on several workers; writes what each replica gives.

Run by the tests as a process of its own: logical devices are configured before TensorFlow starts,
and a worker finds the others through TF_CONFIG.
"""

import functools
import sys

import numpy as np
import tensorflow as tf

from simclr_tf.config import BatchNormConfig
from simclr_tf.models import batch_norm

DECAY = 0.9
CHANNELS = 5
CONSTANT_CHANNEL = 2
LOOPS = 3


def cases():
    """Name -> (inputs of the whole batch, gradient of the loss with respect to the outputs)."""
    rng = np.random.default_rng(0)
    found = {}
    for name, shape, mean, std in [
        ("2-D", (8, CHANNELS), 1.0, 2.0),
        ("4-D", (8, 4, 3, CHANNELS), 1.0, 2.0),
        ("hard 2-D", (32, CHANNELS), 100.0, 0.1),
        ("hard 4-D", (8, 4, 3, CHANNELS), 100.0, 0.1),
    ]:
        x = rng.normal(mean, std, shape).astype(np.float32)
        # The replicas' means differ from each other by more than the noise within each.
        x += rng.normal(0.0, std, (len(x), *[1] * (len(shape) - 1))).astype(np.float32)
        x[..., CONSTANT_CHANNEL] = mean + np.float32(0.7)
        found[name] = x, rng.normal(0.5, 1.0, shape).astype(np.float32)
    return found


def parameters():
    rng = np.random.default_rng(1)
    gamma, beta = rng.normal(1.0, 0.3, (2, CHANNELS)).astype(np.float32)
    return gamma, beta


def build(strategy, shape, global_bn=True, dtype="float32"):
    gamma, beta = parameters()
    with strategy.scope():
        layer = batch_norm.BatchNorm(BatchNormConfig(DECAY, global_bn), dtype=dtype)
        layer.build([None, *shape[1:]])
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
    return layer


def share(strategy, values):
    pieces = np.split(values, strategy.num_replicas_in_sync)
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(pieces[context.replica_id_in_sync_group])
    )


def training_call(layer, x, dy):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * dy)
    return y, *tape.gradient(loss, [x, layer.gamma, layer.beta])


def per_replica(strategy, value):
    """Of this process's replicas, stacked."""
    local = strategy.experimental_local_results(value)
    return np.stack([tf.cast(part, tf.float32).numpy() for part in local])


def running(strategy, layer):
    """Each replica's own statistics."""
    statistics = strategy.run(
        tf.function(lambda: (layer.moving_mean.read_value(), layer.moving_variance.read_value()))
    )
    return {
        "moving_mean": per_replica(strategy, statistics[0]),
        "moving_variance": per_replica(strategy, statistics[1]),
    }


def train(strategy, layer, x):
    """The outputs of one training call, per replica."""

    @tf.function
    def step(x):
        return strategy.run(functools.partial(layer, training=True), (x,))

    return step(share(strategy, x))


def measure(strategy, x, dy, graph, **options):
    layer = build(strategy, x.shape, **options)
    replica_step = functools.partial(training_call, layer)

    def step(x, dy):
        return strategy.run(replica_step, (x, dy))

    run = tf.function(step) if graph else step
    values = run(share(strategy, x), share(strategy, dy))
    names = ["y", "dx", "dgamma", "dbeta"]
    found = {n: per_replica(strategy, v) for n, v in zip(names, values, strict=True)}
    return found | running(strategy, layer)


def in_a_loop(strategy, x, dy):
    """Several steps in a loop of the graph, around the replicas; their gradients summed."""
    layer = build(strategy, x.shape)
    with strategy.scope():
        totals = [
            tf.Variable(
                tf.zeros([CHANNELS]),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
            for _ in range(2)
        ]

    def replica_step(x, dy):
        _, _, *gradients = training_call(layer, x, dy)
        for total, gradient in zip(totals, gradients, strict=True):
            total.assign_add(gradient)

    @tf.function
    def run(x, dy):
        for _ in tf.range(LOOPS):
            strategy.run(replica_step, (x, dy))

    run(share(strategy, x), share(strategy, dy))
    read = strategy.run(tf.function(lambda: [total.read_value() for total in totals]))
    found = {"dgamma": per_replica(strategy, read[0]), "dbeta": per_replica(strategy, read[1])}
    return found | running(strategy, layer)


def in_parts(strategy, x):
    """A pass that keeps the statistics, then two that move them together by the decay."""
    layer = build(strategy, x.shape)

    def replica_step(x):
        with batch_norm.statistics_kept():
            layer(x, training=True)
        before = layer.moving_variance.read_value()
        with batch_norm.statistics_moved_in(2):
            layer(x, training=True)
            layer(x, training=True)
        return before

    step = tf.function(lambda x: strategy.run(replica_step, (x,)))
    return {"before": per_replica(strategy, step(share(strategy, x)))} | running(strategy, layer)


def without_numbers(strategy, x):
    """The first image holds an infinity and a NaN."""
    x = x.copy()
    x[0, ..., 0], x[0, ..., 1] = np.inf, np.nan
    layer = build(strategy, x.shape)
    train(strategy, layer, x)
    return running(strategy, layer)


def synchronised(strategy, x):
    """Replicas with statistics of their own, before and after they take the mean."""
    model = tf.Module()
    model.layers = {"first": [build(strategy, x.shape, global_bn=False)]}
    layer = model.layers["first"][0]
    y = train(strategy, layer, x)
    before = running(strategy, layer)
    batch_norm.sync_statistics(model)
    after = running(strategy, layer)
    return {
        "y": per_replica(strategy, y),
        **{f"before {name}": value for name, value in before.items()},
        **{f"after {name}": value for name, value in after.items()},
        "read moving_mean": layer.moving_mean.numpy(),  # as a checkpoint does
        "read moving_variance": layer.moving_variance.numpy(),
        "local moving_variance": batch_norm.local_value(layer.moving_variance),
        "local gamma": batch_norm.local_value(layer.gamma),
    }


def measure_all(strategy):
    found = {}
    for name, (x, dy) in cases().items():
        found[f"{name}, graph"] = measure(strategy, x, dy, graph=True)
        if name.startswith("hard"):
            continue
        found[f"{name}, eager"] = measure(strategy, x, dy, graph=False)
    flat, maps = cases()["2-D"], cases()["4-D"]
    found["2-D, without numbers"] = without_numbers(strategy, flat[0])
    found["2-D, synchronised"] = synchronised(strategy, flat[0])
    found["4-D, loop"] = in_a_loop(strategy, *maps)
    found["4-D, bfloat16"] = measure(strategy, *maps, True, dtype="mixed_bfloat16")
    found["4-D, in parts"] = in_parts(strategy, maps[0])
    return found


def main(path, replicas):
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # costs more
    if replicas == "worker":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
        tf.config.set_logical_device_configuration(cpu, logical)
        devices = [device.name for device in tf.config.list_logical_devices("CPU")]
        strategy = tf.distribute.MirroredStrategy(devices)
    found = measure_all(strategy)
    np.savez(path, **{f"{a}/{b}": v for a, values in found.items() for b, v in values.items()})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
