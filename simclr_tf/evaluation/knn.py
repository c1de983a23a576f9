"""Weighted k-nearest-neighbour classification on frozen features.

The protocol of Wu et al. 2018 (arXiv 1805.01978, section 3.4), which later work reports for k = 20
and 200: the k training images with the largest cosine similarity vote for their class with weight
exp(similarity / temperature), temperature 0.07.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from simclr_tf.errors import InputError, require

_GROUP = 16  # Neighbouring bank entries that `_block_top_k` judges by their maximum first.
_BELOW_ANY_COSINE = -2.0


def knn_accuracy(
    bank: np.ndarray,
    bank_labels: np.ndarray,
    queries: np.ndarray,
    query_labels: np.ndarray,
    ks: Sequence[int] = (20, 200),
    temperature: float = 0.07,
    num_classes: int | None = None,
    query_block: int = 256,
    bank_block: int = 32_768,
) -> dict[int, float]:
    """Top-1 accuracy of the weighted kNN classifier, for several k at once.

    Args and behaviour as in `knn_predictions`; `query_labels` is (Q,) integers.

    Returns:
        Accuracy in [0, 1] for each requested k.
    """
    query_labels = np.asarray(query_labels)  # (Q,)
    require(query_labels.shape == (len(queries),), "query_labels",
            f"must have shape ({len(queries)},), one per query", query_labels.shape)  # fmt: skip
    predictions = knn_predictions(
        bank, bank_labels, queries, ks, temperature, num_classes, query_block, bank_block
    )
    return {k: float(np.mean(predicted == query_labels)) for k, predicted in predictions.items()}


def knn_predictions(
    bank: np.ndarray,
    bank_labels: np.ndarray,
    queries: np.ndarray,
    ks: Sequence[int] = (20, 200),
    temperature: float = 0.07,
    num_classes: int | None = None,
    query_block: int = 256,
    bank_block: int = 32_768,
) -> dict[int, np.ndarray]:
    """Classes that the weighted kNN classifier predicts, for several k at once.

    Deterministic: of equally similar entries the one that comes first in the bank is nearer, and
    of classes with equal votes the lowest wins. A feature vector of zeros has similarity 0 to all.

    Args:
        bank: (M, D) features of labeled images; any scale, they are L2-normalised here.
        bank_labels: (M,) integers in [0, num_classes).
        queries: (Q, D) features to classify.
        ks: Numbers of neighbours. A k above M means all M entries: the answer stays under the k
            asked for.
        temperature: Above 0; small values trust the nearest entries most.
        num_classes: None takes the largest label of the bank plus 1.
        query_block: Queries handled at once.
        bank_block: Bank entries handled at once. Beside the features themselves, memory is about
            2 * query_block * bank_block + Q * max(ks) numbers of 4 bytes.

    Returns:
        (Q,) int64 for each requested k.

    Raises:
        InputError: Shapes do not fit, a label is out of range, or a value is not finite.
    """
    bank, queries = _checked_features("bank", bank), _checked_features("queries", queries)
    require(bank.shape[1] == queries.shape[1], "queries",
            f"must have the bank's {bank.shape[1]} dimensions", queries.shape[1])  # fmt: skip
    require(len(ks) > 0 and min(ks) >= 1, "ks", "must be numbers of at least 1", list(ks))
    require(0 < temperature < np.inf, "temperature", "must be > 0", temperature)
    require(min(query_block, bank_block) >= 1, "query_block, bank_block", "must be at least 1",
            (query_block, bank_block))  # fmt: skip
    labels, num_classes = _checked_labels(bank_labels, len(bank), num_classes)
    k_max = min(max(ks), len(bank))
    sims, indices = _nearest(bank, queries, k_max, query_block, bank_block)  # (Q, k_max) both
    predictions = {}
    for k in ks:
        votes = (_vote(sims[rows, :k], labels[indices[rows, :k]], temperature, num_classes)
                 for rows in _blocks(len(queries), query_block))  # fmt: skip
        predictions[k] = np.concatenate(list(votes))
    return predictions


def _nearest(
    bank: np.ndarray, queries: np.ndarray, k: int, query_block: int, bank_block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities and bank indices of the k nearest entries, nearest first; both (Q, k)."""
    sims = np.full((len(queries), k), _BELOW_ANY_COSINE, np.float32)
    indices = np.zeros((len(queries), k), np.int64)
    for columns in _blocks(len(bank), bank_block):
        block = tf.math.l2_normalize(tf.constant(bank[columns]), axis=1)  # (b, D)
        for rows in _blocks(len(queries), query_block):
            anchors = tf.math.l2_normalize(tf.constant(queries[rows]), axis=1)  # (q, D)
            similarity = tf.matmul(anchors, block, transpose_b=True)  # (q, b)
            new_sims, new_indices = _block_top_k(similarity, k)  # (q, <=k)
            sims[rows], indices[rows] = _merge(
                sims[rows], indices[rows], new_sims.numpy(), new_indices.numpy() + columns.start
            )
    return sims, indices


