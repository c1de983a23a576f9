"""A step with and without recomputed blocks: on two logical CPUs, or how much memory it takes.

Run by the tests as processes of their own: logical devices are configured before TensorFlow starts,
and the peak of the memory is that of a process.
"""

import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

from benchmarks.memory import status
from simclr_tf import distribution
from simclr_tf.config import BatchNormConfig, EncoderConfig, StrategyConfig
from simclr_tf.models.conv import LayerFactory
from simclr_tf.models.resnet import BlockGroup


def build(recompute, channels, blocks):
    keras.utils.set_random_seed(0)
    config = EncoderConfig(resnet_depth=18, stem="cifar")
    group = BlockGroup(channels, blocks, 1, config, LayerFactory(BatchNormConfig()), name="group")
    group(tf.zeros([1, 8, 8, channels]))
    for variable in group.trainable_variables:
        if "gamma" in variable.name:
            variable.assign(tf.fill(variable.shape, 0.5))
    group.recompute = recompute
    return group


def gradients(group, images):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(group(images, training=True) ** 2)
    return tape.gradient(loss, group.trainable_variables)


def replicas():
    """The largest deviation from the plain step, statistics included, and the largest gradient."""
    strategy = distribution.build_strategy(StrategyConfig(num_logical_cpus=2))
    images = np.random.default_rng(0).random((2, 4, 8, 8, 4), np.float32)
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(images[context.replica_id_in_sync_group])
    )
    found = []
    for recompute in (False, True):
        with strategy.scope():
            group = build(recompute, channels=4, blocks=1)

        @tf.function
        def step(images, group=group):
            return strategy.run(lambda mine: gradients(group, mine), args=(images,))

        values = [strategy.experimental_local_results(value) for value in step(shares)]
        moved = [strategy.experimental_local_results(v) for v in group.variables
                 if "moving_" in v.name]  # fmt: skip
        found.append([one.numpy() for parts in (*values, *moved) for one in parts])
    differences = [np.abs(a - b).max() for a, b in zip(*found, strict=True)]
    print(max(differences), max(np.abs(value).max() for value in found[0]))


def memory():
    """MiB that a step takes at its peak beyond what was there before, recomputed and plain.

    The peak is that of the process: the plain step comes last, because it takes more. Should it not
    do so, it is said to have taken no more than the first one did.
    """
    print(*(_memory_of_a_step(recompute) for recompute in (True, False)))


def _memory_of_a_step(recompute):
    group = build(recompute, channels=16, blocks=8)
    images = tf.random.stateless_uniform([16, 32, 32, 16], [0, 0])
    step = tf.function(lambda: gradients(group, images))
    # The warm-up of a small step, so that libraries and traces do not count.
    tf.function(lambda: gradients(group, images[:1]))()
    before = status("VmRSS")
    step()
    return (status("VmHWM") - before) / 2**20


if __name__ == "__main__":
    {"replicas": replicas, "memory": memory}[sys.argv[1]]()
