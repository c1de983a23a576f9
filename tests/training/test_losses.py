"""The losses of one step, what they teach and what they report."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import DistillConfig, ObjectiveConfig, OptimizerConfig
from simclr_tf.models.heads import LinearHead
from simclr_tf.models.roles import variable_roles
from simclr_tf.objectives.nt_xent import nt_xent
from simclr_tf.objectives.pairwise import margin_triplet, nt_logistic
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.training import losses as losses_lib
from simclr_tf.training.means import Means, metric_names
from simclr_tf.training.step import UpdateStep
from tests import shallow

DECAY = OptimizerConfig(weight_decay=1e-3)


def batch(rng, names=("view_0", "view_1"), labels=(0, 1, 2, 0, 1, 2, 0, 1)):
    size = len(labels)
    views = {name: rng.random((size, 8, 8, 3), np.float32) for name in names}
    return {
        **{name: tf.constant(value) for name, value in views.items()},
        "label": tf.constant(labels, tf.int64),
    }


def make_step(model, mode, rate=0.1):
    optimizer = build_optimizer(DECAY, rate, variable_roles(model))
    optimizer.build(model.trainable_variables)
    means = Means(metric_names(model, mode))
    if mode == "pretrain":
        losses = losses_lib.pretrain_losses(model, ObjectiveConfig(), DECAY)
    else:
        losses = losses_lib.finetune_losses(model, DECAY)
    step = UpdateStep(losses, model.trainable_variables, optimizer, means)
    return tf.function(step), means, optimizer


def make_distill_step(student, teacher, labelled=True, rate=0.1, **settings):
    optimizer = build_optimizer(DECAY, rate, variable_roles(student))
    optimizer.build(student.trainable_variables)
    means = Means(metric_names(student, "distill", labelled))
    distill = DistillConfig(teacher="x", **settings)
    losses = losses_lib.distill_losses(student, teacher, distill, DECAY, labelled)
    step = UpdateStep(losses, student.trainable_variables, optimizer, means)
    return tf.function(step), means


@pytest.mark.parametrize("mode", ["pretrain", "finetune", "supervised"])
def test_repeating_one_batch_lowers_the_loss_and_moves_every_variable(tiny_model, mode):
    shallow.install(shallow.EVERY_KIND)
    model = tiny_model(train_mode=mode)
    before = [variable.numpy() for variable in model.trainable_variables]
    run, means, optimizer = make_step(model, mode)
    data = batch(np.random.default_rng(0))
    losses = []
    for _ in range(40):
        run(data)
        losses.append(means.result()["train/total_loss"])
        means.reset()
    assert losses[-1] < losses[0] / 2
    assert int(optimizer.iterations) == 40
    still = [
        variable.name
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(variable.numpy(), old)
    ]
    assert still == []


def test_total_is_the_sum_of_its_parts_under_the_references_names(tiny_model):
    model = tiny_model()
    run, means, _ = make_step(model, "pretrain")
    run(batch(np.random.default_rng(0)))
    values = means.result()
    assert set(values) == {
        "train/contrast_loss", "train/contrast_acc", "train/contrast_entropy",
        "train/supervised_loss", "train/supervised_acc", "train/weight_decay", "train/total_loss",
    }  # fmt: skip
    parts = ("train/contrast_loss", "train/supervised_loss", "train/weight_decay")
    assert values["train/total_loss"] == pytest.approx(sum(values[p] for p in parts), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"temperature": 0.5}, lambda a, b: nt_xent(a, b, 0.5).loss),
        ({"negatives": "other_view"}, lambda a, b: nt_xent(a, b, 0.1, other_view_only=True).loss),
        ({"objective": "nt_logistic"}, lambda a, b: nt_logistic(a, b, 0.1).loss),
        (
            {"objective": "margin_triplet", "margin": 0.4, "semi_hard": True},
            lambda a, b: margin_triplet(a, b, 0.4, semi_hard=True).loss,
        ),
    ],
)
def test_the_configured_objective_is_what_is_minimised(tiny_model, settings, expected):
    model, data = tiny_model(num_classes=None), batch(np.random.default_rng(0))
    losses = losses_lib.pretrain_losses(model, ObjectiveConfig(**settings), DECAY)(data)
    projected = model(losses_lib.stack_views(data), training=True)["proj_head_output"]
    contrastive = float(losses.values["train/contrast_loss"])
    assert contrastive == pytest.approx(float(expected(*tf.split(projected, 2))), rel=1e-4)
    decay = float(losses.values["train/weight_decay"])
    assert float(losses.total) == pytest.approx(contrastive + decay, rel=1e-6)


def test_unlabeled_data_trains_without_supervised_metrics(tiny_model):
    model = tiny_model(num_classes=None)
    run, means, _ = make_step(model, "pretrain")
    run(batch(np.random.default_rng(0), labels=(-1,) * 8))
    values = means.result()
    assert "train/supervised_loss" not in values
    assert np.isfinite(values["train/total_loss"])


def test_linear_head_does_not_teach_the_encoder(tiny_model):
    """With the contrastive part switched off by identical views, only the head may move."""
    results = []
    for labels in ((0,) * 8, (2,) * 8):
        model = tiny_model()
        run, _, _ = make_step(model, "pretrain")
        run(batch(np.random.default_rng(0), labels=labels))
        results.append([variable.numpy() for variable in model.encoder.trainable_variables])
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


def probabilities(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_a_students_loss_mixes_teacher_and_labels(tiny_model):
    """The scalars of one step against NumPy, with half the images unlabeled."""
    student = tiny_model(train_mode="distill")
    teacher = tiny_model(seed=1, train_mode="finetune")
    labels = np.array([0, 1, 2, 1, -1, -1, -1, -1])
    data = batch(np.random.default_rng(0), labels=labels)
    theirs = probabilities(teacher(data["view_0"], training=False)["logits_sup"].numpy() / 0.5)
    logits = tiny_model(train_mode="distill")(data["view_0"], training=True)["logits_sup"].numpy()
    run, means = make_distill_step(student, teacher, distill_temperature=0.5, distill_alpha=0.75)
    run(data)
    values = means.result()
    distilled = -(theirs * np.log(probabilities(logits / 0.5))).sum(axis=1).mean()
    supervised = -np.log(probabilities(logits)[np.arange(4), labels[:4]]).mean()
    close = {"rel": 1e-3}  # batch norm over eight images
    assert values["train/distill_loss"] == pytest.approx(distilled, **close)
    assert values["train/supervised_loss"] == pytest.approx(supervised, **close)
    same = (logits.argmax(axis=1) == theirs.argmax(axis=1)).mean()
    assert values["train/distill_agreement"] == pytest.approx(same)
    right = (logits.argmax(axis=1)[:4] == labels[:4]).mean()
    assert values["train/supervised_acc"] == pytest.approx(right)
    total = 0.75 * distilled + 0.25 * supervised + values["train/weight_decay"]
    assert values["train/total_loss"] == pytest.approx(total, **close)


def test_distilling_teaches_the_student_and_leaves_the_teacher_alone(tiny_model):
    student, teacher = tiny_model(train_mode="distill"), tiny_model(seed=1, train_mode="pretrain")
    teacher.linear_head.bias.assign([4.0, 0.0, 0.0])  # a teacher of opinions
    before = [variable.numpy() for variable in teacher.variables]
    students = [variable.numpy() for variable in student.trainable_variables]
    run, means = make_distill_step(student, teacher, labelled=False)
    data = batch(np.random.default_rng(0), labels=(-1,) * 8)
    losses = []
    for _ in range(12):
        run(data)
        losses.append(means.result()["train/distill_loss"])
        means.reset()
    assert losses[-1] < losses[0] - 0.1
    assert "train/supervised_loss" not in means.result()
    for variable, old in zip(teacher.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old, err_msg=variable.name)
    for variable, old in zip(student.trainable_variables, students, strict=True):
        assert not np.array_equal(variable.numpy(), old), variable.name


@pytest.mark.parametrize(
    ("mode", "precision", "close"),
    [("pretrain", "bfloat16", 2e-2), ("finetune", "float32", 1e-5)],
)
def test_the_step_compiles_with_xla(tiny_model, mode, precision, close):
    """The nearest to a TPU here: XLA refuses dynamic shapes and operations of the host."""
    shallow.install(shallow.EVERY_KIND if mode == "pretrain" else shallow.ONE)
    losses = []
    for compiled in (False, True):
        model = tiny_model(train_mode=mode, precision=precision)
        before = [variable.numpy() for variable in model.trainable_variables]
        run, means, optimizer = make_step(model, mode)
        step = tf.function(run.python_function, jit_compile=compiled)
        assert bool(step(batch(np.random.default_rng(0))))
        assert int(optimizer.iterations) == 1
        losses.append(means.result()["train/total_loss"])
        changed = [
            not np.array_equal(variable.numpy(), old)
            for variable, old in zip(model.trainable_variables, before, strict=True)
        ]
        assert sum(changed) > len(changed) / 2  # gammas that start at 0 hold up the rest
    assert losses[1] == pytest.approx(losses[0], rel=close)


class Colors(keras.Model):
    """A linear classifier of mean colours, which are its projections too."""

    def __init__(self, kernel):
        super().__init__()
        self.linear_head = LinearHead(2)
        self.linear_head.build((None, 3))
        self.linear_head.kernel.assign(kernel)

    def call(self, images, training=False):
        colors = tf.reduce_mean(images, [1, 2])
        return {"proj_head_output": colors, "logits_sup": self.linear_head(colors)}


def make_losses(mode, model, decay):
    if mode == "pretrain":
        return losses_lib.pretrain_losses(model, ObjectiveConfig(), decay)
    if mode == "finetune":
        return losses_lib.finetune_losses(model, decay)
    return losses_lib.distill_losses(model, Colors(tf.zeros([3, 2])), DistillConfig("x"), decay)


def test_both_views_of_an_image_have_its_label():
    """A red image of class 0 and a blue one of class 1, both told apart for certain."""
    model = Colors([[50.0, 0.0], [0.0, 0.0], [0.0, 50.0]])
    view = tf.tile(tf.constant([[[[1.0, 0, 0]]], [[[0.0, 0, 1]]]]), [1, 2, 2, 1])
    data = {"view_0": view, "view_1": view, "label": tf.constant([0, 1])}
    values = make_losses("pretrain", model, OptimizerConfig(weight_decay=0.0))(data).values
    assert float(values["train/supervised_acc"]) == 1
    assert float(values["train/supervised_loss"]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("mode", ["pretrain", "finetune", "distill"])
def test_weight_decay_is_a_part_of_what_is_minimised(mode):
    model = Colors([[3.0] * 2] * 3)
    data, found = batch(np.random.default_rng(0), labels=(0, 1, 1)), []
    for decay in (0.0, 0.1):
        losses = make_losses(mode, model, OptimizerConfig(weight_decay=decay))
        with tf.GradientTape() as tape:
            total = losses(data).total
        found.append((total, tape.gradient(total, model.linear_head.kernel)))
    (plain, slope), (decayed, pulled) = found
    assert float(decayed - plain) == pytest.approx(0.1 * 6 * 3**2 / 2, rel=1e-4)
    np.testing.assert_allclose(pulled - slope, np.full((3, 2), 0.1 * 3), rtol=1e-4)
