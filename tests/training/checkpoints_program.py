"""Checkpoints in processes of their own; run by the test.

`python checkpoints_program.py loop FOLDER` saves every step, without end, until it is killed.
`... full FOLDER` saves on a disk that is full from step 2 on, and prints what happened as JSON.
`... worker FOLDER` is one worker of a multi-worker run (`TF_CONFIG`), and prints its values.
"""

import json
import os
import resource
import signal
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf.training.checkpoints import CheckpointError, CheckpointStore


def build(units):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(units), keras.layers.BatchNormalization()]
    model = keras.Sequential(layers)
    model.build((None, 20))
    optimizer = keras.optimizers.SGD(1.0, momentum=0.9)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def loop(folder):
    model, optimizer = build(units=20_000)  # 3 MB with momentum
    store = CheckpointStore(folder, model, optimizer, keep=2, keep_best="train/loss", say=say)
    say(f"resumed {store.restore_latest()}")
    while True:
        step = optimizer.iterations.assign_add(1)
        for variable in model.variables:
            variable.assign(tf.fill(variable.shape, tf.cast(step, variable.dtype)))
        store.save({"train/loss": abs(int(step) - 3)})
        say(f"saved {int(step)}")


def files(folder):
    return {name: os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)}


def full(folder):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    model, optimizer = build(units=2000)
    store = CheckpointStore(folder, model, optimizer, say=say)
    found = {"errors": [], "files": []}
    optimizer.iterations.assign(1)
    store.save()
    for step, limit in ((2, 10_000), (2, 100), (3, 0)):
        optimizer.iterations.assign(step)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            store.save()
        except CheckpointError as error:
            found["errors"].append(str(error))
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        found["files"].append([files(folder), tf.train.latest_checkpoint(folder)])
    found["later"] = store.save()
    say(json.dumps(found))


def worker(folder):
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    chief = strategy.cluster_resolver.task_id == 0
    with strategy.scope():
        model, optimizer = build(units=3)

    @tf.function
    def step(batch):
        def replica(images):
            model(images, training=True)  # moves the batch statistics, which each worker has
            gradients = [tf.ones_like(variable) for variable in model.trainable_variables]
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        strategy.run(replica, args=(batch,))

    def agree(found):
        chiefs = tf.constant(found if chief else 0)
        return int(strategy.run(lambda: tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, chiefs)))  # fmt: skip

    def store(of):
        return CheckpointStore(folder, *of, keep=2, writes=chief, say=say)

    first = store((model, optimizer))
    assert first.restore_latest(agree) == 0
    images = np.full((4, 20), strategy.cluster_resolver.task_id, np.float32)
    for _ in range(3):
        step(tf.constant(images))
        first.save({"train/loss": 1.0})
        first.save()  # again: neither writes nor reads
    with strategy.scope():
        again = build(units=3)
    resumed = store(again).restore_latest(agree)
    values = [variable.numpy().tolist() for variable in again[0].variables]
    say(json.dumps({"resumed": resumed, "values": values}))


def say(line):
    print(line, flush=True)


if __name__ == "__main__":
    {"loop": loop, "full": full, "worker": worker}[sys.argv[1]](sys.argv[2])
