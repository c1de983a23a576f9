"""One training step: contrastive, with labels, or distilling a teacher.

Symbols: b images per replica, B images over all replicas, 2 views of each, D embedding dimensions,
C classes. Each function computes one replica's share; gradients are summed over the replicas by
the optimizer, so the loss is divided by their number first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import DistillConfig, ObjectiveConfig, OptimizerConfig
from simclr_tf.models.roles import variable_roles
from simclr_tf.models.simclr import SimCLR
from simclr_tf.objectives import metrics as contrastive_metrics
from simclr_tf.objectives.distillation import agreement, distillation_loss
from simclr_tf.objectives.nt_xent import nt_xent
from simclr_tf.objectives.supervised import softmax_cross_entropy, top_k_correct
from simclr_tf.optimizers.factory import weight_decay_loss

Batch = Mapping[str, tf.Tensor]
Step = Callable[[Batch], None]


class Means:
    """Running means of the step's metrics between two summaries, over steps and replicas."""

    def __init__(self, names: tuple[str, ...]):
        self._means = {name: keras.metrics.Mean(name=name.replace("/", "_")) for name in names}

    def update(
        self, values: Mapping[str, tf.Tensor], weights: Mapping[str, tf.Tensor] | None = None
    ) -> None:
        """Adds one step's values, inside or outside a replica.

        Args:
            values: () floats by name.
            weights: How much each counts, 1 where absent; a share of few examples counts little.
        """
        for name, value in values.items():
            self._means[name].update_state(value, (weights or {}).get(name))

    def result(self) -> dict[str, float]:
        """The means since the last reset."""
        return {name: float(mean.result()) for name, mean in self._means.items()}

    def reset(self) -> None:
        """Starts a new interval."""
        for mean in self._means.values():
            mean.reset_state()


def metric_names(model: SimCLR, train_mode: str, labelled: bool = True) -> tuple[str, ...]:
    """The scalars that a step reports, under the reference's names where it has them.

    Args:
        model: Whose step.
        train_mode: What the step does.
        labelled: Whether any training image has a label; a student learns without.
    """
    names = ["train/weight_decay", "train/total_loss"]
    if train_mode == "pretrain":
        names += ["train/contrast_loss", "train/contrast_acc", "train/contrast_entropy"]
    if train_mode == "distill":
        names += ["train/distill_loss", "train/distill_agreement"]
    if model.linear_head is not None and labelled:
        names += ["train/supervised_loss", "train/supervised_acc"]
    return tuple(names)


