"""Cross entropy and top-k accuracy of the linear head, with unlabeled examples left out.

An unlabeled example has label -1 (any negative label counts as such).
"""

from __future__ import annotations

import tensorflow as tf

from simclr_tf.errors import require


def softmax_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Mean cross entropy over the labelled examples; 0 when there are none.

    Inside a replica context with several replicas, the sum of this replica is divided by the mean
    number of labelled examples per replica. So the mean over replicas is the mean over the global
    batch's labelled examples, however unevenly they are spread.

    Args:
        logits: (b, num_classes), any float dtype; computed in float32.
        labels: (b,) integers in [0, num_classes), or negative where unlabeled.
        num_classes: Number of classes.

    Returns:
        () float32, nats.

    Raises:
        ValueError: Shapes or dtypes other than these.
    """
    logits, labels = _checked(logits, labels)
    if not logits.shape[1:].is_compatible_with([num_classes]):
        raise ValueError(f"logits must have {num_classes} columns. Received: {logits.shape}")
    labelled = labels >= 0  # (b,)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)  # (b,)
    total = tf.reduce_sum(tf.where(labelled, losses, 0.0))
    return tf.math.divide_no_nan(total, _mean_over_replicas(_count(labelled)))


def top_k_correct(logits: tf.Tensor, labels: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """How many labelled examples have their label among the k largest logits, and how many exist.

    Both are sums, so that batches and replicas of any size add up exactly. Among equal logits the
    lower class comes first: constant logits do not count as correct for every class. With k above
    the number of classes, all labelled examples are correct.

    Args:
        logits: (b, classes), any float dtype.
        labels: (b,) integers in [0, classes), or negative where unlabeled.
        k: At least 1.

    Returns:
        The number of correct examples and the number of labelled ones, both () float32.

    Raises:
        InputError: k < 1.
        ValueError: Shapes or dtypes other than these.
    """
    require(k >= 1, "k", "must be at least 1", k)
    logits, labels = _checked(logits, labels)
    classes = tf.shape(logits)[1]
    best = tf.math.top_k(logits, tf.minimum(k, classes)).indices  # (b, k)
    hit = tf.reduce_any(tf.equal(tf.cast(best, labels.dtype), labels[:, None]), axis=1)  # (b,)
    return _count(hit), _count(labels >= 0)


def top_k_accuracy(logits: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
    """Share of this batch's labelled examples that are right, () float32; 0 when there are none.

    For progress of one batch; over a whole data set, add up `top_k_correct` instead.
    """
    correct, count = top_k_correct(logits, labels, k)
    return tf.math.divide_no_nan(correct, count)


def _checked(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits as float32 and labels as int64, once their static shapes and dtypes are sound."""
    logits, labels = tf.convert_to_tensor(logits), tf.convert_to_tensor(labels)
    if not (logits.dtype.is_floating and labels.dtype.is_integer):
        raise ValueError(
            "logits must be floating point and labels integers. "
            f"Received: {logits.dtype.name} and {labels.dtype.name}"
        )
    ranks_sound = logits.shape.rank == 2 and labels.shape.rank == 1
    if not ranks_sound or not logits.shape[:1].is_compatible_with(labels.shape):
        raise ValueError(
            "logits must have shape (b, classes) and labels (b,). "
            f"Received: {logits.shape} and {labels.shape}"
        )
    return tf.cast(logits, tf.float32), tf.cast(labels, tf.int64)


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float32))


def _mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
