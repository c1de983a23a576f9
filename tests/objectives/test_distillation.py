"""The distillation loss against plain loops."""

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.objectives.distillation import agreement, distillation_loss


def softened(row, temperature):
    exponentials = [math.exp(value / temperature) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def naive_loss(student, teacher, temperature):
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        predicted, target = softened(ours, temperature), softened(theirs, temperature)
        losses.append(-sum(t * math.log(p) for t, p in zip(target, predicted, strict=True)))
    return sum(losses) / len(losses)


def draw(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 7, 5)).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(2))
def test_it_equals_a_naive_loop(seed, temperature):
    student, teacher = draw(seed)
    loss = distillation_loss(student, teacher, temperature)
    expected = naive_loss(student.astype(float), teacher.astype(float), temperature)
    assert (loss.shape, loss.dtype) == ((), tf.float32)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_two_classes_by_hand():
    """Logits 0 and ln 3 are probabilities 1/4 and 3/4; the student believes 1/2 and 1/2."""
    loss = distillation_loss([[0.0, 0.0]], [[0.0, math.log(3)]], 1.0)
    assert float(loss) == pytest.approx(math.log(2))
    same = distillation_loss([[0.0, math.log(3)]], [[0.0, math.log(3)]], 1.0)
    assert float(same) == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_its_gradient_is_the_difference_of_the_distributions(temperature):
    """By a logit: (p_student - p_teacher) / (temperature x images)."""
    student, teacher = (tf.constant(part) for part in draw())
    with tf.GradientTape() as tape:
        tape.watch([student, teacher])
        loss = distillation_loss(student, teacher, temperature)
    ours, theirs = tape.gradient(loss, [student, teacher])
    p_student, p_teacher = (
        np.array([softened(row, temperature) for row in part.astype(float)]) for part in draw()
    )
    expected = (p_student - p_teacher) / temperature / len(p_student)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert theirs is None, "the teacher is a constant"


def test_certain_teachers_give_the_cross_entropy_with_their_class():
    student, teacher = draw()
    labels = teacher.argmax(axis=1)
    loss = distillation_loss(student, 1e4 * np.eye(5, dtype=np.float32)[labels], 1.0)
    expected = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, student))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_low_precision_logits_are_computed_in_float32():
    student, teacher = (tf.cast(part, tf.bfloat16) for part in draw())
    rounded = [tf.cast(part, tf.float32) for part in (student, teacher)]
    loss = distillation_loss(student, teacher, 0.1)
    assert loss.dtype == tf.float32
    assert float(loss) == float(distillation_loss(*rounded, 0.1))


def test_large_logits_stay_finite():
    student = tf.constant([[1e4, -1e4]])
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = distillation_loss(student, [[-1e4, 1e4]], 0.1)
    assert float(loss) == pytest.approx(2e5)
    assert np.isfinite(tape.gradient(loss, student)).all()


def test_agreement_counts_equal_classes():
    student = np.float32([[1, 2, 3], [3, 2, 1], [0, 1, 0], [0, 0, 1]])
    teacher = np.float32([[0, 0, 9], [1, 2, 0], [0, 5, 0], [9, 0, 0]])
    assert float(agreement(student, teacher)) == 0.5


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf])
def test_refuses_temperatures(temperature):
    with pytest.raises(InputError, match="distill_temperature must be finite and greater than 0"):
        distillation_loss(*draw(), temperature)


@pytest.mark.parametrize("function", [lambda s, t: distillation_loss(s, t, 1.0), agreement])
@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        (np.ones((3, 4), np.float32), np.ones((3, 5), np.float32)),
        (np.ones((3, 4), np.float32), np.ones((2, 4), np.float32)),
        (np.ones(3, np.float32), np.ones(3, np.float32)),
        (np.ones((3, 4), np.int64), np.ones((3, 4), np.float32)),
    ],
)
def test_refuses_shapes_and_dtypes(function, student, teacher):
    with pytest.raises(ValueError, match="Received"):
        function(student, teacher)
