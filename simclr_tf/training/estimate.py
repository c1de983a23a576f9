"""How long a training takes on a CPU, before it starts."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from simclr_tf.job import Job
from simclr_tf.models.network import Network

_DAY = 86_400.0  # seconds
_FEWEST_VIEWS = 50_000  # of which any network that fits a CPU has enough in a day
_PIXELS, _MOST_IMAGES = 2**17, 64  # of a forward pass that is timed
_TRAINING_PASSES = 3  # a step is a forward pass and two of the same cost for the gradients


def note(model: Network, image_size: int, channels: int, views: int, job: Job) -> str:
    """A sentence where a training would take more than a day on one CPU, "" otherwise.

    A forward pass of a few images is timed, which is right within a factor of two or so.

    Args:
        model: What is trained; nothing of it changes.
        image_size: Side of the views in pixels.
        channels: Of the views.
        views: That all steps take.
        job: Where it trains.
    """
    if job.kind != "CPU" or job.replicas > 1 or views < _FEWEST_VIEWS:
        return ""
    seconds = views * seconds_per_view(model, image_size, channels)
    if seconds < _DAY:
        return ""
    days = f"{seconds / _DAY:.1f} days"
    return (f"note: on this machine the run takes about {days}, by a forward pass that was timed. "
            "--recipe=photos --budget=1h chooses a network and a length for an hour; a smaller "
            "--image_size, --resnet_depth or --width_multiplier and fewer --train_steps make any "
            "run shorter")  # fmt: skip


def seconds_per_view(model: Network, image_size: int, channels: int) -> float:
    """Seconds that training takes for a view, from a forward pass outside a graph."""
    count = int(np.clip(_PIXELS // image_size**2, 2, _MOST_IMAGES))
    images = tf.zeros([count, image_size, image_size, channels])
    model(images, training=False)  # the first one looks for the fastest way to compute
    started = time.monotonic()
    model(images, training=False)
    return _TRAINING_PASSES * (time.monotonic() - started) / count
