"""Contrastive accuracy and entropy against plain loops over explicit candidates."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.objectives import metrics
from simclr_tf.objectives.nt_xent import nt_xent


def naive_metrics(view_a, view_b, temperature):
    """Accuracy over all candidates, its cross-view variant, and entropy, anchor by anchor."""
    z = np.concatenate([view_a, view_b]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    half, hits, cross_hits, entropies = len(view_a), [], [], []
    for i in range(len(z)):
        candidates = [k for k in range(len(z)) if k != i]
        scores = np.array([z[i] @ z[k] for k in candidates]) / temperature
        hits.append(candidates[int(scores.argmax())] == (i + half) % len(z))
        p = np.exp(scores - scores.max())
        p /= p.sum()
        entropies.append(-sum(x * np.log(x) for x in p if x > 0))
        if i < half:
            cross_hits.append(int(np.argmax([z[i] @ z[half + j] for j in range(half)])) == i)
    return np.mean(hits), np.mean(cross_hits), np.mean(entropies)


def correlated_views(noise, seed):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(12, 4))
    noisy = [images + noise * rng.normal(size=images.shape) for _ in range(2)]
    return [view.astype(np.float32) for view in noisy]


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_equal_naive_loops(noise, temperature, seed):
    view_a, view_b = correlated_views(noise, seed)
    output = nt_xent(view_a, view_b, temperature)
    accuracy, cross_accuracy, entropy = naive_metrics(view_a, view_b, temperature)
    assert float(metrics.contrastive_accuracy(output)) == pytest.approx(accuracy)
    assert float(metrics.cross_view_accuracy(output)) == pytest.approx(cross_accuracy)
    assert float(metrics.contrastive_entropy(output)) == pytest.approx(entropy, abs=1e-5)


def test_same_view_negatives_count():
    # Both images of view a coincide: across views all is right, within the view nothing is.
    view_a = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    view_b = np.array([[0.9, 0.1], [0.8, 0.6]], np.float32)
    output = nt_xent(view_a, view_b, 0.1)
    assert float(metrics.cross_view_accuracy(output)) == 0.5
    assert float(metrics.contrastive_accuracy(output)) == 0.25


def test_entropy_of_indistinguishable_images_is_maximal():
    same = np.ones((8, 3), np.float32)
    output = nt_xent(same, same, 0.01)
    assert float(metrics.contrastive_entropy(output)) == pytest.approx(np.log(15), rel=1e-5)
    assert float(metrics.contrastive_accuracy(output)) < 0.5  # no ties count as right


def test_single_pair():
    output = nt_xent(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32), 0.1)
    assert float(metrics.contrastive_accuracy(output)) == 1
    assert float(metrics.contrastive_entropy(output)) == 0


def test_scalars_are_float32():
    output = nt_xent(tf.ones([3, 2], tf.bfloat16), tf.ones([3, 2], tf.bfloat16), 0.1)
    for metric in (
        metrics.contrastive_accuracy,
        metrics.contrastive_entropy,
        metrics.cross_view_accuracy,
    ):
        value = metric(output)
        assert value.dtype == tf.float32 and value.shape == ()