def _block_top_k(similarity: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.math.top_k` of (q, b) along b, several times faster on a CPU where b is large.

    The k largest entries lie in the k groups with the largest maxima, so only those are searched.
    Groups are contiguous and searched in order: ties go to the lower index, as in `top_k`.
    """
    width = similarity.shape[1]
    k = min(k, width)
    if width <= 2 * k * _GROUP:
        return tf.math.top_k(similarity, k)
    padding = -width % _GROUP
    padded = tf.pad(similarity, [[0, 0], [0, padding]], constant_values=_BELOW_ANY_COSINE)
    grouped = tf.reshape(padded, (similarity.shape[0], -1, _GROUP))  # (q, b/16, 16)
    groups = tf.math.top_k(tf.reduce_max(grouped, axis=2), k).indices  # (q, k)
    groups = tf.sort(groups, axis=1)
    candidates = tf.gather(grouped, groups, batch_dims=1)  # (q, k, 16)
    columns = groups[:, :, None] * _GROUP + tf.range(_GROUP)  # (q, k, 16)
    values, where = tf.math.top_k(tf.reshape(candidates, (-1, k * _GROUP)), k)
    return values, tf.gather(tf.reshape(columns, (-1, k * _GROUP)), where, batch_dims=1)


def _merge(
    sims: np.ndarray, indices: np.ndarray, new_sims: np.ndarray, new_indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best of two sorted lists per row; the old one comes earlier in the bank and wins ties."""
    all_sims = np.concatenate([sims, new_sims], axis=1)
    all_indices = np.concatenate([indices, new_indices], axis=1)
    order = np.argsort(-all_sims, axis=1, kind="stable")[:, : sims.shape[1]]
    return (
        np.take_along_axis(all_sims, order, axis=1),
        np.take_along_axis(all_indices, order, axis=1),
    )


def _vote(sims: np.ndarray, labels: np.ndarray, temperature: float, num_classes: int) -> np.ndarray:
    """(q,) classes with the largest sum of weights; `sims` and `labels` are (q, k)."""
    # Relative to the nearest entry: the ranking stays and a small temperature cannot overflow.
    weights = np.exp((sims - sims[:, :1]).astype(np.float64) / temperature)  # (q, k)
    cells = np.arange(len(sims))[:, None] * num_classes + labels  # (q, k)
    votes = np.bincount(cells.ravel(), weights.ravel(), minlength=len(sims) * num_classes)
    return votes.reshape(len(sims), num_classes).argmax(axis=1)


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _checked_features(name: str, features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float32)
    require(features.ndim == 2 and len(features) > 0, name,
            "must have shape (N, D) with N at least 1", features.shape)  # fmt: skip
    for rows in _blocks(len(features), 4096):
        finite = np.isfinite(features[rows]).all(axis=1)
        if not finite.all():
            index = rows.start + int(np.argmin(finite))
            raise InputError(name, "must be finite", f"NaN or infinity at example {index}")
    return features


def _checked_labels(
    labels: np.ndarray, count: int, num_classes: int | None
) -> tuple[np.ndarray, int]:
    labels = np.asarray(labels)
    require(labels.shape == (count,), "bank_labels", f"must have shape ({count},), one per entry",
            labels.shape)  # fmt: skip
    require(np.issubdtype(labels.dtype, np.integer), "bank_labels", "must be integers",
            str(labels.dtype))  # fmt: skip
    lowest, highest = int(labels.min()), int(labels.max())
    classes = highest + 1 if num_classes is None else num_classes
    require(lowest >= 0 and highest < classes, "bank_labels", f"must lie in [0, {classes})",
            (lowest, highest))  # fmt: skip
    return labels.astype(np.int64), classes
