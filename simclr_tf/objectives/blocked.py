"""NT-Xent without its logits: rows of them at a time, in memory linear in the batch.

Symbols: n = 2b anchors, the two views of this replica's b images; N = 2B candidates, the two views
of all replicas' B images; D embedding dimensions; r anchors of a block.

A block holds all N logits of its anchors, hence their whole softmax, so the gradient is formed
right there: two more matrix products and nothing kept. With w[i, j] = softmax - one-hot, the
gradient of an anchor's loss with respect to logit [i, j], and a = anchors / temperature:

    d loss / d anchors    = w @ candidates / temperature
    d loss / d candidates = transpose(w) @ a
    entropy[i]            = loss[i] - a[i] . (w @ candidates)[i]
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from simclr_tf.errors import require
from simclr_tf.objectives.metrics import ContrastiveResult, with_metrics
from simclr_tf.objectives.nt_xent import GatheredViews, gathered_views, nt_xent_of_views

BLOCK_ROWS = 512
# Up to so many logits of a replica the plain form is as fast (docs/performance.md).
PLAIN_LOGITS = 2**15


class _Sums(NamedTuple):
    """Over the anchors seen so far, () float32 each."""

    loss: Any
    hits: Any
    entropy: Any


def contrastive_loss(
    hidden_a: tf.Tensor,
    hidden_b: tf.Tensor,
    temperature: float,
    hidden_norm: bool = True,
    block_size: int = 0,
) -> ContrastiveResult:
    """The loss of `nt_xent` with its accuracy and entropy, whatever the batch.

    Small batches take the plain form. Larger ones are computed in blocks of anchors: the same up
    to rounding, in the memory of a block, but that a positive that ties with a negative counts as
    missed, where the plain form goes by the order of the candidates. In blocks every call computes
    the gradient too, two thirds of the work, whether it is asked for or not. Second derivatives are
    right too, but hold all logits.

    Args:
        hidden_a: (b, D), projections of the first views, any float dtype; computed in float32.
        hidden_b: (b, D), projections of the second views of the same images in the same order.
        temperature: The paper's tau, above 0.
        hidden_norm: Whether to L2-normalise, so that similarities are cosines.
        block_size: Anchors of a block, at least 1; 0 chooses the form and the size.

    Raises:
        InputError: `temperature` is not a finite number above 0, or `block_size` is negative.
        ValueError: The views are not two equal float (b, D) with b >= 1.
    """
    require(block_size >= 0, "loss_block_size", "must be at least 0", block_size)
    views = gathered_views(hidden_a, hidden_b, temperature, hidden_norm)
    if block_size == 0 and _is_small(views):
        output = nt_xent_of_views(views, temperature)
        return with_metrics(output.loss, output)
    anchors = tf.concat([views.hidden_a, views.hidden_b], axis=0)  # (n, D)
    candidates = tf.concat([views.all_a, views.all_b], axis=0)  # (N, D)
    rows = block_size or BLOCK_ROWS
    return _blocked(anchors, candidates, views.offset, temperature, rows)


def _is_small(views: GatheredViews) -> bool:
    """Whether the plain form is as fast; never where the batch is not known while tracing."""
    b, global_b = views.hidden_a.shape[0], views.all_a.shape[0]
    return b is not None and global_b is not None and 4 * b * global_b <= PLAIN_LOGITS


def _blocked(
    anchors: tf.Tensor,
    candidates: tf.Tensor,
    offset: tf.Tensor | int,
    temperature: float,
    block_size: int,
) -> ContrastiveResult:
    """Of anchors (n, D) among candidates (N, D)."""

    @tf.custom_gradient
    def compute(anchors: tf.Tensor, candidates: tf.Tensor) -> Any:
        n = anchors.shape[0] or tf.shape(anchors)[0]
        sums, towards_anchors, towards_candidates = _over_blocks(
            anchors / temperature, candidates, offset, block_size
        )
        count = tf.cast(n, tf.float32)
        images = count / 2

        def gradient(upstream: tf.Tensor, *metrics: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            del metrics
            scale = upstream / images
            return scale / temperature * towards_anchors, scale * towards_candidates

        return (sums.loss / images, sums.hits / count, sums.entropy / count), gradient

    return ContrastiveResult(*compute(anchors, candidates))


def _over_blocks(
    anchors: tf.Tensor,
    candidates: tf.Tensor,
    offset: tf.Tensor | int,
    block_size: int,
) -> tuple[_Sums, tf.Tensor, tf.Tensor]:
    """Sums over all anchors (n, D), divided by the temperature already, and their loss's gradient.

    Returns:
        The sums, and the gradient of the summed loss with respect to products with the anchors
        (n, D) and to the candidates (N, D).
    """
    n = anchors.shape[0] or tf.shape(anchors)[0]
    blocks = -(-n // block_size)
    rows = -(-n // blocks)  # blocks of like size: little padding
    own, positive = _columns(n, tf.shape(candidates)[0], offset)  # (n,), (n,)
    real = tf.ones([n])  # (n,), 0 where padded

    def padded(values: tf.Tensor) -> tf.Tensor:
        extra = [[0, blocks * rows - n]] + [[0, 0]] * (values.shape.rank - 1)
        return tf.pad(values, extra)

    anchors, own, positive, real = (padded(one) for one in (anchors, own, positive, real))

    def body(
        index: tf.Tensor, sums: _Sums, gradients: tf.TensorArray, total: tf.Tensor
    ) -> tuple[Any, ...]:
        def part(values: tf.Tensor) -> tf.Tensor:
            return tf.slice(
                values, [index * rows] + [0] * (values.shape.rank - 1), [rows, *values.shape[1:]]
            )

        weights = part(real)  # (r,)
        block = _block(part(anchors), candidates, part(own), part(positive), weights)
        found, towards_anchors, towards_candidates = block
        sums = _Sums(
            *(one + tf.tensordot(weights, new, 1) for one, new in zip(sums, found, strict=True))
        )
        return (
            index + 1,
            sums,
            gradients.write(index, towards_anchors),
            total + towards_candidates,
        )

    static = [rows if isinstance(rows, int) else None, anchors.shape[1]]  # XLA needs it
    gradients = tf.TensorArray(tf.float32, size=blocks, element_shape=static)
    start = (0, _Sums(0.0, 0.0, 0.0), gradients, tf.zeros_like(candidates))
    _, sums, gradients, towards_candidates = tf.while_loop(
        lambda index, *_: index < blocks, body, start, parallel_iterations=1
    )
    return sums, gradients.concat()[:n], towards_candidates


def _columns(
    n: tf.Tensor | int, candidates: tf.Tensor, offset: tf.Tensor | int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The candidate that is the anchor itself, and the one that is its positive, (n,) int32."""
    first = offset + tf.range(n // 2)  # (b,)
    second = first + candidates // 2  # (b,)
    return tf.concat([first, second], axis=0), tf.concat([second, first], axis=0)


def _block(
    anchors: tf.Tensor,
    candidates: tf.Tensor,
    own: tf.Tensor,
    positive: tf.Tensor,
    weights: tf.Tensor,
) -> tuple[_Sums, tf.Tensor, tf.Tensor]:
    """Loss, hits and entropy (r,) of r anchors, and the gradients of their loss.

    The scatters change a buffer in place: each of them is that buffer's last reader.
    """
    row = tf.range(tf.shape(anchors)[0])  # (r,)
    at_own, at_positive = tf.stack([row, own], axis=1), tf.stack([row, positive], axis=1)  # (r, 2)
    logits = tf.matmul(anchors, candidates, transpose_b=True)  # (r, N)
    similarity = tf.gather_nd(logits, at_positive)  # (r,)
    with tf.control_dependencies([similarity]):
        negatives = tf.tensor_scatter_nd_update(
            logits,
            tf.concat([at_own, at_positive], axis=0),
            tf.fill([2 * tf.shape(row)[0]], -float("inf")),
        )  # (r, N)
    hardest = tf.reduce_max(negatives, axis=1)  # (r,)
    highest = tf.maximum(hardest, similarity)  # (r,)
    powers = tf.exp(negatives - highest[:, tf.newaxis])  # (r, N)
    of_positive = similarity - highest  # (r,)
    others = tf.reduce_sum(powers, axis=1)  # (r,)
    loss = tf.math.softplus(tf.math.log(others) - of_positive)  # (r,)
    # Divided by the softmax's denominator: softmax - one-hot, exact where the positive has it all.
    weighted = tf.tensor_scatter_nd_update(powers, at_positive, -others)  # (r, N)
    denominator = others + tf.exp(of_positive)  # (r,)
    towards_anchors = tf.matmul(weighted, candidates) / denominator[:, tf.newaxis]  # (r, D)
    shares = anchors * (weights / denominator)[:, tf.newaxis]  # (r, D)
    towards_candidates = tf.matmul(weighted, shares, transpose_a=True)  # (N, D)
    entropy = loss - tf.reduce_sum(anchors * towards_anchors, axis=1)  # (r,)
    hits = tf.cast(similarity > hardest, tf.float32)  # (r,)
    return _Sums(loss, hits, entropy), towards_anchors, towards_candidates
