"""What is minimised: contrastive, with labels, or distilling a teacher.

Symbols: b images per replica, B images over all replicas, 2 views of each, D embedding dimensions,
C classes. Each function computes one replica's share, whose mean over the replicas is the loss of
the global batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from simclr_tf.augment.distortion import input_view
from simclr_tf.models.endpoints import LOGITS_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.models.network import Network
from simclr_tf.models.roles import variable_roles
from simclr_tf.objectives.contrastive import objective_of_views
from simclr_tf.objectives.distillation import agreement, distillation_loss
from simclr_tf.objectives.supervised import softmax_cross_entropy, top_k_correct
from simclr_tf.optimizers.factory import weight_decay_loss
from simclr_tf.settings.objective import DistillConfig, ObjectiveConfig
from simclr_tf.settings.optimizer import OptimizerConfig

Batch: TypeAlias = Mapping[str, tf.Tensor]


class Losses(NamedTuple):
    """One replica's share.

    Attributes:
        total: () float32, what is minimised.
        values: () floats by name, see `means.metric_names`.
        weights: How much a value counts in the mean over replicas, 1 where absent.
    """

    total: tf.Tensor
    values: dict[str, Any]
    weights: dict[str, tf.Tensor] = {}  # noqa: RUF012 - a default of a tuple, never changed


LossFunction: TypeAlias = Callable[[Batch], Losses]
# Projections (2b, D), logits (2b, C) or None, and labels (b,), which logits need.
LossOfOutputs: TypeAlias = Callable[[tf.Tensor, tf.Tensor | None, tf.Tensor | None], Losses]


def stack_views(batch: Batch) -> tf.Tensor:
    """The two views of each image, stacked on the batch axis: (2b, H, W, 3)."""
    return tf.concat([input_view(batch, 0), input_view(batch, 1)], axis=0)


def _supervised(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy and top-1 accuracy of logits (n, C) against labels (n,)."""
    correct, count = top_k_correct(logits, labels, k=1)
    loss = softmax_cross_entropy(logits, labels, logits.shape[-1])
    return loss, tf.math.divide_no_nan(correct, count)


def pretrain_losses(
    model: Network, objective: ObjectiveConfig, decay: OptimizerConfig
) -> LossFunction:
    """The contrastive loss (Algorithm 1) of a batch of `view_0`, `view_1` (b, H, W, 3), `label`.

    Without a linear head there need not be a label.
    """
    combine = pretrain_losses_of_outputs(model, objective, decay)

    def losses(batch: Batch, training: bool = True) -> Losses:
        outputs = model(stack_views(batch), training=training)
        return combine(
            outputs[PROJECTED_ENDPOINT], outputs.get(LOGITS_ENDPOINT), batch.get("label")
        )

    return losses


def pretrain_losses_of_outputs(
    model: Network, objective: ObjectiveConfig, decay: OptimizerConfig
) -> LossOfOutputs:
    """The contrastive loss as a function of the network's outputs.

    Returns:
        A function of projections (2b, D), logits (2b, C) or None, and labels (b,).
    """
    roles = variable_roles(model)

    def combine(projected: tf.Tensor, logits: tf.Tensor | None, labels: tf.Tensor | None) -> Losses:
        values: dict[str, Any] = {}
        hidden_a, hidden_b = tf.split(projected, 2)  # (b, D) each
        contrastive = objective_of_views(hidden_a, hidden_b, objective)
        total = contrastive.loss
        if logits is not None:
            supervised, accuracy = _supervised(logits, tf.concat([labels] * 2, axis=0))
            values["train/supervised_loss"] = supervised
            values["train/supervised_acc"] = accuracy
            total += supervised
        l2 = weight_decay_loss(model.trainable_variables, roles, decay)
        total += l2
        values["train/contrast_loss"] = contrastive.loss
        values["train/contrast_acc"] = contrastive.accuracy
        values["train/contrast_entropy"] = contrastive.entropy
        values["train/weight_decay"] = l2
        values["train/total_loss"] = total
        return Losses(total, values)

    return combine


def finetune_losses(model: Network, decay: OptimizerConfig) -> LossFunction:
    """The cross entropy of a batch of `view_0` (b, H, W, 3) and `label` (b,).

    Fine-tuning and supervised training differ in their model and views alone.
    """
    roles = variable_roles(model)

    def losses(batch: Batch) -> Losses:
        logits = model(input_view(batch, 0), training=True)[LOGITS_ENDPOINT]  # (b, C)
        supervised, accuracy = _supervised(logits, batch["label"])
        l2 = weight_decay_loss(model.trainable_variables, roles, decay)
        total = supervised + l2
        return Losses(
            total,
            {
                "train/supervised_loss": supervised,
                "train/supervised_acc": accuracy,
                "train/weight_decay": l2,
                "train/total_loss": total,
            },
        )

    return losses


def distill_losses(
    model: Network,
    teacher: Network,
    distill: DistillConfig,
    decay: OptimizerConfig,
    labelled: bool = True,
) -> LossFunction:
    """The student's loss (SimCLRv2, arXiv 2006.10029, equations 2 and 3).

    Works on a batch of `view_0` (b, H, W, 3) and `label` (b,); the teacher sees the same view as
    the student. An image without a label, -1, counts in the distillation term alone. The labelled
    term is a mean over the labelled images, not a sum, whose weight would change with the batch.

    Args:
        model: The student.
        teacher: A model with as many classes; runs in inference mode and is never changed.
        distill: Temperature, and weight of the distillation term.
        decay: The weight decay.
        labelled: Whether any training image has a label.
    """
    roles = variable_roles(model)
    alpha = distill.distill_alpha

    def losses(batch: Batch) -> Losses:
        labels = batch["label"]  # (b,)
        view = input_view(batch, 0)
        taught = teacher(view, training=False)[LOGITS_ENDPOINT]  # (b, C)
        logits = model(view, training=True)[LOGITS_ENDPOINT]  # (b, C)
        distilled = distillation_loss(logits, taught, distill.distill_temperature)
        supervised, accuracy = _supervised(logits, labels)
        l2 = weight_decay_loss(model.trainable_variables, roles, decay)
        total = alpha * distilled + (1 - alpha) * supervised + l2
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
        return Losses(total, values, {"train/supervised_acc": count})

    return losses
