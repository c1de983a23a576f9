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

    The four numbers are packed side by side, so no two of them share a seed; mixing is left to the
    stateless ops, which encrypt the whole seed with Philox. That costs a few integer operations
    where a hash would cost as much as the crop of a small image.

    Args:
        seed: Seed of the run, in [0, 2^31).
        epoch: Number of the pass over the data, in [0, 2^24).
        example_hash: What identifies the example, int64 scalar.
        view: 0 or 1 in pretraining; other numbers below 256 for other uses.

    Returns:
        int64 (2,), for `split`, `uniforms` and TensorFlow's stateless ops. Neighbours differ in a
        single bit: derive further seeds with `split`, not by arithmetic.
    """
    run = tf.cast(seed, tf.int64) * 2**32 + tf.cast(epoch, tf.int64) * 2**8
    return tf.stack([run + tf.cast(view, tf.int64), tf.cast(example_hash, tf.int64)])  # (2,)


def split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` independent seeds derived from one, int64 (2,) each; use each of them once."""
    seeds = tf.random.stateless_uniform(
        (count, 2), seed, minval=None, maxval=None, dtype=tf.int64, alg=_ALGORITHM
    )
    return tf.unstack(seeds, num=count)


def uniforms(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` independent float32 scalars, uniform in [0, 1).

    One draw serves all parameters of a view: at 32 px a draw costs about as much as an operation
    on the whole image.
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
