"""How well the contrastive task is solved: accuracy and entropy (paper, Table 5).

All functions take the output of `nt_xent` and measure this replica's anchors; as replicas hold
equally many, the mean over replicas is the value of the global batch.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from simclr_tf.objectives.nt_xent import ContrastiveOutput


class ContrastiveResult(NamedTuple):
    """This replica's share; the mean over replicas is the value of the global batch.

    Attributes:
        loss: () float32, both directions summed, averaged over the images.
        accuracy: () float32 in [0, 1], see `contrastive_accuracy`; no gradient.
        entropy: () float32, nats, see `contrastive_entropy`; no gradient.
    """

    loss: tf.Tensor
    accuracy: tf.Tensor
    entropy: tf.Tensor


def with_metrics(loss: tf.Tensor, output: ContrastiveOutput) -> ContrastiveResult:
    """A loss () beside the accuracy and entropy of what it was computed from."""
    return ContrastiveResult(loss, contrastive_accuracy(output), contrastive_entropy(output))


def contrastive_accuracy(output: ContrastiveOutput) -> tf.Tensor:
    """Share of anchors whose positive is the most similar of all 2B - 1 candidates.

    Counts the anchors of both views, each against cross-view and same-view negatives, as the loss
    does.

    Returns:
        () float32 in [0, 1].
    """
    logits, labels = all_anchors(output)  # (2b, 2B), (2b,)
    return _top_1(logits, labels)


def cross_view_accuracy(output: ContrastiveOutput) -> tf.Tensor:
    """The reference implementation's contrastive accuracy: easier, as it leaves out half.

    Counts the anchors of view a only, against the B candidates of view b, without the same-view
    negatives.

    Returns:
        () float32 in [0, 1], on average at least `contrastive_accuracy`.
    """
    return _top_1(output.logits_ab, output.labels)


def contrastive_entropy(output: ContrastiveOutput) -> tf.Tensor:
    """Mean entropy of the softmax over an anchor's 2B - 1 candidates, both views as anchors.

    Returns:
        () float32, nats, in [0, log(2B - 1)]; the upper end means that nothing is told apart.
    """
    logits, _ = all_anchors(output)  # (2b, 2B)
    log_p = tf.nn.log_softmax(logits, axis=1)  # (2b, 2B)
    return -tf.reduce_mean(tf.reduce_sum(tf.exp(log_p) * log_p, axis=1))


def all_anchors(output: ContrastiveOutput) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits (2b, 2B) of the anchors of both views, and the column of each one's positive."""
    logits_a = tf.concat([output.logits_ab, output.logits_aa], axis=1)  # (b, 2B)
    logits_b = tf.concat([output.logits_ba, output.logits_bb], axis=1)  # (b, 2B)
    labels = tf.concat([output.labels, output.labels], axis=0)  # (2b,)
    return tf.concat([logits_a, logits_b], axis=0), labels


def _top_1(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    best = tf.argmax(logits, axis=1, output_type=labels.dtype)  # the first of equals
    return tf.reduce_mean(tf.cast(tf.equal(best, labels), tf.float32))
