"""Semi-supervised learning (B.5): fine-tuning on class-balanced shares of the labels."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from simclr_tf.data import subset, tfds_source
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
from simclr_tf.training.fit import TrainingPlan
from simclr_tf.units import format_percent


def check(context: Context) -> None:
    """Refuses an encoder that can't be trained, and rules that can't be read."""
    require_network(context.encoder, "fine-tuning")
    for rule in context.settings.fractions:
        path = subset.parse_rule(rule, "label_fractions").path
        if path is not None:
            subset.read_subset(path, context.source, context.train_split)


def run(context: Context) -> Section:
    """Fine-tunes on every label subset, beside a network trained on the same labels from scratch.

    The subsets are written to `subset_<rule>.json` in the evaluation's folder; such a file can be
    given as a rule again, here or as `label_subset` of a training run.

    Raises:
        InputError: No labels, or the encoder is no SimCLR network.
    """
    rows: list[Row] = []
    metrics: dict[str, Any] = {}
    notes: list[str] = []
    for rule, count in context.settings.epochs_by_fraction.items():
        labels = open_labels(context, rule)
        part: dict[str, Any] = {"images": labels.num_images, "subset": labels.name}
        notes += [labels.note] if labels.note else []
        for name, pretrained in (("pretrained", True), ("from_scratch", False)):
            found, plan = _train(context, labels, rule, count, pretrained)
            part[name] = {**found.metrics(), "steps": plan.steps, "batch_size": plan.batch_size}
            rows.append(_row(rule, name, found, plan, part["images"]))
            context.write_predictions(f"{name}_{file_name(rule)}", found.labels, found.logits)
        metrics[rule] = part
    return Section("Semi-supervised (B.5)", tuple(rows), metrics, tuple(notes))


class Labels(NamedTuple):
    """The labelled images that a rule leaves.

    Attributes:
        images: Where they are.
        name: Where the list of them is: a file, or the published data set.
        note: What is odd about them, None where nothing is.
    """

    images: TrainImages
    name: str
    note: str | None = None

    @property
    def num_images(self) -> int:
        """Number of images."""
        return self.images.num_images


def open_labels(context: Context, rule: str) -> Labels:
    """The label subset of a rule.

    The published subsets of ImageNet serve where they are prepared; others are chosen here and
    written down in the evaluation's folder.
    """
    split = context.train_split
    fraction = subset.parse_rule(rule, "label_fractions").fraction
    if fraction is not None and split == "train":
        name = subset.published_subset(context.source.name, context.data_dir, fraction)
        if name is not None:
            source = tfds_source.open_tfds(name, context.data_dir)
            return Labels(TrainImages(source, "train"), name)
    chosen = subset.open_subset(context.source, split, rule, context.seed)
    path = context.path(f"subset_{file_name(rule)}.json")
    subset.write_subset(path, chosen.description)
    note = chosen.description.note(context.source.class_names)
    return Labels(TrainImages(chosen, split), path, f"{rule}: {note}" if note else None)


def file_name(rule: str) -> str:
    """A rule such as `1%` as part of a file name: `1pct`."""
    return re.sub(r"[^\w.]+", "_", rule.replace("%", "pct")).strip("_")


def label_plan(
    context: Context, labels: Labels, epochs: float, pretrained: bool = True
) -> TrainingPlan:
    """The schedule on few labels (B.5); from random weights with a rate and length of its own."""
    settings = context.settings
    batch_size = context.batch_size(settings.label_batch_size, labels.num_images)
    rate = settings.label_learning_rate
    if not pretrained:
        rate, epochs = settings.scratch_learning_rate, epochs * settings.scratch_epochs_factor
    steps = max(1, round(epochs * (labels.num_images // batch_size)))
    return plan_steps(steps, batch_size, momentum_optimizer(rate), labels.num_images)


def _train(
    context: Context, labels: Labels, rule: str, epochs: float, pretrained: bool
) -> tuple[Score, TrainingPlan]:
    plan = label_plan(context, labels, epochs, pretrained)
    model = build_classifier(context, pretrained=pretrained)
    label = f"{rule} of the labels, {'fine-tuning' if pretrained else 'from scratch'}"
    fit(context, model, labels.images, plan, label)
    return score(context, model, context.test_split), plan


def _row(rule: str, name: str, found: Score, plan: TrainingPlan, images: int) -> Row:
    start = "fine-tuned" if name == "pretrained" else "from scratch"
    result = format_percent(found.top_1)
    if found.logits.shape[1] > 5:
        result += f" (top-5 {format_percent(found.top_5)})"
    peak = plan.optimizer.peak_learning_rate(plan.batch_size)
    how = f"{images} images, {plan.steps} steps of {plan.batch_size}, learning rate {peak:.3g}"
    return Row(f"{rule} labels, {start}", result, how)
