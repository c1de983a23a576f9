"""Which contrastive loss the settings name."""

from __future__ import annotations

import math

import tensorflow as tf

from simclr_tf.objectives.blocked import contrastive_loss
from simclr_tf.objectives.metrics import ContrastiveResult, with_metrics
from simclr_tf.objectives.nt_xent import nt_xent
from simclr_tf.objectives.pairwise import margin_triplet, nt_logistic
from simclr_tf.settings.objective import ObjectiveConfig


def objective_of_views(
    hidden_a: tf.Tensor, hidden_b: tf.Tensor, config: ObjectiveConfig
) -> ContrastiveResult:
    """The configured loss of a batch of positive pairs, with the negatives of all replicas.

    Args:
        hidden_a: (b, D), projections of the first views, any float dtype; computed in float32.
        hidden_b: (b, D), projections of the second views of the same images in the same order.
        config: The loss and its settings.

    Returns:
        This replica's share; accuracy and entropy are NT-Xent's, whatever the loss.

    Raises:
        ValueError: The views are not two equal float (b, D) with b >= 1.
    """
    tau, norm = config.temperature, config.hidden_norm
    other_view_only = config.negatives == "other_view"
    if config.objective == "nt_logistic":
        return nt_logistic(
            hidden_a, hidden_b, tau, hidden_norm=norm, semi_hard=config.semi_hard,
            other_view_only=other_view_only,
        )  # fmt: skip
    if config.objective == "margin_triplet":
        return margin_triplet(
            hidden_a, hidden_b, config.margin, temperature=tau, hidden_norm=norm,
            semi_hard=config.semi_hard, other_view_only=other_view_only,
        )  # fmt: skip
    if other_view_only:
        output = nt_xent(hidden_a, hidden_b, tau, norm, other_view_only=True)
        return with_metrics(output.loss, output)
    return contrastive_loss(hidden_a, hidden_b, tau, norm, config.loss_block_size)


def loss_of_guessing(config: ObjectiveConfig, batch_size: int) -> float | None:
    """NT-Xent's loss where all pairs of views are equally similar; None for the other losses.

    Args:
        config: The loss and its settings.
        batch_size: Images of a step, over all replicas.
    """
    if config.objective != "nt_xent":
        return None
    candidates = batch_size if config.negatives == "other_view" else 2 * batch_size - 1
    return 2 * math.log(candidates)  # of both directions
