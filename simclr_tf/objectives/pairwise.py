"""The losses that the paper compares NT-Xent with: NT-Logistic and the margin triplet.

Paper, Tables 2 and 4 and appendix B.10. With similarities s = u . v of normalised embeddings, an
anchor with its positive s+ and a negative s- has

    NT-Logistic    -log sigmoid(s+ / temperature) - log sigmoid(-s- / temperature)
    margin triplet max(s- - s+ + margin, 0)

averaged over the anchor's negatives. With semi-hard negatives only one of them counts: of those
that are farther from the anchor than its positive, the closest (Schroff et al. 2015). An anchor
whose negatives are all closer than its positive takes the farthest, as the widespread
implementations do. One that lies beyond the margin gives no margin loss.

As in `nt_xent`, the loss is the sum of both directions averaged over the images. All similarities
are in memory.
"""

from __future__ import annotations

import math

import tensorflow as tf

from simclr_tf.errors import require
from simclr_tf.objectives.metrics import all_anchors, contrastive_accuracy, contrastive_entropy
from simclr_tf.objectives.nt_xent import (
    MASKED_LOGIT,
    ContrastiveOutput,
    ContrastiveResult,
    gathered_views,
    nt_xent_of_views,
)


def nt_logistic(
    hidden_a: tf.Tensor,
    hidden_b: tf.Tensor,
    temperature: float,
    *,
    hidden_norm: bool = True,
    semi_hard: bool = False,
    other_view_only: bool = False,
) -> ContrastiveResult:
    """NT-Logistic with the negatives of all replicas.

    Args:
        hidden_a: (b, D), as in `nt_xent`.
        hidden_b: (b, D), as in `nt_xent`.
        temperature: Divides the similarities, above 0.
        hidden_norm: Whether to L2-normalise, so that similarities are cosines.
        semi_hard: Only the semi-hard negative of an anchor counts.
        other_view_only: Negatives come from the other view alone, as in Table 4.

    Returns:
        Loss, accuracy and entropy, the latter two of NT-Xent at the same temperature and with
        negatives from both views, so that runs can be compared.

    Raises:
        InputError: `temperature` is not a finite number above 0.
        ValueError: As in `nt_xent`.
    """
    views = gathered_views(hidden_a, hidden_b, temperature, hidden_norm)
    output = nt_xent_of_views(views, temperature)
    positive, logits, negative = _candidates(output, other_view_only)
    of_negatives = _reduced(
        tf.math.softplus(logits), negative, positive, logits, semi_hard
    )  # (2b,)
    return _result(output, tf.math.softplus(-positive) + of_negatives)


def margin_triplet(
    hidden_a: tf.Tensor,
    hidden_b: tf.Tensor,
    margin: float,
    *,
    temperature: float = 1.0,
    hidden_norm: bool = True,
    semi_hard: bool = False,
    other_view_only: bool = False,
) -> ContrastiveResult:
    """The margin triplet loss with the negatives of all replicas.

    Args:
        hidden_a: (b, D), as in `nt_xent`.
        hidden_b: (b, D), as in `nt_xent`.
        margin: By how much a positive has to be more similar than a negative, at least 0; cosines
            lie in [-1, 1].
        temperature: For the entropy that is reported; the loss has none.
        hidden_norm: As in `nt_logistic`.
        semi_hard: As in `nt_logistic`.
        other_view_only: As in `nt_logistic`.

    Returns:
        As `nt_logistic`.

    Raises:
        InputError: `margin` is not a finite number of at least 0.
        ValueError: As in `nt_xent`.
    """
    require(math.isfinite(margin) and margin >= 0, "margin", "must be at least 0", margin)
    views = gathered_views(hidden_a, hidden_b, temperature, hidden_norm)
    output = nt_xent_of_views(views, temperature)
    positive, logits, negative = _candidates(output, other_view_only)
    differences = (logits - positive[:, tf.newaxis]) * temperature  # (2b, N)
    triplets = tf.nn.relu(differences + margin)  # (2b, N)
    return _result(output, _reduced(triplets, negative, positive, logits, semi_hard))


def _candidates(
    output: ContrastiveOutput, other_view_only: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of 2b anchors the positive's logit (2b,), all logits (2b, N), and which are negatives."""
    logits, labels = all_anchors(output)  # (2b, 2B), (2b,)
    if other_view_only:
        logits = logits[:, : tf.shape(output.logits_ab)[1]]  # (2b, B)
    is_positive = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    negative = ~is_positive & (logits > MASKED_LOGIT / 2)  # without the anchor itself
    positive = tf.gather(logits, labels, batch_dims=1)  # (2b,)
    # What is masked would make gradients of 0 times infinity.
    return positive, tf.where(negative, logits, 0.0), negative


def _reduced(
    losses: tf.Tensor,
    negative: tf.Tensor,
    positive: tf.Tensor,
    logits: tf.Tensor,
    semi_hard: bool,
) -> tf.Tensor:
    """The mean over an anchor's negatives, or the loss of the semi-hard one: (2b, N) to (2b,)."""
    if semi_hard:
        chosen = _semi_hard(negative, positive, logits)  # (2b,)
        count = tf.reduce_sum(tf.cast(negative, tf.float32), axis=1)  # (2b,)
        return tf.where(count > 0, tf.gather(losses, chosen, batch_dims=1), 0.0)
    weights = tf.cast(negative, tf.float32)  # (2b, N)
    return tf.math.divide_no_nan(
        tf.reduce_sum(losses * weights, axis=1), tf.reduce_sum(weights, axis=1)
    )


def _semi_hard(negative: tf.Tensor, positive: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The column of each anchor's semi-hard negative, or of its farthest one, (2b,)."""
    farther = negative & (logits < positive[:, tf.newaxis])  # (2b, N)
    lowest = tf.where(negative, -logits, MASKED_LOGIT)
    closest = tf.where(farther, logits, MASKED_LOGIT)
    return tf.where(
        tf.reduce_any(farther, axis=1), tf.argmax(closest, axis=1), tf.argmax(lowest, axis=1)
    )


def _result(output: ContrastiveOutput, losses: tf.Tensor) -> ContrastiveResult:
    """From the losses of 2b anchors."""
    loss = 2 * tf.reduce_mean(losses)
    return ContrastiveResult(loss, contrastive_accuracy(output), contrastive_entropy(output))
