import math

import numpy as np
import pytest

from simclr_tf.exploration import graph
from simclr_tf.exploration.label_lists import choose_to_label, find_suspects

WRONG = {5: 3, 70: 0, 120: 5, 200: 1}  # image: the label that it is given


def labels_of(planted):
    labels = planted.kind.copy()
    for row, label in WRONG.items():
        labels[row] = label
    return labels


def test_wrong_labels_come_first_with_the_right_ones(planted):
    labels = labels_of(planted)
    labels[planted.outlier] = -1
    found = find_suspects(planted.units, labels, graph.nearest_others(planted.units, 20))
    assert set(found.listed.tolist()) == set(WRONG)
    assert found.suggested[found.listed].tolist() == planted.kind[found.listed].tolist()
    assert found.score[list(WRONG)].min() > 0.9 > found.score[[1, 71]].max()


def test_scores_by_hand():
    """Only the nearest votes: 1 of 0, 0 of 1, 1 of 2 and 2 of 3."""
    angles = np.radians([0, 10, 21, 35])
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    labels = np.array([0, 1, 1, 0])
    found = find_suspects(units, labels, graph.nearest_others(units, 3))
    assert found.voters == 1  # half of the classes have one other image
    assert found.suggested.tolist() == [1, 0, 1, 1]
    assert found.score.tolist() == [1, 1, -1, 1]


def test_votes_are_weighted_by_similarity():
    rng = np.random.default_rng(0)
    units = rng.normal(size=(30, 4))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    labels = rng.integers(0, 3, 30) * 4 + 1  # with gaps
    units = units.astype(np.float32)
    found = find_suspects(units, labels, graph.nearest_others(units, 20))
    for row in range(30):
        others = sorted((o for o in range(30) if o != row), key=lambda o: -(units[row] @ units[o]))
        votes: dict[int, float] = {}
        for other in others[: found.voters]:
            weight = math.exp(float(units[row] @ units[other]) / 0.07)
            votes[int(labels[other])] = votes.get(int(labels[other]), 0) + weight
        total = sum(votes.values())
        best_other = max((votes[one] for one in votes if one != labels[row]), default=0)
        score = (best_other - votes.get(int(labels[row]), 0)) / total
        assert found.score[row] == pytest.approx(score, abs=1e-3)
        assert found.suggested[row] == max(votes, key=votes.get)


def test_unlabelled_images_get_a_suggestion_and_no_vote(planted):
    labels = np.full(244, -1)
    labels[::7] = planted.kind[::7]
    found = find_suspects(planted.units, labels, graph.nearest_others(planted.units, 20))
    unlabelled = np.flatnonzero((labels < 0) & (planted.kind >= 0))
    assert np.mean(found.suggested[unlabelled] == planted.kind[unlabelled]) == 1
    assert np.isnan(found.score[labels < 0]).all() and len(found.listed) == 0


@pytest.mark.parametrize("labels", [[-1, -1, -1], [0, -1, -1], [0, 1, 2]])
def test_nothing_to_judge(labels):
    units = np.eye(3, dtype=np.float32)
    found = find_suspects(units, np.array(labels), graph.nearest_others(units, 20))
    assert len(found.listed) == 0 and np.isnan(found.score).all()


def test_a_label_of_a_single_image_is_not_judged(planted):
    labels = planted.kind.copy()
    labels[planted.outlier] = 9
    labels[3] = 8
    found = find_suspects(planted.units, labels, graph.nearest_others(planted.units, 20))
    assert np.isnan(found.score[[3, planted.outlier]]).all() and 3 not in found.listed


def test_without_labels_every_kind_gets_one(planted):
    neighbors = graph.nearest_others(planted.units, 20)
    chosen = choose_to_label(planted.units, None, neighbors, most=6)
    assert len(chosen) == 6 and len(set(planted.kind[chosen].tolist())) >= 5
    everything = choose_to_label(planted.units, None, neighbors)
    assert len(set(everything.tolist())) == 24
    assert set(range(6)) <= set(planted.kind[everything].tolist())


def test_kinds_with_labels_come_last(planted):
    """Two kinds have labels: the next four images are of the four others."""
    labels = np.full(243, -1)
    labels[[3, 70]] = 0, 1
    units = planted.units[:243]
    chosen = choose_to_label(units, labels, graph.nearest_others(units, 20), most=4)
    assert set(planted.kind[chosen].tolist()) == {2, 3, 4, 5}
    assert (labels[chosen] < 0).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_few_or_equal_images(count):
    for units in (np.eye(count, 6, dtype=np.float32), np.ones((count, 6), np.float32)):
        chosen = choose_to_label(units, None, graph.nearest_others(units, 20))
        assert 1 <= len(chosen) <= count and len(set(chosen.tolist())) == len(chosen)


def test_nothing_is_left_to_label():
    units = np.eye(3, dtype=np.float32)
    assert len(choose_to_label(units, np.zeros(3, int), graph.nearest_others(units, 2))) == 0
