"""Linear evaluation (B.6): linear heads on frozen features of augmented images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import require_choice
from simclr_tf.evaluation.features import EncoderOutput
from simclr_tf.models.heads import LinearHead
from simclr_tf.objectives.supervised import softmax_cross_entropy
from simclr_tf.optimizers import factory, schedule
from simclr_tf.protocols.context import Context, Row, Section, unchanged
from simclr_tf.protocols.fitting import (
    Score,
    TrainImages,
    batches_of_views,
    listening,
    plan_steps,
    score_logits,
)
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.training import loop
from simclr_tf.training.fit import TrainingPlan
from simclr_tf.training.losses import Batch
from simclr_tf.training.means import Means
from simclr_tf.units import format_percent

_LOSS = "train/total_loss"


class Heads(NamedTuple):
    """Linear heads that learn side by side from the same features.

    Attributes:
        learning_rates: Of each head, per 256 images.
        layers: The heads.
        optimizers: One for each.
    """

    learning_rates: tuple[float, ...]
    layers: list[LinearHead]
    optimizers: list[keras.optimizers.Optimizer]


def run(context: Context) -> Section:
    """Trains the heads, chooses one on validation images, and scores it on the test split.

    With a single learning rate nothing is chosen and all training images are used. The encoder is
    proved to be bit-identical before and after, batch norm statistics included.

    Raises:
        InputError: No labels, too few images, or no such endpoint.
    """
    settings = context.settings
    sweep = len(settings.linear_rates) > 1
    train_part, held_out = context.train_parts() if sweep else (context.train_split, "")
    count = context.source.num_examples(train_part)
    batch_size = context.batch_size(settings.linear_batch_size, count)
    steps = max(1, round(settings.linear_epochs * (count // batch_size)))
    with unchanged(context.encoder):
        # Extracted first: features that are not finite are refused before anything trains.
        context.features(context.test_split, setting="eval_split")
        heads = train_heads(context, train_part, batch_size, steps)
        chosen, validation = _choose(context, heads, held_out) if sweep else (0, None)
        scores = score_heads(context, heads, context.test_split, "eval_split")
    best = scores[chosen]
    context.write_predictions("linear", best.labels, best.logits)
    rate = heads.learning_rates[chosen]
    how = (f"{settings.linear_epochs:g} epochs of {batch_size}, crop and flip, "
           f"{settings.linear_optimizer}, learning rate {rate:g} x batch/256")  # fmt: skip
    if sweep:
        how += f" (best of {len(scores)} on {held_out})"
    rows = [Row("Linear head", format_percent(best.top_1), how)]
    if context.num_classes > 5:
        rows.append(Row("Linear head, top-5", format_percent(best.top_5)))
    metrics = {
        **best.metrics(),
        "learning_rate": rate,
        "batch_size": batch_size,
        "steps": steps,
        "by_learning_rate": [
            {"learning_rate": r, "test_top_1_accuracy": s.top_1,
             **({} if validation is None else {"validation_top_1_accuracy": validation[i]})}
            for i, (r, s) in enumerate(zip(heads.learning_rates, scores, strict=True))
        ],
    }  # fmt: skip
    return Section("Linear evaluation (B.6)", tuple(rows), metrics)


def _choose(context: Context, heads: Heads, split: str) -> tuple[int, list[float]]:
    scores = score_heads(context, heads, split, "validation_split")
    accuracies = [score.top_1 for score in scores]
    return int(np.argmax(accuracies)), accuracies


def train_heads(context: Context, split: str, batch_size: int, steps: int) -> Heads:
    """Trains one head per learning rate on crops and flips through the frozen encoder.

    Args:
        context: Encoder, data and settings.
        split: Split expression of the training images.
        batch_size: Global batch size.
        steps: Steps, with a cosine schedule over all of them and no warm-up.
    """
    images = TrainImages(context.source, split)
    plan = plan_steps(steps, batch_size, OptimizerConfig(), images.num_images)
    with context.job.scope():
        heads = _build_heads(context, plan)
        means = Means((_LOSS,))
    one_step = build_heads_step(context, heads, means)
    # The heads take their steps together, so that one optimizer counts for all.
    counter = heads.optimizers[0]
    meters = loop.Meters(counter.iterations, means, lambda at: float(counter._learning_rate(at)))
    with listening(context, images, plan, "linear heads") as listeners:
        loop.run_loop(
            loop.compile_steps(one_step, context.job.strategy),
            batches_of_views(context, images, plan),
            plan.course,
            meters,
            listeners,
            context.job,
        )
    return heads


def _build_heads(context: Context, plan: TrainingPlan) -> Heads:
    """Heads and optimizers with their slots; call it in the strategy's scope."""
    settings = context.settings
    size = context.encoder.image_size
    images = tf.zeros([1, size, size, context.encoder.channels])
    features = _embed(context.encoder.encode, settings.endpoint, images)  # (1, D)
    keras.utils.set_random_seed(context.seed)
    layers, optimizers = [], []
    for index, rate in enumerate(settings.linear_rates):
        layer = LinearHead(context.num_classes, name=f"linear_head_{index}")
        layer.build(features.shape)
        config = OptimizerConfig(
            optimizer=settings.linear_optimizer, learning_rate=rate, warmup_epochs=0,
            weight_decay=0,
        )  # fmt: skip
        learning_rate = schedule.build_schedule(config, plan.batch_size, 1, plan.steps)
        # Without roles LARS adapts the kernels, which it leaves out where a head is trained
        # alongside an encoder.
        optimizer = factory.build_optimizer(config, learning_rate, None)
        optimizer.build(layer.trainable_variables)
        layers.append(layer)
        optimizers.append(optimizer)
    return Heads(settings.linear_rates, layers, optimizers)


