"""k-nearest-neighbour classification on frozen features, weighted and plain.

The protocol of Wu et al. 2018 (arXiv 1805.01978, section 3.4), which later work reports for k = 20
and 200: the k training images with the largest cosine similarity vote for their class, with weight
exp(similarity / temperature), temperature 0.07, or with one vote each ("plain").

The search compares a block of queries with a block of the bank in one matrix product and keeps the
entries that beat a query's k-th best so far. An entry is one 64-bit key, its similarity above its
place in the bank, so that a partition of integers finds the best and breaks ties by place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from simclr_tf.errors import require
from simclr_tf.evaluation.rows import (
    Rows,
    check_rows,
    full_float32,
    require_rows,
    row_blocks,
    rows_within,
    unit_rows,
)

Weighting = Literal["weighted", "plain"]

_QUERY_BYTES = 512 * 2**20  # Normalised queries kept at once; each such part reads the bank again.
_BELOW_ANY_COSINE = -2.0
_SIGN = np.int32(-(2**31))
_VOTE_ROWS = 4096  # Queries whose votes are counted at once.


def knn_predictions(
    bank: Rows,
    bank_labels: np.ndarray,
    queries: Rows,
    ks: Sequence[int] = (20, 200),
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> dict[int, np.ndarray]:
    """Classes that the weighted kNN classifier predicts, for several k at once.

    Deterministic: `nearest_neighbors` says which of equally similar entries is nearer, `vote` which
    of classes with equal votes wins. For plain votes, call those two.

    Args:
        bank: (M, D) features of labeled images; any scale.
        bank_labels: (M,) integers in [0, num_classes). A class without an example is never
            predicted.
        queries: (Q, D) features to classify.
        ks: Numbers of neighbours. A k above M means all M entries: the answer stays under the k
            asked for.
        temperature: Above 0; small values trust the nearest entries most.
        num_classes: None takes the largest label of the bank plus 1.

    Returns:
        (Q,) int64 for each requested k.

    Raises:
        InputError: Shapes do not fit, a label is out of range, or a value is not finite.
    """
    require(len(ks) > 0 and min(ks) >= 1, "ks", "must be numbers of at least 1", list(ks))
    _check_voting("weighted", temperature)
    bank, queries = require_rows("bank", bank), require_rows("queries", queries)
    labels, num_classes = _checked_labels(bank_labels, len(bank), num_classes)
    sims, indices = nearest_neighbors(bank, queries, max(ks))  # (Q, <=k) both
    return {
        k: vote(sims[:, :k], labels[indices[:, :k]], num_classes, "weighted", temperature)
        for k in ks
    }


def nearest_neighbors(
    bank: Rows,
    queries: Rows,
    k: int,
    *,
    query_block: int = 1024,
    bank_block: int = 4096,
    on_block: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The entries of a bank with the largest cosine similarity to each query.

    Exact up to the rounding of float32 products. Of equally similar entries the one that comes
    first in the bank is nearer. A feature vector of zeros has similarity 0 to all.

    Features may be in memory or mapped from files of any size (`simclr_tf/evaluation/rows.py`); the
    bank is read once per 512 MiB of queries, after one pass that checks it. Beside the features,
    memory is at most twice those queries, 24 bytes for each of the Q * k neighbours, and per block
    about 20 * query_block * bank_block + 8 * bank_block * D bytes.

    Args:
        bank: (M, D) features; any scale, they are L2-normalised here.
        queries: (Q, D) features.
        k: Neighbours per query; above M means all M.
        query_block: Queries handled at once.
        bank_block: Bank entries handled at once.
        on_block: Called after each block of the bank with the number of comparisons done and
            their sum, Q * M.

    Returns:
        Similarities (float32, in [-1, 1] up to rounding) and rows of the bank (int64), nearest
        first, both (Q, min(k, M)).

    Raises:
        InputError: Shapes do not fit, or a value is not finite; the error gives the row.
    """
    require(k >= 1, "k", "must be at least 1", k)
    require(min(query_block, bank_block) >= 1, "query_block, bank_block", "must be at least 1",
            (query_block, bank_block))  # fmt: skip
    bank, queries = check_rows("bank", bank), check_rows("queries", queries)
    require(bank.shape[1] == queries.shape[1], "queries",
            f"must have the bank's {bank.shape[1]} dimensions", queries.shape[1])  # fmt: skip
    k = min(k, len(bank))
    sims = np.empty((len(queries), k), np.float32)
    indices = np.empty((len(queries), k), np.int64)

    def on_entries(part: slice, entries: int) -> None:
        if on_block is not None:
            done = part.start * len(bank) + (part.stop - part.start) * entries
            on_block(done, len(queries) * len(bank))

    with full_float32():
        for part, block in row_blocks(queries, rows_within(queries, _QUERY_BYTES)):
            anchors = [unit_rows(block[rows]) for rows in _blocks(len(block), query_block)]
            found = _search(bank, anchors, k, bank_block, functools.partial(on_entries, part))
            for keys, rows in zip(found, _blocks(len(block), query_block), strict=True):
                where = slice(part.start + rows.start, part.start + rows.stop)
                sims[where], indices[where] = _unpack(np.sort(keys, axis=1))
    return sims, indices


