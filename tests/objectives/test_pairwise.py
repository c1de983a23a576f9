"""NT-Logistic and the margin triplet against loops over triples, and their gradients (Table 2)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.objectives.nt_xent import nt_xent
from simclr_tf.objectives.pairwise import margin_triplet, nt_logistic

IMAGES, WIDTH = 5, 4


def _views(seed: int = 0, images: int = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(images, WIDTH)).astype(np.float32) for _ in range(2))


def _softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def _naive(view_a, view_b, term, semi_hard, other_view_only, norm=True):
    """Sum over both directions, mean over images; `term(s_positive, s_negatives)` of an anchor.

    `s_negatives` are those that count.
    """
    a, b = (np.asarray(view, np.float64) for view in (view_a, view_b))
    if norm:
        a, b = (view / np.linalg.norm(view, axis=1, keepdims=True) for view in (a, b))
    total = 0.0
    for anchors, others in ((a, b), (b, a)):
        for i, anchor in enumerate(anchors):
            positive = anchor @ others[i]
            negatives = [anchor @ others[j] for j in range(len(a)) if j != i]
            if not other_view_only:
                negatives += [anchor @ anchors[j] for j in range(len(a)) if j != i]
            if semi_hard:
                farther = [s for s in negatives if s < positive]
                negatives = [max(farther) if farther else min(negatives)]
            total += term(positive, negatives)
    return total / len(a)


def _logistic_term(temperature):
    return lambda positive, negatives: (
        _softplus(-positive / temperature)
        + np.mean([_softplus(s / temperature) for s in negatives])
    )


def _margin_term(margin):
    return lambda positive, negatives: np.mean([max(s - positive + margin, 0) for s in negatives])


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("other_view_only", [False, True])
@pytest.mark.parametrize("semi_hard", [False, True])
@pytest.mark.parametrize("strength", [0.1, 0.4, 1.6])
def test_losses_are_those_of_the_loops(strength, semi_hard, other_view_only, norm):
    for seed in range(4):
        views = _views(seed)
        settings = {"semi_hard": semi_hard, "other_view_only": other_view_only}
        found = nt_logistic(*views, strength, hidden_norm=norm, **settings)
        expected = _naive(*views, _logistic_term(strength), norm=norm, **settings)
        assert float(found.loss) == pytest.approx(expected, rel=1e-5)
        found = margin_triplet(*views, strength, hidden_norm=norm, temperature=0.5, **settings)
        expected = _naive(*views, _margin_term(strength), norm=norm, **settings)
        assert float(found.loss) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def _slope(loss, view_a, view_b):
    a = tf.constant(view_a)
    with tf.GradientTape() as tape:
        tape.watch(a)
        value = loss(a, tf.constant(view_b)).loss
    return tape.gradient(value, a).numpy()


def test_gradients_of_table_2():
    """Two images, negatives of the other view: every anchor has one triple.

    View a's first image u is the anchor of (v+, v-) = (b[0], b[1]), the positive of the anchor
    b[0] and the negative of the anchor b[1].
    """
    (a, b), tau, margin = _views(3, images=2), 0.5, 0.7

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def pull(u, v):  # of the pair as a positive: -sigmoid(-u v / tau) / tau
        return -sigmoid(-u @ v / tau) / tau

    def push(u, v):  # of the pair as a negative: sigmoid(u v / tau) / tau
        return sigmoid(u @ v / tau) / tau

    logistic = _slope(
        lambda x, y: nt_logistic(x, y, tau, hidden_norm=False, other_view_only=True), a, b
    )
    # As anchor, and by symmetry as the other anchors' positive and negative; mean of two images.
    expected = 2 * (pull(a[0], b[0]) * b[0] + push(a[0], b[1]) * b[1]) / 2
    np.testing.assert_allclose(logistic[0], expected, rtol=1e-5)

    found = _slope(
        lambda x, y: margin_triplet(x, y, margin, hidden_norm=False, other_view_only=True), a, b
    )
    expected = np.zeros(WIDTH)
    if a[0] @ b[1] - a[0] @ b[0] + margin > 0:  # u is the anchor
        expected += b[1] - b[0]
    if b[0] @ a[1] - b[0] @ a[0] + margin > 0:  # u is the positive of b[0]
        expected -= b[0]
    if b[1] @ a[0] - b[1] @ a[1] + margin > 0:  # u is the negative of b[1]
        expected += b[1]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found[0], expected / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("semi_hard", [False, True])
def test_gradients_are_those_of_small_steps(semi_hard):
    view_a, view_b = _views(1)
    for loss in (
        lambda x, y: nt_logistic(x, y, 0.5, semi_hard=semi_hard),
        lambda x, y: margin_triplet(x, y, 0.4, semi_hard=semi_hard),
    ):
        slope = _slope(loss, view_a, view_b)
        direction = np.random.default_rng(5).normal(size=view_a.shape).astype(np.float32)
        step = 1e-3
        ahead = float(loss(view_a + step * direction, view_b).loss)
        behind = float(loss(view_a - step * direction, view_b).loss)
        found = (slope * direction).sum()
        assert found == pytest.approx((ahead - behind) / (2 * step), rel=0.02, abs=2e-3)


def test_the_semi_hard_negative_is_the_closest_farther_one():
    """An anchor along x; its positive at cosine 0.6, negatives at 0.9, 0.5 and -1."""

    def at(cosine):
        return [cosine, math.sqrt(1 - cosine**2)]

    a = np.array([at(1.0)] * 4, np.float32)
    b = np.array([at(0.6), at(0.9), at(0.5), at(-1.0)], np.float32)
    rows = {0: [0.5 - 0.6 + 0.3], 1: [0.6 - 0.9 + 0.3], 2: [-1 - 0.5 + 0.3], 3: [0.5 + 1 + 0.3]}
    first = sum(max(values[0], 0) for values in rows.values())  # the last: farthest of closer ones
    # View b's anchors all see four equal candidates: none is farther, and the difference is 0.
    expected = (first + 4 * 0.3) / 4
    found = margin_triplet(a, b, 0.3, semi_hard=True, other_view_only=True)
    assert float(found.loss) == pytest.approx(expected, abs=1e-5)


def test_a_negative_as_similar_as_the_positive_is_not_farther():
    """The anchors a[0] and a[1] see their positive at 0.5, and negatives at 0.5 and 0.25."""
    a = np.array([[1, 0]] * 3, np.float32)
    b = np.array([[0.5, 0], [0.5, 0], [0.25, 0]], np.float32)
    # a[2] has closer negatives alone, and those of view b see three equal candidates.
    expected = (2 * (1 + 0.25 - 0.5) + (1 + 0.5 - 0.25) + 3 * 1) / 3
    found = margin_triplet(a, b, 1.0, hidden_norm=False, semi_hard=True, other_view_only=True)
    assert float(found.loss) == pytest.approx(expected, rel=1e-6)


def test_accuracy_and_entropy_are_those_of_nt_xent():
    views = _views()
    output = nt_xent(*views, 0.5)
    log_p = tf.nn.log_softmax(tf.concat([output.logits_ab, output.logits_aa], 1)).numpy()
    log_q = tf.nn.log_softmax(tf.concat([output.logits_ba, output.logits_bb], 1)).numpy()
    rows = np.concatenate([log_p, log_q])
    entropy = -(np.exp(rows) * rows).sum(1).mean()
    hits = np.mean(rows.argmax(1) == np.tile(np.arange(IMAGES), 2))
    for found in (nt_logistic(*views, 0.5), margin_triplet(*views, 0.3, temperature=0.5)):
        assert float(found.entropy) == pytest.approx(entropy, rel=1e-5)
        assert float(found.accuracy) == pytest.approx(hits)


def test_one_image_has_no_negatives():
    view_a, view_b = _views(images=1)
    for semi_hard in (False, True):
        found = margin_triplet(view_a, view_b, 0.5, semi_hard=semi_hard)
        assert float(found.loss) == 0
        found = nt_logistic(view_a, view_b, 0.5, semi_hard=semi_hard)
        expected = _naive(view_a, view_b, lambda s, _: _softplus(-s / 0.5), False, False)
        assert float(found.loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf")])
def test_refused_margins(margin):
    with pytest.raises(InputError, match="margin must be at least 0"):
        margin_triplet(*_views(), margin)


def test_refused_temperature():
    with pytest.raises(InputError, match="temperature must be greater than 0"):
        nt_logistic(*_views(), 0.0)
