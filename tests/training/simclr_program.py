"""Five steps on two logical CPUs, by `fit` and by the loop of a run; writes what comes of them.

Run by the tests as a process of its own: logical devices are configured before TensorFlow starts.
"""

import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.optimizers.lars import LARS
from simclr_tf.settings.objective import ObjectiveConfig
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.training.losses import pretrain_losses
from simclr_tf.training.means import Means, metric_names
from simclr_tf.training.simclr import SimCLR
from simclr_tf.training.step import UpdateStep

STEPS, BATCH = 5, 8


def batches():
    rng = np.random.default_rng(0)
    count = STEPS * BATCH
    images = {f"view_{k}": rng.random((count, 8, 8, 3), np.float32) for k in (0, 1)}
    labelled = {**images, "label": np.arange(count) % 3}
    data = tf.data.Dataset.from_tensor_slices(labelled).batch(BATCH, drop_remainder=True)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return data.with_options(options)


def build():
    body = keras.Sequential(
        [
            keras.layers.Conv2D(6, 3, 2, use_bias=False, input_shape=(8, 8, 3)),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model = SimCLR(body, 4, temperature=0.2, num_classes=3, weight_decay=0.01)
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 0.5, weight.shape) for weight in model.get_weights()])
    return model


def by_loop(kind, strategy, schedule):
    """The loss of the last step, and the weights, by the step that runs take."""
    settings = OptimizerConfig(kind, weight_decay=0.01)
    with strategy.scope():
        model = build()
        optimizer = build_optimizer(settings, schedule, variable_roles(model))
        optimizer.build(model.trainable_variables)
        means = Means(metric_names(model, "pretrain"))
        losses = pretrain_losses(model, ObjectiveConfig(temperature=0.2), settings)
        step = UpdateStep(losses, model.trainable_variables, optimizer, means)
    take = tf.function(lambda batch: step.take(strategy, batch))
    for batch in strategy.experimental_distribute_dataset(batches()):
        take(batch)
    return means.result()["train/total_loss"], model.get_weights()


def by_fit(kind, strategy, schedule):
    """The same by `fit`."""
    with strategy.scope():
        model = build()
        made = {
            "lars": lambda: LARS(schedule),
            "momentum": lambda: keras.optimizers.SGD(schedule, 0.9, nesterov=True),
        }
        model.compile(made[kind]())
    fitted = model.fit(batches(), verbose=0)
    return fitted.history["loss"][0], model.get_weights()


def main(path):
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = {}
    for kind in ("lars", "momentum"):
        for way in (by_loop, by_fit):
            loss, weights = way(kind, strategy, 0.5)
            found[f"{kind} {way.__name__} loss"] = loss
            found |= {f"{kind} {way.__name__} {k}": weight for k, weight in enumerate(weights)}
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
