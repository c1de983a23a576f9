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
from typing import NamedTuple

import tensorflow as tf

from simclr_tf.errors import require
from simclr_tf.objectives.metrics import ContrastiveResult, all_anchors, with_metrics
from simclr_tf.objectives.nt_xent import (
    MASKED_LOGIT,
    ContrastiveOutput,
    gathered_views,
    nt_xent_of_views,
)


class _Compared(NamedTuple):
    """The similarities of 2b anchors to N candidates, divided by the temperature.

    Attributes:
        output: What they come from.
        positive: (2b,), of each anchor's positive.
        logits: (2b, N), 0 where the candidate is no negative.
        negative: bool (2b, N), which are negatives.
    """

    output: ContrastiveOutput
    positive: tf.Tensor
    logits: tf.Tensor
    negative: tf.Tensor


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
    compared = _compare(hidden_a, hidden_b, temperature, hidden_norm, other_view_only)
    of_negatives = _over_negatives(tf.math.softplus(compared.logits), compared, semi_hard)  # (2b,)
    return _result(tf.math.softplus(-compared.positive) + of_negatives, compared)


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
    compared = _compare(hidden_a, hidden_b, temperature, hidden_norm, other_view_only)
    differences = (compared.logits - compared.positive[:, tf.newaxis]) * temperature  # (2b, N)
    triplets = tf.nn.relu(differences + margin)  # (2b, N)
    return _result(_over_negatives(triplets, compared, semi_hard), compared)


def _compare(
    hidden_a: tf.Tensor,
    hidden_b: tf.Tensor,
    temperature: float,
    hidden_norm: bool,
    other_view_only: bool,
) -> _Compared:
    views = gathered_views(hidden_a, hidden_b, temperature, hidden_norm)
    output = nt_xent_of_views(views, temperature)
    logits, labels = all_anchors(output)  # (2b, 2B), (2b,)
    if other_view_only:
        logits = logits[:, : tf.shape(output.logits_ab)[1]]  # (2b, B)
    is_positive = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    negative = ~is_positive & (logits > MASKED_LOGIT / 2)  # without the anchor itself
    positive = tf.gather(logits, labels, batch_dims=1)  # (2b,)
    # What is masked would make gradients of 0 times infinity.
    return _Compared(output, positive, tf.where(negative, logits, 0.0), negative)


def _over_negatives(losses: tf.Tensor, compared: _Compared, semi_hard: bool) -> tf.Tensor:
    """From losses (2b, N) to their mean over the negatives that count, (2b,); 0 without any."""
    counted = _semi_hard(compared) if semi_hard else compared.negative
    weights = tf.cast(counted, tf.float32)  # (2b, N)
    return tf.math.divide_no_nan(
        tf.reduce_sum(losses * weights, axis=1), tf.reduce_sum(weights, axis=1)
    )


def _semi_hard(compared: _Compared) -> tf.Tensor:
    """Which candidate is the anchor's semi-hard negative, or its farthest one, bool (2b, N)."""
    negative, logits = compared.negative, compared.logits
    farther = negative & (logits < compared.positive[:, tf.newaxis])  # (2b, N)
    lowest = tf.where(negative, -logits, MASKED_LOGIT)
    closest = tf.where(farther, logits, MASKED_LOGIT)
    chosen = tf.where(
        tf.reduce_any(farther, axis=1), tf.argmax(closest, axis=1), tf.argmax(lowest, axis=1)
    )  # (2b,)
    return negative & tf.one_hot(chosen, tf.shape(logits)[1], on_value=True, off_value=False)


def _result(losses: tf.Tensor, compared: _Compared) -> ContrastiveResult:
    """From the losses of 2b anchors."""
    return with_metrics(2 * tf.reduce_mean(losses), compared.output)
