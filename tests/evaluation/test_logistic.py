"""The path against scikit-learn, what it chooses, the refit, held-out parts."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from simclr_tf.errors import InputError
from simclr_tf.evaluation import logistic
from simclr_tf.evaluation.logistic import Choice, Examples, FitSettings, decision

VALUES = [100.0, 1.0, 0.1]
SEVERAL = FitSettings(multi_label=True)
FEW = FitSettings(max_iterations=10)  # where it doesn't matter how good a fit is


def examples(seed, count=150, dims=8, classes=3):
    rng, world = np.random.default_rng(seed), np.random.default_rng(77)
    centers, mixing = world.normal(size=(classes, 4)), world.normal(size=(4, dims))
    labels = rng.integers(0, classes, count)
    features = (centers[labels] + rng.normal(size=(count, 4))) @ mixing
    return np.maximum(features + 0.5, 0).astype(np.float32), labels


def path_of(
    train_features, train_labels, validation_features, validation_labels, num_classes, *,
    values, metric=logistic.accuracy, settings=None, on_value=None,
):  # fmt: skip
    return logistic.logistic_path(
        Examples(train_features, train_labels), Examples(validation_features, validation_labels),
        num_classes, Choice(values, metric), settings, on_value,
    )  # fmt: skip


def protocol(
    train_features, train_labels, test_features, num_classes, *, values, test_labels=None,
    validation=None, metric=logistic.accuracy, fraction=0.1, seed=0, settings=None, on_value=None,
):  # fmt: skip
    held = None if validation is None else Examples(*validation)
    return logistic.logistic_regression(
        Examples(train_features, train_labels), Examples(test_features, test_labels), num_classes,
        Choice(values, metric, held, fraction, seed), settings, on_value,
    )  # fmt: skip


def test_values_of_the_paper():
    values = logistic.REGULARIZATION_VALUES
    assert len(values) == 45
    assert values[0] == pytest.approx(1e-6) and values[-1] == pytest.approx(1e5)
    np.testing.assert_allclose(np.diff(np.log10(values)), 0.25)


def test_path_equals_separate_fits_of_scikit_learn():
    train, validation = examples(0), examples(1)
    points = []
    path = path_of(
        *train, *validation, 3, values=VALUES, settings=FitSettings(tolerance=1e-10),
        on_value=points.append,
    )  # fmt: skip
    assert path.values.tolist() == VALUES
    expected = []
    for value, point in zip(VALUES, points, strict=True):
        theirs = LogisticRegression(C=1 / value, tol=1e-10, max_iter=10_000).fit(*train)
        expected.append(theirs.score(*validation))
        found = point.solution.model.weights
        np.testing.assert_allclose(found, theirs.coef_.T, atol=5e-3 * np.abs(theirs.coef_).max())
        assert point.value == value
    np.testing.assert_allclose(path.scores, expected, atol=1.01 / 150)
    assert [point.score for point in points] == path.scores.tolist()
    assert path.converged.all() and path.iterations.sum() > 0


def test_any_order_of_values_runs_from_the_strongest():
    train, validation = examples(0), examples(1)
    paths = [path_of(*train, *validation, 3, values=order, settings=FEW)
             for order in (VALUES, VALUES[::-1], [1.0, 100.0, 0.1])]  # fmt: skip
    for path in paths[1:]:
        np.testing.assert_array_equal(path.scores, paths[0].scores)
        assert path.values.tolist() == VALUES


@pytest.mark.parametrize(
    "scores, chosen", [([1, 2, 3], 0.1), ([3, 2, 3], 100.0), ([1, 2, 2], 1.0), ([0, 0, 0], 100.0)]
)
def test_equal_scores_choose_the_stronger_penalty(scores, chosen):
    train, validation = examples(0), examples(1)
    given, points = iter(scores), []
    path = path_of(
        *train, *validation, 3, values=VALUES, metric=lambda logits, labels: next(given),
        on_value=points.append, settings=FEW,
    )  # fmt: skip
    assert path.chosen == chosen
    assert path.model is points[VALUES.index(chosen)].solution.model
    np.testing.assert_array_equal(path.scores, scores)


def test_protocol_refits_on_both_parts():
    train, validation, test = examples(0), examples(1), examples(2)
    calls = []
    found = protocol(
        *train, test[0], 3, validation=validation,
        test_labels=test[1], values=VALUES, on_value=lambda *call: calls.append(call),
    )  # fmt: skip
    both = [np.concatenate(pair) for pair in zip(train, validation, strict=True)]
    theirs = LogisticRegression(C=1 / found.value, tol=1e-10, max_iter=10_000).fit(*both)
    expected = theirs.decision_function(test[0])
    centred = [array - array.mean(axis=1, keepdims=True)
               for array in (found.test_logits, expected)]  # fmt: skip
    np.testing.assert_allclose(*centred, atol=0.02 * np.abs(expected).max())
    assert found.test_logits.dtype == np.float32
    assert calls == list(zip(VALUES, found.validation_scores.tolist(), strict=True))
    path = path_of(*train, *validation, 3, values=VALUES)
    np.testing.assert_array_equal(path.scores, found.validation_scores)
    assert found.test_scores.shape == (3,)
    chosen = VALUES.index(found.value)
    score = logistic.accuracy(decision(path.model, test[0]), test[1])
    assert found.test_scores[chosen] == score


def test_protocol_holds_a_part_out_and_refits_on_all(tmp_path):
    (features, labels), test = examples(0), examples(2)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    found = protocol(mapped, labels, test[0], 3, fraction=0.3, seed=4, values=VALUES)
    kept, held = logistic.split_validation(labels, 0.3, 4)
    path = path_of(features[kept], labels[kept], features[held], labels[held], 3, values=VALUES)
    np.testing.assert_array_equal(found.validation_scores, path.scores)
    assert found.value == path.chosen and found.test_scores is None
    theirs = LogisticRegression(C=1 / found.value, tol=1e-10, max_iter=10_000)
    theirs.fit(features, labels)
    agreement = found.test_logits.argmax(axis=1) == theirs.predict(test[0])
    assert agreement.mean() > 0.99


def test_several_labels_with_a_metric_of_their_own():
    def mean_average_precision(logits, labels):
        return average_precision_score(labels, logits, average="macro")

    parts = []
    for seed in range(3):
        features, labels = examples(seed)
        table = (labels[:, None] == np.arange(3)).astype(int)
        table[::7, 0] = 1
        parts.append((features, table))
    train, validation, test = parts
    found = protocol(
        *train, test[0], 3, validation=validation,
        test_labels=test[1], values=VALUES, metric=mean_average_precision, settings=SEVERAL,
    )  # fmt: skip
    expected = []
    for value in VALUES:
        logits = []
        for label in range(3):
            theirs = LogisticRegression(C=1 / value, tol=1e-10, max_iter=10_000)
            theirs.fit(train[0], train[1][:, label])
            logits.append(theirs.decision_function(validation[0]))
        expected.append(mean_average_precision(np.stack(logits, axis=1), validation[1]))
    np.testing.assert_allclose(found.validation_scores, expected, atol=2e-3)
    # Without a validation part, one is drawn.
    drawn = protocol(
        *train,
        test[0],
        3,
        values=VALUES,
        metric=mean_average_precision,
        settings=SEVERAL,
    )
    assert drawn.test_logits.shape == (150, 3)


def test_a_class_that_training_lacks_counts_as_an_error():
    (features, labels), test = examples(0), examples(2)
    present = labels < 2
    path = path_of(features[present], labels[present], *test, 3, values=[1.0])
    correct = decision(path.model, test[0]).argmax(axis=1) == test[1]
    assert path.scores[0] == correct.mean()
    assert not correct[test[1] == 2].any()


def test_fit_logistic_starts_where_it_is_told():
    train = examples(0)
    cold = logistic.fit_logistic(*train, 1.0, 3)
    warm = logistic.fit_logistic(*train, 1.0, 3, start=cold)
    np.testing.assert_allclose(warm.weights, cold.weights, atol=2e-3)


def test_accuracy_of_equal_logits_is_the_lowest_class():
    logits = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 1.0]])
    assert logistic.accuracy(logits, np.array([0, 2, 2])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.99])
def test_split_takes_the_share_of_each_class(fraction):
    labels = np.repeat([0, 3, 5, 8], [200, 57, 1, 2])
    labels = np.random.default_rng(0).permutation(labels)
    kept, held = logistic.split_validation(labels, fraction, 3)
    assert sorted([*kept, *held]) == list(range(260))
    assert np.all(np.diff(kept) > 0) and np.all(np.diff(held) > 0)
    for label, count in ((0, 200), (3, 57), (5, 1), (8, 2)):
        inside = int(np.sum(labels[held] == label))
        assert abs(inside - fraction * count) <= 1 or inside == count - 1
        assert np.sum(labels[kept] == label) >= 1
    again = logistic.split_validation(labels, fraction, 3)
    np.testing.assert_array_equal(again[0], kept)


def test_split_of_a_class_depends_on_its_own_labels():
    one = np.array([0, 1] * 50)
    other = np.where(one == 1, 2, 0)
    held = [logistic.split_validation(labels, 0.2, 0)[1] for labels in (one, other)]
    np.testing.assert_array_equal(*(index[one[index] == 0] for index in held))
    different = logistic.split_validation(one, 0.2, 1)[1]
    assert different.tolist() != held[0].tolist()


@pytest.mark.parametrize(
    "counts, fraction, held_out",
    [
        ([4] * 10, 0.1, 4),  # A tenth of 40, although a tenth of each class rounds to none.
        ([4, 4], 0.1, 1),  # 0.8
        ([2], 0.01, 1),
        ([1, 1, 3, 1], 0.1, 1),
        ([1] * 50 + [2, 2], 0.1, 2),  # 5.4, but only two classes can give one.
        ([4] * 10, 0.12, 5),  # 4.8
        ([4] * 10, 0.13, 10),  # 0.52 of each class are one already.
    ],
)
def test_few_examples_of_each_class(counts, fraction, held_out):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    kept, held = logistic.split_validation(labels, fraction, 3)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert len(held) == held_out == len(set(labels[held].tolist()))
    assert set(labels[kept].tolist()) == set(labels.tolist())
    again = logistic.split_validation(labels, fraction, 3)
    np.testing.assert_array_equal(again[1], held)


def test_the_seed_draws_which_of_the_classes_give_one():
    labels = np.repeat(np.arange(10), 4)
    drawn = {tuple(labels[logistic.split_validation(labels, 0.1, seed)[1]]) for seed in range(4)}
    assert len(drawn) == 4


@pytest.mark.parametrize(
    "labels, fraction, text",
    [
        (np.arange(3), 0.5, "validation_fraction needs a class with at least two examples"),
        (np.zeros(9, int), 0.0, "fraction must lie"),
        (np.zeros(9, int), 1.0, "fraction must lie"),
        (np.zeros((9, 2), int), 0.5, "labels must be"),
        (np.zeros(0, int), 0.5, "labels must be"),
        (np.zeros(9), 0.5, "labels must be"),
        (np.array([0, -1]), 0.5, "labels must be"),
    ],
)
def test_bad_splits(labels, fraction, text):
    with pytest.raises(InputError, match=text):
        logistic.split_validation(labels, fraction)


TRAIN, VALIDATION = examples(0, 20), examples(1, 10)
BROKEN = VALIDATION[0].copy()
BROKEN[6, 1] = np.inf


@pytest.mark.parametrize(
    "change, text",
    [
        ({"values": []}, "values must be"),
        ({"values": [1.0, 0.0]}, "values must be"),
        ({"values": [1.0, np.nan]}, "values must be"),
        ({"validation_features": BROKEN}, "validation features must be finite.*example 6"),
        ({"validation_features": VALIDATION[0][:, :5]}, "validation features must have"),
        ({"validation_labels": VALIDATION[1] + 3}, "validation labels must lie"),
        ({"train_labels": TRAIN[1] * 0}, "training labels must not all be the same"),
        ({"metric": lambda logits, labels: np.nan}, "metric must give a finite score"),
    ],
)
def test_bad_paths(change, text):
    good = {"train_features": TRAIN[0], "train_labels": TRAIN[1], "num_classes": 3,
            "validation_features": VALIDATION[0], "validation_labels": VALIDATION[1],
            "values": [1.0]}  # fmt: skip
    with pytest.raises(InputError, match=text):
        path_of(**{**good, **change})


@pytest.mark.parametrize(
    "change, text",
    [
        ({"validation": (VALIDATION[0],)}, "validation labels must be given"),
        ({"test_features": BROKEN}, "test features must be finite.*example 6"),
        ({"test_features": VALIDATION[0][:, :5]}, "test features must have"),
        ({"test_labels": VALIDATION[1][:3]}, "test labels must have shape"),
        ({"fraction": 2.0}, "fraction must lie"),
        ({"settings": {"max_iterations": 0}}, "max_iterations"),
    ],
)
def test_bad_protocols(change, text):
    good = {"train_features": TRAIN[0], "train_labels": TRAIN[1], "num_classes": 3,
            "test_features": VALIDATION[0], "values": [1.0]}  # fmt: skip
    with pytest.raises(InputError, match=text):
        if isinstance(settings := change.get("settings"), dict):
            change = {"settings": FitSettings(**settings)}
        protocol(**{**good, **change})
