"""Seeds and random numbers of the augmentations.

Nothing here keeps state: a view is decided by (seed, epoch, example, view) alone, whatever the
order, the process or the device that computes it. The generator is named (Philox) rather than left
to TensorFlow, which would pick another one on a TPU.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_ALGORITHM, _PHILOX = "philox", 1
_LOWER, _HALF = np.uint64(2**32 - 1), np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))


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
        view: 0 or 1 in pretraining; other numbers below 256 for other uses. Several, (V,), give
            one seed each.

    Returns:
        int64 (2,) or (V, 2), for `split`, `uniforms` and TensorFlow's stateless ops. Neighbours
        differ in a single bit: derive further seeds with `split`, not by arithmetic.
    """
    run = tf.cast(seed, tf.int64) * 2**32 + tf.cast(epoch, tf.int64) * 2**8
    numbers = run + tf.cast(view, tf.int64)  # () or (V,)
    hashes = tf.broadcast_to(tf.cast(example_hash, tf.int64), tf.shape(numbers))
    return tf.stack([numbers, hashes], axis=-1)


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
    return tf.unstack(numbers(seed, count), num=count)


def numbers(seed: tf.Tensor, count: int) -> tf.Tensor:
    """`uniforms` in one tensor: float32 (count,) for a seed (2,), (N, count) for seeds (N, 2).

    Both are the Philox of TensorFlow with the seed as key and as upper half of the counter. Its op
    takes one seed at a time and half as long as the crop of a small image; many are computed by
    their formula, which costs next to nothing where it is compiled.
    """
    seed = tf.convert_to_tensor(seed, tf.int64)
    words = tf.bitcast(seed, tf.uint64)  # (..., 2)
    if seed.shape.rank == 1:
        counter = tf.stack([tf.zeros([], tf.uint64), words[1]])
        return tf.raw_ops.StatelessRandomUniformV2(
            shape=[count], key=words[:1], counter=counter, alg=_PHILOX
        )
    blocks = tf.range(-(-count // 4), dtype=tf.int64)  # of four numbers
    low = tf.broadcast_to(tf.cast(blocks, tf.uint64), [tf.shape(seed)[0], blocks.shape[0]])
    key, high = words[:, :1], words[:, 1:]
    bits = _philox(_halves(low) + _halves(high), _halves(key))  # 4 x (N, blocks)
    # 23 random bits are the fraction of a number in [1, 2).
    ones = tf.bitwise.bitwise_or(tf.bitwise.bitwise_and(tf.stack(bits, -1), 0x7FFFFF), 0x3F800000)
    floats = tf.bitcast(tf.cast(ones, tf.uint32), tf.float32) - 1  # (N, blocks, 4)
    return tf.reshape(floats, [-1, 4 * blocks.shape[0]])[:, :count]


def _halves(words: tf.Tensor) -> list[tf.Tensor]:
    """The lower and the upper 32 bits of uint64, as uint64."""
    return [tf.bitwise.bitwise_and(words, _LOWER), tf.bitwise.right_shift(words, _HALF)]


def _philox(counter: list[tf.Tensor], key: list[tf.Tensor]) -> list[tf.Tensor]:
    """Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

    Args:
        counter: Four words of 32 bits, each in uint64 of any shape.
        key: Two words of 32 bits.

    Returns:
        Four random words of 32 bits.
    """
    for _ in range(10):
        low_0, high_0 = _halves(counter[0] * _MULTIPLIERS[0])
        low_1, high_1 = _halves(counter[2] * _MULTIPLIERS[1])
        counter = [
            tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(high_1, counter[1]), key[0]),
            low_1,
            tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(high_0, counter[3]), key[1]),
            low_0,
        ]
        key = [
            tf.bitwise.bitwise_and(word + step, _LOWER)
            for word, step in zip(key, _KEY_STEPS, strict=True)
        ]
    return counter


def between(uniform: tf.Tensor, low: float | tf.Tensor, high: float | tf.Tensor) -> tf.Tensor:
    """Maps a number uniform in [0, 1) to [low, high)."""
    return low + uniform * (high - low)


def below(uniform: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """Maps a number uniform in [0, 1) to an int32 uniform in 0 ... count - 1."""
    index = tf.cast(uniform * tf.cast(count, tf.float32), tf.int32)
    return tf.minimum(index, count - 1)  # the product may round up to count