def build_heads_step(context: Context, heads: Heads, means: Means) -> Callable[[Batch], None]:
    """One step of all heads on a batch of `view_0` (b, S, S, C) and `label` (b,)."""
    endpoint, classes = context.settings.endpoint, context.num_classes
    replicas = context.job.replicas
    encode = context.encoder.encode

    def step(batch: Batch) -> None:
        # Features, once for all heads and outside the tape.
        features = _embed(encode, endpoint, batch["view_0"])  # (b, D)
        losses: list[Any] = []
        for layer, optimizer in zip(heads.layers, heads.optimizers, strict=True):
            with tf.GradientTape() as tape:
                loss = softmax_cross_entropy(layer(features), batch["label"], classes)
                replica_loss = loss / replicas
            gradients = tape.gradient(replica_loss, layer.trainable_variables)
            optimizer.apply_gradients(zip(gradients, layer.trainable_variables, strict=True))
            losses.append(tf.where(tf.math.is_finite(loss), loss, math.inf))
        # The best head's: one that diverges at too high a rate loses the sweep, and no more.
        means.update({_LOSS: tf.reduce_min(losses)})

    return step


def _embed(
    encode: Callable[[tf.Tensor], EncoderOutput], endpoint: str, images: tf.Tensor
) -> tf.Tensor:
    outputs = encode(images)
    if not isinstance(outputs, Mapping):
        return tf.cast(outputs, tf.float32)
    require_choice("endpoint", endpoint, sorted(outputs))
    return tf.stop_gradient(tf.cast(outputs[endpoint], tf.float32))  # (b, D)


def score_heads(context: Context, heads: Heads, split: str, setting: str) -> list[Score]:
    """Scores every head on a split, without augmentation, from features extracted once.

    A head that diverged scores 0.
    """
    features = context.features(split, setting=setting)
    assert features.labels is not None
    scores = []
    for layer in heads.layers:
        kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
        if np.isfinite(kernel).all() and np.isfinite(bias).all():
            scores.append(score_logits(features.features @ kernel + bias, features.labels))
        else:  # diverged
            nothing = np.zeros((len(features.labels), context.num_classes), np.float32)
            scores.append(Score(0.0, 0.0, 0.0, nothing, features.labels))
    return scores
