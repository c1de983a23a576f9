"""LARS on one device and on several logical CPUs; writes the weights after each step as JSON.

Run by the test as a process of its own: logical devices are configured before TensorFlow starts.
"""

import json
import sys

import numpy as np
import tensorflow as tf

from simclr_tf.optimizers.lars import LARS
from simclr_tf.optimizers.schedule import WarmupCosine

STEPS = 4
ROLES = {"layer/kernel": "kernel", "layer/bias": "bias"}


def train(strategy, examples):
    """Weights after each step of a linear regression, and the slots at the end."""
    count = strategy.num_replicas_in_sync
    rng = np.random.default_rng(1)
    with strategy.scope():
        kernel = tf.Variable(rng.normal(size=(5, 3)).astype(np.float32), name="layer/kernel")
        bias = tf.Variable(np.zeros(3, np.float32), name="layer/bias")
        optimizer = LARS(
            WarmupCosine(0.5, 2, STEPS), weight_decay=0.1, trust_coefficient=0.1, roles=ROLES
        )

    def step(rows):
        with tf.GradientTape() as tape:
            error = tf.reduce_mean(tf.square(rows @ kernel + bias - 1.0)) / count
        gradients = tape.gradient(error, [kernel, bias])
        optimizer.apply_gradients(zip(gradients, [kernel, bias], strict=True))

    run = tf.function(lambda rows: strategy.run(step, (rows,)))
    weights = []
    for batch in examples:
        pieces = np.split(batch, count)
        run(
            strategy.experimental_distribute_values_from_function(
                lambda context, pieces=pieces: tf.constant(pieces[context.replica_id_in_sync_group])
            )
        )
        for variable in (kernel, bias):
            weights += [
                copy.numpy().tolist() for copy in strategy.experimental_local_results(variable)
            ]
    return {"weights": weights, "iterations": int(optimizer.iterations.numpy())}


def main(count, path):
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, logical)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    examples = np.random.default_rng(0).normal(size=(STEPS, 8, 5)).astype(np.float32)
    results = {
        "one": train(tf.distribute.OneDeviceStrategy(devices[0]), examples),
        "several": train(tf.distribute.MirroredStrategy(devices), examples),
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