def vote(
    similarities: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    weighting: Weighting = "weighted",
    temperature: float = 0.07,
) -> np.ndarray:
    """The class that each query's neighbours elect.

    Args:
        similarities: (Q, k) from `nearest_neighbors`, nearest first.
        labels: (Q, k) integers in [0, num_classes), the neighbours' classes.
        num_classes: Number of classes.
        weighting: "weighted" sums exp(similarity / temperature) per class; of equal sums the
            lowest class wins. "plain" counts neighbours; equal counts are common there, and of
            those classes the one whose nearest member is nearest wins.
        temperature: Above 0; of no effect where votes are plain.

    Returns:
        (Q,) int64.

    Raises:
        InputError: A setting is out of range, or the shapes differ.
    """
    _check_voting(weighting, temperature)
    require(similarities.ndim == 2 and similarities.shape == labels.shape, "labels",
            f"must have the similarities' shape {similarities.shape}", labels.shape)  # fmt: skip
    elect = _elect_plain if weighting == "plain" else _elect_weighted
    winners = np.empty(len(labels), np.int64)
    for rows in _blocks(len(labels), _VOTE_ROWS):
        winners[rows] = elect(similarities[rows], labels[rows], num_classes, temperature)
    return winners


def _search(
    bank: Rows,
    anchors: list[tf.Tensor],
    k: int,
    bank_block: int,
    on_entries: Callable[[int], None],
) -> list[np.ndarray]:
    """Keys (q, k) of the nearest entries for each block of unit queries, in no order."""
    nobody = _pack(np.array([_BELOW_ANY_COSINE]), np.array([2**32 - 1]))
    best = [np.tile(nobody, (len(block), k)) for block in anchors]
    for where, rows in row_blocks(bank, bank_block):
        entries = unit_rows(rows)  # (b, D)
        for place, block in enumerate(anchors):
            best[place] = _improve(best[place], block, entries, where.start)
        on_entries(where.stop)
    return best


def _improve(best: np.ndarray, anchors: tf.Tensor, entries: tf.Tensor, first: int) -> np.ndarray:
    """The best k keys (q, k) of those so far and the block of entries that starts at `first`."""
    k = best.shape[1]
    if first == 0:
        # Nothing to beat yet: every entry is a candidate.
        similarity = tf.matmul(anchors, entries, transpose_b=True).numpy()  # (q, b)
        new = _pack(similarity, np.arange(similarity.shape[1]))  # (q, b)
    else:
        worst, _ = _unpack(best.max(axis=1))  # (q,)
        hits, values = _above(anchors, entries, worst)  # (n, 2) ordered by query, (n,)
        if len(hits) == 0:
            return best
        new = _in_rows(hits[:, 0], _pack(values, hits[:, 1] + first), best)  # (q, most of a query)
    candidates = np.concatenate([best, new], axis=1)
    return np.ascontiguousarray(np.partition(candidates, k - 1, axis=1)[:, :k])


