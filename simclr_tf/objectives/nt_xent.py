"""NT-Xent, the contrastive loss of SimCLR (paper, section 2.1 and Algorithm 1).

Every image of the batch is an anchor once in each of its two views. Its positive is the same image
in the other view; its negatives are all other images in both views, on every replica.

The loss is the sum of both directions averaged over the images: twice the paper's mean over the 2B
anchors. The reference implementation does the same, so that published learning rates and weight
decays keep their meaning.

`nt_xent` returns its logits too. Training takes `blocked.contrastive_loss`, which needs not hold
them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from simclr_tf.errors import require

# Takes an anchor's similarity to itself out of every softmax. Far below any similarity, and still
# finite, so that p * log(p) and its gradient are 0 rather than NaN.
MASKED_LOGIT = -1e9
# Added nowhere, only a lower bound of the squared norm: a zero vector stays a zero vector.
SQUARED_NORM_FLOOR = 1e-12


class GatheredViews(NamedTuple):
    """What similarities are computed from, float32.

    Attributes:
        hidden_a: (b, D), this replica's first views, the anchors of view a.
        hidden_b: (b, D), its second views.
        all_a: (B, D), the first views of all replicas, in the order of replica ids.
        all_b: (B, D), their second views.
        offset: () int32, the row of `all_a` and `all_b` at which this replica's images start.
    """

    hidden_a: tf.Tensor
    hidden_b: tf.Tensor
    all_a: tf.Tensor
    all_b: tf.Tensor
    offset: tf.Tensor | int


class ContrastiveOutput(NamedTuple):
    """Loss and similarities of this replica's b anchors per view against all B images.

    B is the global batch, b times the number of replicas. Logits are float32 and already divided by
    the temperature. In `logits_xy` the anchors are in view x and the candidates in view y.

    Attributes:
        loss: () float32, both directions summed, averaged over the b images of this replica. The
            mean of it over replicas is the loss of the global batch.
        logits_ab: (b, B), positives and cross-view negatives of the anchors in view a.
        logits_aa: (b, B), same-view negatives; an anchor's own column holds `MASKED_LOGIT`.
        logits_ba: (b, B), as `logits_ab` for the anchors in view b.
        logits_bb: (b, B), as `logits_aa` for the anchors in view b.
        labels: (b,) int32, the positive's column in `logits_ab` and in `logits_ba`.
    """

    loss: tf.Tensor
    logits_ab: tf.Tensor
    logits_aa: tf.Tensor
    logits_ba: tf.Tensor
    logits_bb: tf.Tensor
    labels: tf.Tensor


def nt_xent(
    hidden_a: tf.Tensor,
    hidden_b: tf.Tensor,
    temperature: float,
    hidden_norm: bool = True,
    other_view_only: bool = False,
) -> ContrastiveOutput:
    """The normalised temperature-scaled cross entropy of a batch of positive pairs.

    Inside a replica context with several replicas, candidates are gathered from all of them, and
    gradients flow back to the replica that a candidate came from. All replicas must hold equally
    many images. To train, divide the loss by the number of replicas and sum gradients over them.

    Example:
        >>> hidden = tf.one_hot([0, 1, 2], 8)  # both views alike, all images at right angles
        >>> bool(simclr_tf.nt_xent(hidden, hidden, temperature=0.1).loss < 0.01)
        True

    Args:
        hidden_a: (b, D), projections of the first views, any float dtype; computed in float32.
        hidden_b: (b, D), projections of the second views of the same images in the same order.
        temperature: The paper's tau, above 0.
        hidden_norm: Whether to L2-normalise, so that similarities are cosines.
        other_view_only: Negatives come from the other view alone, as in the paper's comparison of
            losses (Table 4), instead of from both.

    Returns:
        The loss and the logits it was computed from.

    Raises:
        InputError: `temperature` is not a finite number above 0.
        ValueError: The views are not two equal float (b, D) with b >= 1.
    """
    views = gathered_views(hidden_a, hidden_b, temperature, hidden_norm)
    return nt_xent_of_views(views, temperature, other_view_only)


def nt_xent_of_views(
    views: GatheredViews, temperature: float, other_view_only: bool = False
) -> ContrastiveOutput:
    """`nt_xent` of views that are normalised and gathered."""
    hidden_a, hidden_b, all_a, all_b, offset = views
    labels = offset + tf.range(tf.shape(hidden_a)[0])  # (b,)
    own = tf.one_hot(labels, tf.shape(all_a)[0], on_value=True, off_value=False)  # (b, B)

    logits_ab = _similarities(hidden_a, all_b, temperature)  # (b, B)
    logits_aa = _masked(_similarities(hidden_a, all_a, temperature), own)  # (b, B)
    logits_ba = _similarities(hidden_b, all_a, temperature)  # (b, B)
    logits_bb = _masked(_similarities(hidden_b, all_b, temperature), own)  # (b, B)
    of_a = logits_ab if other_view_only else tf.concat([logits_ab, logits_aa], axis=1)
    of_b = logits_ba if other_view_only else tf.concat([logits_ba, logits_bb], axis=1)
    loss_a, loss_b = _cross_entropy(labels, of_a), _cross_entropy(labels, of_b)  # (b,) each
    loss = tf.reduce_mean(loss_a + loss_b)  # ()
    return ContrastiveOutput(loss, logits_ab, logits_aa, logits_ba, logits_bb, labels)


def gathered_views(
    hidden_a: tf.Tensor, hidden_b: tf.Tensor, temperature: float, hidden_norm: bool
) -> GatheredViews:
    """Checks the arguments of a contrastive loss, see `nt_xent`, and gathers the candidates."""
    require(math.isfinite(temperature) and temperature > 0, "temperature",
            "must be greater than 0", temperature)  # fmt: skip
    hidden_a, hidden_b = _checked(hidden_a, hidden_b)  # (b, D)
    if hidden_norm:
        hidden_a = l2_normalize(hidden_a)  # (b, D)
        hidden_b = l2_normalize(hidden_b)  # (b, D)
    return GatheredViews(hidden_a, hidden_b, *_gather_views(hidden_a, hidden_b))


def l2_normalize(hidden: tf.Tensor) -> tf.Tensor:
    """Rows of `hidden` (b, D) divided by their length; a zero row stays zero, gradient finite."""
    return tf.math.l2_normalize(hidden, axis=1, epsilon=SQUARED_NORM_FLOOR)


def _checked(hidden_a: tf.Tensor, hidden_b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Both views as float32, once their static shapes and dtypes are found sound."""
    hidden_a, hidden_b = tf.convert_to_tensor(hidden_a), tf.convert_to_tensor(hidden_b)
    shape_a, shape_b = hidden_a.shape, hidden_b.shape
    sound = shape_a.rank == 2 and shape_b.rank == 2 and shape_a.is_compatible_with(shape_b)
    if not sound or shape_a[0] == 0 or shape_b[0] == 0:
        raise ValueError(
            "hidden_a and hidden_b must have the same shape (b, D) with b >= 1. "
            f"Received: {shape_a} and {shape_b}"
        )
    if not (hidden_a.dtype.is_floating and hidden_b.dtype.is_floating):
        raise ValueError(
            "hidden_a and hidden_b must be floating point. "
            f"Received: {hidden_a.dtype.name} and {hidden_b.dtype.name}"
        )
    return tf.cast(hidden_a, tf.float32), tf.cast(hidden_b, tf.float32)