def _supervised(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy and top-1 accuracy of logits (n, C) against labels (n,)."""
    correct, count = top_k_correct(logits, labels, k=1)
    loss = softmax_cross_entropy(logits, labels, logits.shape[-1])
    return loss, tf.math.divide_no_nan(correct, count)


def build_pretrain_step(
    model: SimCLR,
    optimizer: keras.optimizers.Optimizer,
    objective: ObjectiveConfig,
    decay: OptimizerConfig,
    means: Means,
) -> Step:
    """The contrastive step (Algorithm 1) on a batch of `view_0`, `view_1` (b, H, W, 3), `label`."""
    roles = variable_roles(model)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def step(batch: Batch) -> None:
        # Views: the two of each image, stacked on the batch axis.
        images = tf.concat([batch["view_0"], batch["view_1"]], axis=0)  # (2b, H, W, 3)
        values: dict[str, Any] = {}
        with tf.GradientTape() as tape:
            # Forward.
            outputs = model(images, training=True)
            hidden_a, hidden_b = tf.split(outputs["proj_head_output"], 2)  # (b, D) each
            # Losses.
            contrastive = nt_xent(
                hidden_a, hidden_b, objective.temperature, hidden_norm=objective.hidden_norm
            )
            total = contrastive.loss
            if model.linear_head is not None:
                labels = tf.concat([batch["label"]] * 2, axis=0)  # (2b,)
                supervised, accuracy = _supervised(outputs["logits_sup"], labels)
                values["train/supervised_loss"] = supervised
                values["train/supervised_acc"] = accuracy
                total += supervised
            l2 = weight_decay_loss(model.trainable_variables, roles, decay)
            total += l2
            replica_loss = total / replicas
        # Gradients and update.
        gradients = tape.gradient(replica_loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        # Metrics.
        values["train/contrast_loss"] = contrastive.loss
        values["train/contrast_acc"] = contrastive_metrics.contrastive_accuracy(contrastive)
        values["train/contrast_entropy"] = contrastive_metrics.contrastive_entropy(contrastive)
        values["train/weight_decay"] = l2
        values["train/total_loss"] = total
        means.update(values)

    return step


def build_finetune_step(
    model: SimCLR,
    optimizer: keras.optimizers.Optimizer,
    decay: OptimizerConfig,
    means: Means,
) -> Step:
    """The supervised step on a batch of `view_0` (b, H, W, 3) and `label` (b,).

    Fine-tuning and supervised training differ in their model and views alone.
    """
    roles = variable_roles(model)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def step(batch: Batch) -> None:
        with tf.GradientTape() as tape:
            # Forward.
            logits = model(batch["view_0"], training=True)["logits_sup"]  # (b, C)
            # Losses.
            supervised, accuracy = _supervised(logits, batch["label"])
            l2 = weight_decay_loss(model.trainable_variables, roles, decay)
            replica_loss = (supervised + l2) / replicas
        # Gradients and update.
        gradients = tape.gradient(replica_loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        # Metrics.
        means.update(
            {
                "train/supervised_loss": supervised,
                "train/supervised_acc": accuracy,
                "train/weight_decay": l2,
                "train/total_loss": supervised + l2,
            }
        )

    return step


def build_distill_step(
    model: SimCLR,
    teacher: SimCLR,
    optimizer: keras.optimizers.Optimizer,
    distill: DistillConfig,
    decay: OptimizerConfig,
    means: Means,
    labelled: bool = True,
) -> Step:
    """The student's step (SimCLRv2, arXiv 2006.10029, equations 2 and 3).

    Works on a batch of `view_0` (b, H, W, 3) and `label` (b,); the teacher sees the same view as
    the student. An image without a label, -1, counts in the distillation term alone. The labelled
    term is a mean over the labelled images, not a sum, whose weight would change with the batch.

    Args:
        model: The student.
        teacher: A model with as many classes; runs in inference mode and is never changed.
        optimizer: The student's.
        distill: Temperature, and weight of the distillation term.
        decay: The weight decay.
        means: Receives the metrics.
        labelled: Whether any training image has a label.
    """
    roles = variable_roles(model)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    alpha = distill.distill_alpha

    def step(batch: Batch) -> None:
        labels = batch["label"]  # (b,)
        taught = teacher(batch["view_0"], training=False)["logits_sup"]  # (b, C)
        with tf.GradientTape() as tape:
            # Forward.
            logits = model(batch["view_0"], training=True)["logits_sup"]  # (b, C)
            # Losses.
            distilled = distillation_loss(logits, taught, distill.distill_temperature)
            supervised, accuracy = _supervised(logits, labels)
            l2 = weight_decay_loss(model.trainable_variables, roles, decay)
            total = alpha * distilled + (1 - alpha) * supervised + l2
            replica_loss = total / replicas
        # Gradients and update.
        gradients = tape.gradient(replica_loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        # Metrics.
        values = {
            "train/distill_loss": distilled,
            "train/distill_agreement": agreement(logits, taught),
            "train/weight_decay": l2,
            "train/total_loss": total,
        }
        if labelled:
            values["train/supervised_loss"] = supervised
            values["train/supervised_acc"] = accuracy
        count = tf.reduce_sum(tf.cast(labels >= 0, tf.float32))
        means.update(values, {"train/supervised_acc": count})

    return step
