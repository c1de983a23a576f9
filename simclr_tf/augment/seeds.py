"""Seeds and random numbers of the augmentations.

Nothing here keeps state: a view is decided by (seed, epoch, example, view) alone, whatever the
order, the process or the device that computes it. The generator is named (Philox) rather than left
to TensorFlow, which would pick another one on a TPU.
"""

from __future__ import annotations

import tensorflow as tf

_ALGORITHM = "philox"


def example_seed(
    seed: int | tf.Tensor,
    epoch: int | tf.Tensor,
    example_hash: int | tf.Tensor,
    view: int | tf.Tensor,
) -> tf.Tensor:
    """The seed of one view of one example in one epoch.

    Within an epoch different (example, view) never share a seed: the four integers enter a
    bijection of 128 bits pair by pair. Seeds of different epochs are unrelated.

    Args:
        seed: Seed of the run.
        epoch: Number of the pass over the data.
        example_hash: What identifies the example, int64 scalar.
        view: 0 or 1 in pretraining; other numbers for other uses.

    Returns:
        int64 (2,), for stateless ops or `split`.
    """
    run = _full_integers(_pair(seed, epoch), (2,))  # (2,)
    example = _pair(example_hash, view)  # (2,)
    return _full_integers(tf.bitwise.bitwise_xor(run, example), (2,))  # (2,)


def split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` independent seeds derived from one, int64 (2,) each; use each of them once."""
    return tf.unstack(_full_integers(seed, (count, 2)), num=count)


def uniforms(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` independent float32 scalars, uniform in [0, 1).

    One draw serves all parameters of an op: a random op per parameter would cost more than the
    arithmetic on a 32 px image.
    """
    values = tf.random.stateless_uniform((count,), seed, alg=_ALGORITHM)  # (count,)
    return tf.unstack(values, num=count)


def between(uniform: tf.Tensor, low: float | tf.Tensor, high: float | tf.Tensor) -> tf.Tensor:
    """Maps a number uniform in [0, 1) to [low, high)."""
    return low + uniform * (high - low)


def below(uniform: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """Maps a number uniform in [0, 1) to an int32 uniform in 0 ... count - 1."""
    index = tf.cast(uniform * tf.cast(count, tf.float32), tf.int32)
    return tf.minimum(index, count - 1)  # the product may round up to count


def _pair(first: int | tf.Tensor, second: int | tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.cast(first, tf.int64), tf.cast(second, tf.int64)])  # (2,)


def _full_integers(seed: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int64, alg=_ALGORITHM
    )
