import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.protocols import distill
from simclr_tf.protocols.fitting import Score


def test_teacher_student_and_baseline(make_context, network, monkeypatch):
    """Who learns what from which images, for how long."""
    calls = []

    def fit(context, model, images, plan, label, task=None):
        teacher = getattr(task, "teacher", None)
        calls.append((label, model, images.num_images, plan.steps, teacher))

    scores = iter([0.8, 0.7, 0.6])
    nothing = np.zeros((4, 10)), np.zeros(4, np.int64)
    monkeypatch.setattr(distill, "fit", fit)
    monkeypatch.setattr(distill, "score", lambda *args: Score(next(scores), 1, 1, *nothing))
    context = make_context(
        network, distill_labels="5_per_class", distill_steps=9, distill_width=1.0,
        label_fractions="5_per_class,10%", label_epochs="4,2", label_batch_size=25,
    )  # fmt: skip
    section = distill.run(context)
    (_, teacher, few, steps, no_teacher), student, alone = calls
    assert (few, steps, no_teacher) == (50, 4 * 2, None)
    assert student[1] is not teacher and student[2:] == (300, 9, teacher)
    assert alone[2:] == (50, 9, None)
    for before, after in zip(student[1].variables, alone[1].variables, strict=True):
        np.testing.assert_array_equal(before, after)  # both start from the same weights
    assert section.metrics["teacher"]["top_1_accuracy"] == 0.8
    assert section.metrics["student"]["top_1_accuracy"] == 0.7
    assert section.metrics["student_on_labels_alone"]["top_1_accuracy"] == 0.6


def test_distils_for_real(make_context, network, eager):
    context = make_context(
        network, distill_labels="5_per_class", distill_steps=1, distill_width=1.0,
        label_fractions="5_per_class", label_epochs="1", label_batch_size=50,
    )  # fmt: skip
    section = distill.run(context)
    assert section.rows[0].what == "Teacher"
    assert 0 <= section.metrics["student"]["top_1_accuracy"] <= 1


def test_a_student_without_channels_is_refused_at_once(make_context, network):
    with pytest.raises(
        InputError, match="distill_width times the encoder's width must be at least"
    ):
        distill.check(make_context(network, distill_width=0.5))
