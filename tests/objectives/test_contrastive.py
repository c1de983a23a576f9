"""Every setting of the objective reaches the loss it names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import ObjectiveConfig
from simclr_tf.errors import InputError
from simclr_tf.objectives import pairwise
from simclr_tf.objectives.contrastive import loss_of_guessing, objective_of_views
from simclr_tf.objectives.nt_xent import nt_xent

VIEWS = tuple(np.random.default_rng(i).normal(size=(6, 4)).astype(np.float32) for i in range(2))


def _loss(**settings) -> float:
    return float(objective_of_views(*VIEWS, ObjectiveConfig(**settings)).loss)


def test_the_default_is_nt_xent_with_the_negatives_of_both_views():
    assert _loss(temperature=0.3) == pytest.approx(float(nt_xent(*VIEWS, 0.3).loss), rel=1e-6)
    blocked = _loss(temperature=0.3, loss_block_size=5)
    assert blocked == pytest.approx(_loss(temperature=0.3), rel=1e-5)


def test_nt_xent_with_the_negatives_of_the_other_view():
    a, b = (view / np.linalg.norm(view, axis=1, keepdims=True) for view in VIEWS)
    similarities = (a @ b.T / 0.3).astype(np.float64)
    expected = sum(
        np.mean(np.log(np.exp(s).sum(1)) - np.diag(s)) for s in (similarities, similarities.T)
    )
    found = _loss(temperature=0.3, negatives="other_view")
    assert found == pytest.approx(expected, rel=1e-5)
    assert found < _loss(temperature=0.3)  # half as many negatives


def _rows(temperature: float) -> np.ndarray:
    """Every anchor's dot products with all 2B embeddings, over the temperature; -inf of itself."""
    z = np.concatenate(VIEWS).astype(np.float64)
    rows = z @ z.T / temperature
    np.fill_diagonal(rows, -np.inf)
    return rows


@pytest.mark.parametrize("settings", [{}, {"loss_block_size": 5}, {"negatives": "other_view"}])
def test_lengths_count_where_nothing_is_normalised(settings):
    rows, images = _rows(0.7), len(VIEWS[0])
    if "negatives" in settings:
        rows[:images, :images] = rows[images:, images:] = -np.inf
    positives = rows[np.arange(2 * images), np.arange(2 * images) - images]
    expected = 2 * np.mean(np.log(np.exp(rows).sum(1)) - positives)
    found = _loss(temperature=0.7, hidden_norm=False, **settings)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", ["nt_xent", "nt_logistic", "margin_triplet"])
def test_the_temperature_of_the_entropy_is_that_of_the_run(objective):
    config = ObjectiveConfig(objective=objective, temperature=0.7, hidden_norm=False)
    p = np.exp(_rows(0.7))
    p /= p.sum(1, keepdims=True)
    expected = -np.mean(np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1))
    assert float(objective_of_views(*VIEWS, config).entropy) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("negatives", ["both_views", "other_view"])
@pytest.mark.parametrize("semi_hard", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_other_objectives_get_their_settings(negatives, semi_hard, norm):
    given = {"semi_hard": semi_hard, "hidden_norm": norm, "temperature": 0.3, "margin": 0.2}
    known = {
        "semi_hard": semi_hard, "hidden_norm": norm, "other_view_only": negatives == "other_view"
    }  # fmt: skip
    logistic = _loss(objective="nt_logistic", negatives=negatives, **given)
    expected = float(pairwise.nt_logistic(*VIEWS, 0.3, **known).loss)
    assert logistic == pytest.approx(expected, rel=1e-5)
    margin = _loss(objective="margin_triplet", negatives=negatives, **given)
    expected = float(pairwise.margin_triplet(*VIEWS, 0.2, **known).loss)
    assert margin == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"objective": "triplet"}, "objective"),
        ({"negatives": "all"}, "negatives"),
        ({"semi_hard": True}, "semi_hard"),
        ({"margin": -1.0}, "margin"),
        ({"objective": "nt_logistic", "loss_block_size": 8}, "loss_block_size"),
        ({"negatives": "other_view", "loss_block_size": 8}, "loss_block_size"),
    ],
)
def test_refused_settings(settings, name):
    with pytest.raises(InputError) as caught:
        ObjectiveConfig(**settings)
    assert caught.value.name == name


def test_gradients_reach_both_views():
    for objective in ("nt_xent", "nt_logistic", "margin_triplet"):
        a, b = (tf.constant(view) for view in VIEWS)
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            loss = objective_of_views(a, b, ObjectiveConfig(objective=objective)).loss
        assert all(np.abs(g).max() > 0 for g in tape.gradient(loss, [a, b]))


@pytest.mark.parametrize(
    ("config", "candidates"),
    [(ObjectiveConfig(), 11), (ObjectiveConfig(negatives="other_view"), 6)],
)
def test_the_loss_of_guessing_is_that_of_equal_vectors(config, candidates):
    ones = tf.ones((6, 4))
    guess = loss_of_guessing(config, 6)
    assert guess == pytest.approx(2 * math.log(candidates))
    assert float(objective_of_views(ones, ones, config).loss) == pytest.approx(guess)
    assert loss_of_guessing(ObjectiveConfig("nt_logistic", temperature=1.0), 6) is None
