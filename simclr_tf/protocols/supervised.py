"""The supervised baseline: the same network, augmentation and schedule, with all the labels."""

from __future__ import annotations

from simclr_tf.protocols.context import Context, Row, Section
from simclr_tf.protocols.fitting import (
    TrainImages,
    build_classifier,
    fit,
    plan_steps,
    require_network,
    score,
)
from simclr_tf.training.tasks import Classify
from simclr_tf.units import format_percent

VIEWS = 2  # of every image and step that pretraining sees


def check(context: Context) -> None:
    """Refuses an encoder that can't be trained."""
    require_network(context.encoder, "the supervised baseline")


def run(context: Context) -> Section:
    """Trains the encoder's architecture from random weights on all labels.

    Policy, optimizer, learning rate and batch are those of the encoder's own run. Without
    `supervised_steps` it sees as many images as the encoder saw views; the same as a run of its
    own: `--train_mode=supervised`.

    Raises:
        InputError: No labels, no known length of the encoder's training, or no SimCLR network.
    """
    batch_size = context.batch_size(
        context.train.train_batch_size, context.source.num_examples(context.train_split)
    )
    images = TrainImages(context.source, context.train_split)
    steps = supervised_steps(context, batch_size)
    plan = plan_steps(steps, batch_size, context.optimizer, images.num_images)
    model = build_classifier(context, pretrained=False)
    fit(context, model, images, plan, "supervised baseline", Classify(distorted=True))
    found = score(context, model, context.test_split)
    context.write_predictions("supervised", found.labels, found.logits)
    peak = plan.optimizer.peak_learning_rate(batch_size)
    how = (f"all {context.source.num_examples(context.train_split)} labels, {plan.steps} steps of "
           f"{batch_size}, {plan.optimizer.optimizer}, learning rate {peak:.3g}")  # fmt: skip
    metrics = {**found.metrics(), "steps": plan.steps, "batch_size": batch_size}
    row = Row("Supervised, from scratch", format_percent(found.top_1), how)
    return Section("Supervised baseline", (row,), metrics)


def supervised_steps(context: Context, batch_size: int) -> int:
    """Steps of the baseline: the setting, or as many images as the encoder's views."""
    if context.settings.supervised_steps:
        return context.settings.supervised_steps
    views = VIEWS * context.train.train_batch_size * pretraining_steps(context)
    return max(1, views // batch_size)


def pretraining_steps(context: Context) -> int:
    """Steps that the encoder was trained for: of its weights, else of the settings."""
    if context.encoder.global_step:
        return context.encoder.global_step
    train = context.train
    count = context.source.num_examples(context.train_split)
    return train.train_steps or train.train_epochs * (count // train.train_batch_size)