def _above(
    anchors: tf.Tensor, entries: tf.Tensor, worst: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # Equal is not enough: the entries so far come earlier in the bank.
    hits, values = _hits(anchors, entries, tf.constant(worst))
    return hits.numpy(), values.numpy()


@tf.function(
    input_signature=[
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    ]
)
def _hits(anchors: tf.Tensor, entries: tf.Tensor, worst: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where similarities exceed a query's `worst`, on the device that multiplies."""
    similarity = tf.matmul(anchors, entries, transpose_b=True)  # (q, b)
    hits = tf.where(similarity > worst[:, None])  # (n, 2)
    return hits, tf.gather_nd(similarity, hits)


def _in_rows(rows: np.ndarray, keys: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Keys (n,) with ascending row numbers as a matrix, filled up with a key that never wins."""
    counts = np.bincount(rows, minlength=len(like))  # (q,)
    starts = np.cumsum(counts) - counts
    table = np.full((len(like), counts.max()), np.iinfo(np.int64).max)
    table[rows, np.arange(len(rows)) - starts[rows]] = keys
    return table


def _pack(similarity: np.ndarray, index: np.ndarray) -> np.ndarray:
    """int64 keys that sort by falling similarity, then by rising index (below 2 ** 32).

    As integers, the bits of positive floats rise and those of negative ones fall, below them. So
    all bits of a positive one are inverted, of a negative one the sign alone.
    """
    bits = (np.asarray(similarity, np.float32) + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    keys = (bits ^ (~(bits >> 31) | _SIGN)).astype(np.int64)
    keys <<= 32
    keys |= index
    return keys


def _unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (float32) and indices (int64) of keys."""
    falling = (keys >> 32).astype(np.int32)
    bits = falling ^ ((falling >> 31) | _SIGN)
    return bits.view(np.float32), keys & 0xFFFFFFFF


def _elect_weighted(
    sims: np.ndarray, labels: np.ndarray, num_classes: int, temperature: float
) -> np.ndarray:
    # Relative to the nearest entry: the ranking stays and a small temperature cannot overflow.
    weights = np.exp((sims - sims[:, :1]).astype(np.float64) / temperature)  # (q, k)
    return _ballot(labels, weights, num_classes).argmax(axis=1)


def _elect_plain(
    sims: np.ndarray, labels: np.ndarray, num_classes: int, temperature: float
) -> np.ndarray:
    counts = _ballot(labels, np.ones(labels.shape), num_classes)  # (q, C)
    own = np.take_along_axis(counts, labels, axis=1)  # (q, k): votes of the neighbour's class
    nearest = (own == counts.max(axis=1, keepdims=True)).argmax(axis=1)  # (q,)
    return labels[np.arange(len(labels)), nearest]


def _ballot(labels: np.ndarray, weights: np.ndarray, num_classes: int) -> np.ndarray:
    """(q, C) sums of weights; `labels` and `weights` are (q, k)."""
    cells = np.arange(len(labels))[:, None] * num_classes + labels  # (q, k)
    votes = np.bincount(cells.ravel(), weights.ravel(), minlength=len(labels) * num_classes)
    return votes.reshape(len(labels), num_classes)


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _check_voting(weighting: Any, temperature: float) -> None:
    require(weighting in ("weighted", "plain"), "weighting", "must be 'weighted' or 'plain'",
            weighting)  # fmt: skip
    require(0 < temperature < np.inf, "temperature", "must be > 0", temperature)


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