def _gather_views(
    hidden_a: tf.Tensor, hidden_b: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | int]:
    """Both views of all replicas, and the row at which this replica's images start."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return hidden_a, hidden_b, 0
    # One gather for both views: half as many collectives.
    both = tf.concat([hidden_a, hidden_b], axis=1)  # (b, 2D)
    gathered = context.all_gather(both, axis=0)  # (B, 2D), in the order of replica ids
    batch = tf.shape(hidden_a)[0]
    equal = tf.debugging.assert_equal(
        tf.shape(gathered)[0],
        batch * context.num_replicas_in_sync,
        message="every replica must hold equally many images of the batch",
    )
    # Eagerly and where shapes are static the assertion has run already and yields None.
    with tf.control_dependencies([equal] if equal is not None else []):
        all_a, all_b = tf.split(gathered, 2, axis=1)  # (B, D) each
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    return all_a, all_b, replica * batch


def _similarities(anchors: tf.Tensor, candidates: tf.Tensor, temperature: float) -> tf.Tensor:
    return tf.matmul(anchors, candidates, transpose_b=True) / temperature  # (b, B)


def _masked(logits: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    return tf.where(own, MASKED_LOGIT, logits)  # (b, B)


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    # A log-softmax inside: exp(1 / 0.01) alone would overflow float32.
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # (b,)
