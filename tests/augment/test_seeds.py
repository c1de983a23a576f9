"""Seeds: unique per view, and random numbers that look independent across neighbours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import seeds


def test_example_seed_is_unique_over_all_four_numbers():
    grid = itertools.product((0, 1, 2**31 - 1), (0, 1, 9999), (0, 1, -(2**62), 2**62), (0, 1, 255))
    made = [tuple(seeds.example_seed(*numbers).numpy()) for numbers in grid]
    assert len(set(made)) == len(made) == 108


def test_example_seed_takes_tensors_inside_a_dataset():
    dataset = tf.data.Dataset.range(3).map(lambda i: seeds.example_seed(7, tf.constant(2), i, 1))
    expected = [seeds.example_seed(7, 2, i, 1).numpy() for i in range(3)]
    np.testing.assert_array_equal(list(dataset.as_numpy_iterator()), expected)
    assert expected[0].dtype == np.int64


def _numbers_of(count: int, **fixed: int) -> np.ndarray:
    settings = {"seed": 0, "epoch": 0, "view": 0} | fixed
    dataset = tf.data.Dataset.range(count).map(
        lambda i: tf.stack(seeds.uniforms(seeds.example_seed(example_hash=i, **settings), 8))
    )
    return np.array(list(dataset.as_numpy_iterator()))


def test_uniforms_of_neighbouring_examples_are_uniform_and_uncorrelated(uniformity):
    numbers = _numbers_of(2000)  # (2000, 8)
    assert numbers.min() >= 0 and numbers.max() < 1
    for column in numbers.T:
        uniformity(column, 0, 1)
    pairs = np.corrcoef(np.concatenate([numbers[:-1], numbers[1:]], axis=1).T)  # (16, 16)
    assert np.abs(pairs - np.eye(16)).max() < 0.1


def test_views_epochs_and_run_seeds_are_uncorrelated():
    base = _numbers_of(1000).ravel()
    for change in ({"view": 1}, {"epoch": 1}, {"seed": 1}):
        other = _numbers_of(1000, **change).ravel()
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.05, change


def test_split_gives_different_seeds_and_repeats():
    parts = np.array(seeds.split(tf.constant([1, 2], tf.int64), 50))
    assert len({tuple(part) for part in parts}) == 50
    np.testing.assert_array_equal(parts, np.array(seeds.split((1, 2), 50)))


def test_below_reaches_every_index_and_never_the_bound():
    numbers = tf.constant([0.0, 0.2499, 0.25, 0.75, 1 - 2**-24])
    np.testing.assert_array_equal(seeds.below(numbers, 4), [0, 0, 1, 3, 3])
    assert seeds.below(tf.constant(1 - 2**-24), 2**24).numpy() == 2**24 - 1


@pytest.mark.parametrize("count", [1, 4, 5, 14])
def test_many_seeds_give_the_numbers_of_each(count):
    """The formula against TensorFlow's kernel."""
    low, high = -(2**63), 2**63 - 1
    many = tf.random.stateless_uniform((40, 2), (1, 2), low, high, tf.int64)
    expected = [seeds.numbers(seed, count) for seed in many]
    np.testing.assert_array_equal(seeds.numbers(many, count), expected)
    compiled = tf.function(lambda s: seeds.numbers(s, count), jit_compile=True)
    np.testing.assert_array_equal(compiled(many), expected)
    assert len(np.unique(expected)) == 40 * count


def test_seeds_of_several_views_are_those_of_each():
    together = seeds.example_seed(3, 7, 2**40, tf.range(3))
    np.testing.assert_array_equal(
        together, [seeds.example_seed(3, 7, 2**40, view) for view in range(3)]
    )
