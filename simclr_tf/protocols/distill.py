"""Distillation (SimCLRv2, arXiv 2006.10029): a fine-tuned teacher into a smaller student."""

from __future__ import annotations

import dataclasses

from simclr_tf.data import subset
from simclr_tf.errors import InputError
from simclr_tf.models.network import Network
from simclr_tf.protocols.context import Context, Row, Section
from simclr_tf.protocols.fitting import (
    Score,
    TrainImages,
    build_classifier,
    fit,
    momentum_optimizer,
    plan_steps,
    require_network,
    score,
)
from simclr_tf.protocols.semi_supervised import Labels, label_plan, open_labels
from simclr_tf.training.fit import TrainingPlan
from simclr_tf.training.tasks import Distill
from simclr_tf.units import format_percent

BATCH_SIZE = 128


def check(context: Context) -> None:
    """Refuses an encoder that can't be trained, and a rule that can't be read."""
    network = require_network(context.encoder, "distillation")
    width = network.config.encoder.width_multiplier * context.settings.distill_width
    try:
        dataclasses.replace(network.config.encoder, width_multiplier=width)
    except InputError as error:
        raise InputError("distill_width", f"times the encoder's width {error.constraint}",
                         context.settings.distill_width) from None  # fmt: skip
    subset.parse_rule(context.settings.distill_labels, "distill_labels")


def run(context: Context) -> Section:
    """Fine-tunes a teacher on few labels and teaches a student with it on all images, unlabelled.

    Beside it the same student learns from those labels alone, for as many steps.

    Raises:
        InputError: No labels, or the encoder is no SimCLR network.
    """
    settings = context.settings
    labelled = open_labels(context, settings.distill_labels)
    few = labelled.num_images
    teacher = _teacher(context, labelled)
    taught = score(context, teacher, context.test_split)
    batch_size = context.batch_size(
        BATCH_SIZE, min(few, context.source.num_examples(context.train_split))
    )
    everything = TrainImages(context.source, context.train_split)
    optimizer = momentum_optimizer(settings.scratch_learning_rate)
    plan = plan_steps(settings.distill_steps, batch_size, optimizer, everything.num_images)
    student = build_classifier(context, pretrained=False, width_share=settings.distill_width)
    fit(context, student, everything, plan, "distillation", Distill(teacher, context.distill))
    distilled = score(context, student, context.test_split)
    context.write_predictions("distilled", distilled.labels, distilled.logits)
    alone = build_classifier(context, pretrained=False, width_share=settings.distill_width)
    fit(context, alone, labelled.images, plan, "student on the labels alone")
    baseline = score(context, alone, context.test_split)
    context.write_predictions("student_alone", baseline.labels, baseline.logits)
    return _section(context, plan, few, student, {"teacher": taught, "student": distilled,
                                                  "student_on_labels_alone": baseline})  # fmt: skip


def _teacher(context: Context, labelled: Labels) -> Network:
    """The encoder fine-tuned as in the semi-supervised protocol."""
    settings = context.settings
    epochs = settings.epochs_by_fraction.get(settings.distill_labels, settings.epochs[-1])
    plan = label_plan(context, labelled, epochs)
    model = build_classifier(context, pretrained=True)
    fit(context, model, labelled.images, plan, "teacher, fine-tuning")
    return model


def _section(
    context: Context, plan: TrainingPlan, few: int, student: Network, scores: dict[str, Score]
) -> Section:
    settings = context.settings
    width = student.config.encoder.width_multiplier
    images = context.source.num_examples(context.train_split)
    steps = f"{plan.steps} steps of {plan.batch_size}"
    rows = (
        Row("Teacher", format_percent(scores["teacher"].top_1),
            f"fine-tuned on {settings.distill_labels} labels ({few} images)"),
        Row(f"Student, {settings.distill_width:g} of the width, distilled",
            format_percent(scores["student"].top_1),
            f"width {width:g}, {images} unlabelled images, {steps}"),
        Row("The same student, labels alone",
            format_percent(scores["student_on_labels_alone"].top_1),
            f"{few} labelled images, {steps}"),
    )  # fmt: skip
    metrics = {name: found.metrics() for name, found in scores.items()}
    metrics["student"]["width_multiplier"] = width
    return Section("Distillation (SimCLRv2)", rows, {**metrics, "steps": plan.steps})
