"""A trainer that reads through a tf.data service; writes what it sees as JSON.

Run by the tests as a process of its own, which can be ended if it hangs. Arguments: the address of
the dispatcher, a folder of images, a file for the results, and the process ids of the dispatcher
and of the worker that are killed at the end.
"""

import itertools
import json
import os
import signal
import sys
import time

import numpy as np
import tensorflow as tf

from simclr_tf.config import AugmentConfig
from simclr_tf.data import folder_source, labels, retry, service, tfds_source
from simclr_tf.data import views as views_lib
from tests.data import streams

POLICY = views_lib.PolicyViews(2, 8, AugmentConfig(color_jitter_strength=0.0, use_blur=False))


def numbers(image, seed):
    """Of the image and of its seed; cheap, because workers compute ahead of what is read."""
    drawn = tf.random.stateless_uniform([2], seed)
    return tf.concat([tf.reduce_mean(tf.cast(image, tf.float32), axis=(0, 1)), drawn], 0)


VIEWS = views_lib.function_views((numbers, numbers))
BATCH, STEPS = 236, 6  # of an epoch of digits; 236 rows are divided into 4 parts


def process(image, seed):
    """The id of the process that computes the view, as a picture."""
    del image, seed
    number = tf.strings.to_number(tf.strings.split(tf.io.read_file("/proc/self/stat"))[0])
    return tf.reshape(number, (1, 1, 1))


def stream(source, address=None, views=VIEWS, **options):
    return streams.training(
        source, "train", batch_size=BATCH, views=views, seed=1, service=address, **options
    )


def take(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def same(batches, others):
    return len(batches) == len(others) and all(
        set(batch) == set(other) and all(np.array_equal(batch[key], other[key]) for key in batch)
        for batch, other in zip(batches, others, strict=True)
    )


def processes(source, address):
    """All that worked; again where chance gave one of them everything."""
    for _ in range(5):
        (batch,) = take(stream(source, address, views_lib.function_views((process,))), 1)
        found = sorted({int(number) for number in batch["view_0"].ravel()})
        if len(found) > 1:
            break
    return found


def resumed(source, address, killed):
    """The stream from step 2 on, with a worker killed two steps later; and what was said."""
    lines = []

    def open_at(taken):
        return stream(source, address, start_step=2 + taken)

    backoff = retry.Backoff(3, first_seconds=0.1, say=lines.append)
    local = iter(stream(source, start_step=2))
    found, expected, noticed = [], [], 0
    for element in retry.resume_iteration(open_at, backoff):
        found.append({key: value.numpy() for key, value in element.items()})
        expected.append({key: value.numpy() for key, value in next(local).items()})
        if len(found) == 2:
            os.kill(killed, signal.SIGKILL)
        elif len(found) > 2:
            time.sleep(0.2)  # what was computed before must not be all that is read
        noticed += bool(lines)
        if noticed == STEPS or len(found) == 500:
            break
    return same(found, expected), lines


def broken_off(source, address, killed):
    """How a stream ends whose dispatcher is killed, and after how many seconds."""
    iterator = iter(stream(source, address))
    next(iterator)
    os.kill(killed, signal.SIGKILL)
    started = time.monotonic()
    try:
        while time.monotonic() - started < 100:
            next(iterator)
            time.sleep(0.2)
    except tf.errors.OpError as error:
        return type(error).__name__, retry.plain_reason(error), time.monotonic() - started
    return None, "it went on", time.monotonic() - started


def main(address, folder, path, dispatcher, worker):
    service._PROBE_EVERY = 1.0  # notices a loss in 3 seconds instead of 9
    digits = tfds_source.open_tfds("digits", None)
    straight = take(stream(digits), 2 * STEPS + 2)
    half = {"shard": (1, 2), "replicas": 4}
    drawn = {**half, "views": POLICY}
    images = folder_source.open_folder(folder, "data_dir")
    hidden = labels.limit_labels(images, "train", "50_per_class", 0, "pretrain").training
    results = {
        "workers": service.check_service(address),
        "processes": processes(digits, address),
        "two epochs": same(take(stream(digits, address), 2 * STEPS + 2), straight),
        "split": same(
            take(stream(digits, address, sharding="split", **half), 8),
            take(stream(digits, sharding="split", **half), 8),
        ),
        "folder": same(take(stream(hidden, address, **drawn), 4), take(stream(hidden, **drawn), 4)),
    }
    results["resumed"], results["said"] = resumed(digits, address, int(worker))
    # What is rewritten to be deterministic must hear of a loss too.
    tf.config.experimental.enable_op_determinism()
    results["deterministic"] = same(take(stream(digits, address), 4), straight[:4])
    results["ended"] = broken_off(digits, address, int(dispatcher))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
