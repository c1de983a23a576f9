import numpy as np
import pytest

from simclr_tf.exploration.groups import find_groups


def test_planted_kinds_and_their_number_are_found(planted):
    found = find_groups(planted.units)
    assert found.number == 6 and found.excess > 0.1
    kinds = [set(planted.kind[:243][found.group[:243] == one].tolist()) for one in range(6)]
    assert sorted(kinds, key=min) == [{0}, {1}, {2}, {3}, {4}, {5}]
    sizes = np.bincount(found.group)
    assert sizes.tolist() == sorted(sizes, reverse=True)


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_groups(seed):
    rows = np.random.default_rng(seed).normal(size=(400, 24))
    units = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    found = find_groups(units)
    assert found.number == 1 and set(found.group.tolist()) == {0}


def test_a_given_number(noise):
    found = find_groups(noise, 7)
    assert found.number == 7 and found.excess is None and found.group.max() == 6


def test_typicality_is_the_cosine_with_the_mean_of_the_group(planted):
    found = find_groups(planted.units, 6)
    for one in range(6):
        members = np.flatnonzero(found.group == one)
        mean = planted.units[members].mean(axis=0)
        expected = planted.units[members] @ mean / np.linalg.norm(mean)
        np.testing.assert_allclose(found.typicality[members], expected, atol=1e-5)
        ranks = found.rank[members]
        assert sorted(ranks.tolist()) == list(range(1, len(members) + 1))
        assert found.typicality[members[ranks == 1]] == pytest.approx(max(expected), abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 39])
def test_too_few_to_choose_from(count):
    found = find_groups(np.eye(count, 50, dtype=np.float32))
    assert found.number == 1 and found.excess is None
    assert sorted(found.rank.tolist()) == list(range(1, count + 1))


def test_equal_images_are_one_group():
    for number in (None, 3):
        found = find_groups(np.ones((80, 4), np.float32), number)
        assert found.number == 1 and np.isfinite(found.typicality).all()


def test_two_of_two():
    assert find_groups(np.eye(2, dtype=np.float32), 2).group.tolist() == [0, 1]
