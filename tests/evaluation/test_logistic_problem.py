"""The objective against finite differences and NumPy, its minimum against scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from simclr_tf.errors import InputError
from simclr_tf.evaluation import logistic_problem
from simclr_tf.evaluation.logistic_problem import FitSettings, LogisticModel, Problem, decision


def examples(seed=0, count=300, dims=12, classes=4):
    """Features like those after a ReLU: non-negative, correlated, of unequal size."""
    rng, world = np.random.default_rng(seed), np.random.default_rng(77)
    centers, mixing = world.normal(size=(classes, 6)), world.normal(size=(6, dims))
    labels = rng.integers(0, classes, count)
    features = (centers[labels] + rng.normal(size=(count, 6))) @ mixing
    sizes = world.lognormal(0, 1, dims)
    return (np.maximum(features + 1, 0) * sizes).astype(np.float32), labels


def several_labels(seed=0, count=300, classes=4):
    features, labels = examples(seed, count, classes=classes)
    rng = np.random.default_rng([seed, 1])
    table = (labels[:, None] == np.arange(classes)) | (rng.random((count, classes)) < 0.2)
    return features, np.where(rng.random((count, classes)) < 0.1, -1, table.astype(int))


def softmax_objective(features, labels, weights, bias, value):
    """One example at a time."""
    total = 0.0
    for x, label in zip(features.astype(np.float64), labels, strict=True):
        logits = x @ weights + bias
        total += np.log(np.sum(np.exp(logits - logits[label])))
    return total + value / 2 * np.sum(weights**2)


def raw(model):
    """Weights and bias for features as they are."""
    weights = model.weights / model.scale[:, None]
    return weights, model.bias - model.mean @ weights


EXACT = FitSettings(tolerance=1e-15, max_iterations=10_000)


@pytest.mark.parametrize("multi_label", [False, True])
def test_gradient_equals_finite_differences(multi_label):
    features, labels = several_labels() if multi_label else examples()
    settings = FitSettings(multi_label=multi_label, block_rows=70)
    problem = Problem(features, labels, 4, settings, "training", tf.float64)
    rng = np.random.default_rng(5)
    weights, bias = rng.normal(size=(12, 4)) * 0.1, rng.normal(size=4)
    _, by_weights, by_bias = problem.evaluate(weights, bias)
    step = 1e-5
    for place in np.ndindex(12, 4):
        change = np.zeros((12, 4))
        change[place] = step
        above, below = (problem.evaluate(weights + sign * change, bias)[0] for sign in (1, -1))
        assert by_weights[place] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-5)
    for place in range(4):
        change = step * (np.arange(4) == place)
        above, below = (problem.evaluate(weights, bias + sign * change)[0] for sign in (1, -1))
        assert by_bias[place] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-5)


def test_loss_equals_a_loop():
    features, labels = examples()
    problem = Problem(features, labels, 4, FitSettings(), "training")
    rng = np.random.default_rng(6)
    model = LogisticModel(rng.normal(size=(12, 4)), rng.normal(size=4), problem.mean, problem.scale)
    loss, _, _ = problem.evaluate(model.weights, model.bias)
    assert loss == pytest.approx(softmax_objective(features, labels, *raw(model), 0.0), rel=1e-6)


def test_ignored_entries_count_for_nothing():
    features, labels = several_labels()
    problem = Problem(features, labels, 4, FitSettings(multi_label=True), "training", tf.float64)
    rng = np.random.default_rng(7)
    weights, bias = rng.normal(size=(12, 4)), rng.normal(size=4)
    expected = 0.0
    for x, row in zip(features - problem.mean, labels, strict=True):
        logits = x @ weights + bias
        for logit, label in zip(logits, row, strict=True):
            if label >= 0:
                expected += np.log1p(np.exp(-logit if label else logit))
    assert problem.evaluate(weights, bias)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("value", [1e4, 0.1])
@pytest.mark.parametrize("standardize", [False, True])
def test_minimum_equals_scikit_learn(value, standardize):
    features, labels = examples()
    settings = FitSettings(tolerance=1e-15, max_iterations=10_000, standardize=standardize)
    problem = Problem(features, labels, 4, settings, "training", tf.float64)
    found = problem.solve(value, None)
    inputs = features.astype(np.float64)
    if standardize:
        inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    theirs = LogisticRegression(C=1 / value, tol=1e-12, max_iter=10_000, solver="newton-cg")
    theirs.fit(inputs, labels)
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(found.model.weights, theirs.coef_.T, atol=2e-5 * scale)
    logits = decision(found.model, features)
    expected = theirs.decision_function(inputs)
    centred = [array - array.mean(axis=1, keepdims=True) for array in (logits, expected)]
    np.testing.assert_allclose(*centred, atol=1e-4 * np.abs(expected).max())
    assert found.converged


@pytest.mark.parametrize("value", [1e3, 0.1])
def test_default_precision_is_near_the_minimum(value):
    features, labels = examples()
    found = Problem(features, labels, 4, FitSettings(), "training").solve(value, None)
    best = Problem(features, labels, 4, EXACT, "training", tf.float64).solve(value, None)
    assert best.objective <= found.objective * (1 + 1e-9)
    assert found.objective <= best.objective * (1 + 2e-5)
    expected = softmax_objective(features, labels, *raw(found.model), value)
    assert found.objective == pytest.approx(expected, rel=1e-5)


def test_several_labels_equal_one_regression_each():
    features, labels = several_labels()
    settings = FitSettings(multi_label=True, tolerance=1e-15, max_iterations=10_000)
    model = Problem(features, labels, 4, settings, "training", tf.float64).solve(2.0, None).model
    for label in range(4):
        known = labels[:, label] >= 0
        theirs = LogisticRegression(C=1 / 2.0, tol=1e-12, max_iter=10_000, solver="newton-cg")
        theirs.fit(features[known].astype(np.float64), labels[known, label])
        weights, bias = raw(model)
        np.testing.assert_allclose(weights[:, label], theirs.coef_[0], atol=1e-5)
        assert bias[label] == pytest.approx(theirs.intercept_[0], abs=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("block_rows, resident_bytes", [(1, 0), (77, 0), (77, 10**9), (999, 0)])
def test_blocks_and_streaming_change_nothing(multi_label, block_rows, resident_bytes):
    features, labels = several_labels() if multi_label else examples()
    whole = Problem(features, labels, 4, FitSettings(multi_label=multi_label), "training")
    parts = Problem(
        features, labels, 4,
        FitSettings(multi_label, block_rows=block_rows, resident_bytes=resident_bytes), "training",
    )  # fmt: skip
    assert (parts.resident is None) == (resident_bytes == 0)
    rng = np.random.default_rng(8)
    weights, bias = rng.normal(size=(12, 4)), rng.normal(size=4)
    for one, other in zip(
        whole.evaluate(weights, bias), parts.evaluate(weights, bias), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(whole.mean, parts.mean, rtol=1e-5)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_mapped_files(tmp_path, kind):
    features, labels = examples()
    features = features.astype(kind)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    streamed = FitSettings(block_rows=64, resident_bytes=0)
    found = Problem(mapped, labels, 4, streamed, "training").solve(1.0, None)
    expected = Problem(features, labels, 4, FitSettings(), "training").solve(1.0, None)
    assert found.objective == pytest.approx(expected.objective, rel=1e-6)
    np.testing.assert_allclose(
        decision(found.model, mapped, 50), decision(expected.model, features), atol=0.05
    )


def test_without_rotation_the_minimum_is_the_same(monkeypatch):
    features, labels = examples()
    rotated = Problem(features, labels, 4, EXACT, "training", tf.float64).solve(0.5, None)
    monkeypatch.setattr(logistic_problem, "_MOST_ROTATED", 11)
    problem = Problem(features, labels, 4, EXACT, "training", tf.float64)
    assert problem.axes is None
    plain = problem.solve(0.5, None)
    assert plain.objective == pytest.approx(rotated.objective, rel=1e-9)
    np.testing.assert_allclose(plain.model.weights, rotated.model.weights, atol=1e-4)


@pytest.mark.parametrize("standardize", [False, True])
def test_start_from_a_model_of_other_examples(standardize):
    features, labels = examples()
    others = examples(1)
    first = Problem(*others, 4, FitSettings(), "training").solve(1.0, None).model
    settings = FitSettings(tolerance=1e-15, max_iterations=10_000, standardize=standardize)
    problem = Problem(features, labels, 4, settings, "training", tf.float64)
    weights, bias = problem._start(first)
    moved = LogisticModel(weights, bias, problem.mean, problem.scale)
    np.testing.assert_allclose(decision(moved, features), decision(first, features), atol=1e-3)
    warm, cold = problem.solve(1.0, first), problem.solve(1.0, None)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-9)


def test_a_start_at_the_minimum_stays():
    features, labels = examples()
    problem = Problem(features, labels, 4, FitSettings(tolerance=1e-6), "training")
    model = Problem(features, labels, 4, EXACT, "training", tf.float64).solve(1.0, None).model
    again = problem.solve(1.0, model)
    assert again.iterations == 0 and again.converged
    np.testing.assert_allclose(again.model.weights, model.weights, rtol=1e-9)


def test_the_limit_of_iterations_is_told():
    features, labels = examples()
    found = Problem(features, labels, 4, FitSettings(max_iterations=2), "training").solve(0.1, None)
    assert found.iterations == 2 and not found.converged


def test_constant_and_repeated_dimensions():
    features, labels = examples()
    odd = np.concatenate([features, features[:, :3], np.full((300, 2), 7.3)], axis=1)
    for standardize in (False, True):
        problem = Problem(odd, labels, 4, FitSettings(standardize=standardize), "training")
        model = problem.solve(0.1, None).model
        assert np.isfinite(decision(model, odd)).all()
        np.testing.assert_allclose(model.weights[15:], 0, atol=1e-6)
        np.testing.assert_allclose(model.weights[:3], model.weights[12:15], atol=1e-3)


def test_separable_examples_with_more_dimensions_than_rows():
    rng = np.random.default_rng(9)
    features = np.abs(rng.normal(size=(30, 100))).astype(np.float32)
    labels = np.arange(30) % 3
    problem = Problem(features, labels, 3, FitSettings(), "training")
    model = None
    for value in (1e5, 1e2, 1.0, 1e-2, 1e-4, 1e-6):
        found = problem.solve(value, model)
        model = found.model
        assert found.converged and np.isfinite(found.objective)
    assert np.mean(decision(model, features).argmax(axis=1) == labels) == 1


def test_a_class_without_examples_is_never_predicted():
    features, labels = examples(classes=3)
    model = Problem(features, labels, 5, FitSettings(), "training").solve(0.1, None).model
    logits = decision(model, features)
    assert set(logits.argmax(axis=1)) <= {0, 1, 2}
    assert (logits[:, 3:].max(axis=1) < logits[:, :3].max(axis=1) - 3).all()


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"max_iterations": 0}, "max_iterations"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"block_rows": 0}, "block_rows"),
        ({"resident_bytes": -1}, "resident_bytes"),
    ],
)
def test_bad_settings(settings, text):
    with pytest.raises(InputError, match=text):
        FitSettings(**settings)


@pytest.mark.parametrize(
    "labels, multi_label, text",
    [
        (np.zeros(6, int), False, "training labels must not all be the same"),
        (np.zeros((6, 2), int), True, "training labels must not all be the same"),
        (-np.ones((6, 2), int), True, "training labels must not all be the same"),
        (np.arange(6), False, r"training labels must lie in \[0, 1\]"),
        (np.array([0, 1, 0, 1, 0, -1]), False, "training labels must lie in"),
        (np.full((6, 2), 2), True, r"training labels must lie in \[-1, 1\]"),
        (np.arange(5) % 2, False, r"training labels must have shape \(6,\)"),
        (np.arange(6) % 2, True, r"training labels must have shape \(6, 2\)"),
        (np.arange(6) / 6, False, "training labels must be integers"),
    ],
)
def test_bad_labels(labels, multi_label, text):
    with pytest.raises(InputError, match=text):
        Problem(np.eye(6), labels, 2, FitSettings(multi_label=multi_label), "training")


def test_bad_features():
    features = np.eye(6)
    features[4, 2] = np.nan
    with pytest.raises(InputError, match="training features must be finite.*example 4"):
        Problem(features, np.arange(6) % 2, 2, FitSettings(), "training")
    model = Problem(np.eye(6), np.arange(6) % 2, 2, FitSettings(), "training").solve(1, None).model
    with pytest.raises(InputError, match="features must have the model's 6 dimensions"):
        decision(model, np.eye(5))
    with pytest.raises(InputError, match="start must have weights"):
        Problem(np.eye(5), np.arange(5) % 2, 2, FitSettings(), "training").solve(1, model)
