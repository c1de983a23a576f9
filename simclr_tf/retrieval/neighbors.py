"""Nearest images and near-duplicates among embeddings, by cosine similarity."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy import special

from simclr_tf.errors import InputError, require
from simclr_tf.evaluation import knn
from simclr_tf.evaluation.rows import full_float32, unit_rows
from simclr_tf.settings.commands import CENTRED, COSINE

FEWEST_CENTRED = 50
EXPECTED_PAIRS = 0.1
_USUAL_LIMIT = 0.95
_SAMPLE, _TAIL = 2000, 0.9  # vectors; a quantile that a few near-duplicates don't move
_HIGHEST = 0.9999
_BELOW_ONE = 1 - 1e-6
ROUNDING = 1e-6  # Of the similarity of equal vectors in float32.
_PAIRS_IN_MEMORY = 2**20
_ROWS_AT_ONCE = 16_384


class DuplicateGroup(NamedTuple):
    """Images that near-duplicates connect: a chain, whose ends may be unlike each other.

    Attributes:
        indices: (M,) int64, ascending, M at least 2.
        similarities: (M,) float32 in [-1, 1], of each image to the nearest other of the group; at
            least the limit, up to rounding.
    """

    indices: np.ndarray
    similarities: np.ndarray


class Space(NamedTuple):
    """How images are compared.

    Attributes:
        similarity: As in `settings.commands.Neighbors`.
        origin: (D,) float32, from which vectors are seen: the mean of all, or zero.
        limit: Similarity from which images are near-duplicates.
        expected: Pairs of different images that are expected from there on; None where the limit
            was not chosen by that.
    """

    similarity: str
    origin: np.ndarray
    limit: float
    expected: float | None


def choose_space(vectors: np.ndarray, similarity: str, limit: float | None) -> Space:
    """The space in which the vectors of a file are compared, and the limit of near-duplicates.

    Vectors of one encoder share most of their direction, so that any two have a large cosine. Seen
    from their mean, unlike images have one around 0.

    Without a limit it follows from the similarities of the pairs themselves, nearly all of which
    are of different images: Fisher's z, atanh of a similarity, is taken as normal from its median
    and its 90 % quantile on, and the limit is where `EXPECTED_PAIRS` of all pairs are left.

    Args:
        vectors: (N, D).
        similarity: `cosine` or `centred`; with fewer than `FEWEST_CENTRED` vectors, whose mean each
            of them moves, or equal ones, it is `cosine`, and the limit 0.95 unless it is given.
        limit: See `near_duplicates`; None chooses one.

    Raises:
        InputError: A value is not finite.
    """
    count, dimension = vectors.shape
    sample = np.sort(np.random.default_rng(0).permutation(count)[:_SAMPLE])
    rows = _finite(np.asarray(vectors[sample], np.float32), 0)
    differ = np.ptp(rows, axis=0).max(initial=0) > ROUNDING * np.abs(rows).max(initial=0)
    origin = np.zeros(dimension, np.float32)
    if count < FEWEST_CENTRED or not differ:
        return Space(COSINE, origin, _USUAL_LIMIT if limit is None else limit, None)
    if similarity == CENTRED:
        origin = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    if limit is not None:
        return Space(similarity, origin, limit, None)
    unit = np.asarray(unit_rows(rows - origin))
    pairs = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    middle, high = np.arctanh(np.clip(np.quantile(pairs, (0.5, _TAIL)), -_BELOW_ONE, _BELOW_ONE))
    all_pairs = count * (count - 1) / 2
    steps = special.ndtri(1 - EXPECTED_PAIRS / all_pairs) / special.ndtri(_TAIL)
    chosen = math.tanh(middle + (high - middle) * steps)
    return Space(similarity, origin, float(np.clip(chosen, 0.01, _HIGHEST)), EXPECTED_PAIRS)


def nearest(vectors: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar vectors, the most similar first; equal ones in the order of `vectors`.

    Args:
        vectors: (N, D), any scale; one of zeros has similarity 0 to all.
        query: (D,) or (Q, D).
        k: Above N it means N.

    Returns:
        Cosine similarities, float32, and indices, int64; (k,) for one query, else (Q, k).

    Raises:
        InputError: Shapes don't fit, or a value is not finite.
    """
    queries = np.atleast_2d(query)  # (Q, D)
    similarities, indices = knn.nearest_neighbors(vectors, queries, k)
    if np.ndim(query) == 1:
        return similarities[0], indices[0]
    return similarities, indices


def similarities_to(
    vectors: np.ndarray,
    query: np.ndarray,
    indices: np.ndarray | None = None,
    origin: np.ndarray | None = None,
) -> np.ndarray:
    """Cosine similarity of vectors to one.

    Args:
        vectors: (N, D), any scale; one of zeros has similarity 0 to all.
        query: (D,).
        indices: (M,) rows of `vectors`; None takes all, M = N.
        origin: (D,) from which all are seen, see `choose_space`; None is zero.

    Returns:
        (M,) float32 in [-1, 1].
    """
    shift = np.float32(0) if origin is None else origin
    anchor = unit_rows(query[None] - shift)[0]  # (D,)
    count = len(vectors) if indices is None else len(indices)
    parts = []
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        block = vectors[rows] if indices is None else vectors[indices[rows]]  # (b, D)
        with full_float32():
            parts.append(tf.linalg.matvec(unit_rows(block - shift), anchor).numpy())
    return np.clip(np.concatenate(parts), -1, 1)


def near_duplicates(
    vectors: np.ndarray,
    similarity: float = _USUAL_LIMIT,
    block: int = 1024,
    origin: np.ndarray | None = None,
) -> list[DuplicateGroup]:
    """Groups of vectors that pairs of at least the given similarity connect.

    A group is a connected chain of such pairs: two of its members may be less similar. All pairs of
    vectors are compared, block by block: beside the vectors, memory holds O(N + block^2) numbers,
    however many pairs there are.

    Args:
        vectors: (N, D), any scale; one of zeros has similarity 0 to all.
        similarity: In (0, 1]. 1 still finds equal vectors, whose similarity is 1 up to rounding.
        block: Vectors compared at once with as many others.
        origin: (D,) from which the vectors are seen, see `choose_space`; None is zero.

    Returns:
        The largest group first; of equally large ones the more similar one, then the one that
        begins first.

    Raises:
        InputError: A value is not finite, or a setting is out of range.
    """
    vectors = np.asarray(vectors, np.float32)
    require(vectors.ndim == 2, "vectors", "must have shape (N, D)", vectors.shape)
    require(0 < similarity <= 1, "similarity", "must lie in (0, 1]", similarity)
    require(block >= 1, "block", "must be at least 1", block)
    shift = np.float32(0) if origin is None else origin
    components = _Components(len(vectors))
    best = np.full(len(vectors), -1, np.float32)  # (N,) similarity to the nearest other
    for start in range(0, len(vectors), block):
        anchors = unit_rows(_finite(vectors[start : start + block], start) - shift)  # (b, D)
        for other in range(start, len(vectors), block):
            others = unit_rows(vectors[other : other + block] - shift)  # (b, D)
            pairs, of_anchors, of_others = _compare(anchors, others, similarity - ROUNDING,
                                                    same=start == other)  # fmt: skip
            components.connect(pairs[:, 0] + start, pairs[:, 1] + other)
            for first, values in ((start, of_anchors), (other, of_others)):
                rows = slice(first, first + len(values))
                best[rows] = np.maximum(best[rows], values)
    # The nearest of a vector that has a near-duplicate is one, and so of the same group.
    groups = [DuplicateGroup(indices, np.clip(best[indices], -1, 1))
              for indices in components.groups()]  # fmt: skip
    return sorted(groups, key=_order)


def _order(group: DuplicateGroup) -> tuple[int, float, int]:
    mean = float(group.similarities.mean(dtype=np.float64))
    return -len(group.indices), -round(mean, 6), int(group.indices[0])


def _finite(vectors: np.ndarray, first_index: int) -> np.ndarray:
    finite = np.isfinite(vectors).all(axis=1)  # (b,)
    if not finite.all():
        index = first_index + int(np.argmin(finite))
        raise InputError("vectors", "must be finite", f"NaN or infinity at example {index}")
    return vectors


@tf.function(
    input_signature=[
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((), tf.float32),
        tf.TensorSpec((), tf.bool),
    ],
    autograph=False,
)
def _pairs_and_best(
    anchors: tf.Tensor, others: tf.Tensor, limit: tf.Tensor, same: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    products = tf.matmul(anchors, others, transpose_b=True)  # (b, c)
    itself = tf.fill([tf.shape(anchors)[0]], -2.0)  # below every similarity
    products = tf.cond(same, lambda: tf.linalg.set_diag(products, itself), lambda: products)
    best_of_anchors, best_of_others = (tf.reduce_max(products, axis) for axis in (1, 0))
    return tf.where(products >= limit), best_of_anchors, best_of_others


def _compare(
    anchors: tf.Tensor, others: tf.Tensor, limit: float, same: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compares each of b vectors with each of c, except with itself where both are the `same`.

    Returns:
        Rows of both that are at least so similar, (P, 2) int64; the largest similarity of each
        anchor, (b,), and of each other, (c,), float32.
    """
    with full_float32():
        found = _pairs_and_best(anchors, others, tf.constant(limit, tf.float32), tf.constant(same))
    pairs, best_of_anchors, best_of_others = (tensor.numpy() for tensor in found)
    return pairs, best_of_anchors, best_of_others


class _Components:
    """Connected components of a graph whose edges arrive in portions.

    Edges are kept until there are many, then replaced by what they say about N nodes.
    """

    def __init__(self, count: int):
        self._component = np.arange(count)  # (N,)
        self._edges: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_edges = 0

    def connect(self, left: np.ndarray, right: np.ndarray) -> None:
        """Adds edges, (P,) nodes each."""
        if len(left):
            self._edges.append((left, right))
            self._num_edges += len(left)
            if self._num_edges > _PAIRS_IN_MEMORY:
                self._merge()

    def groups(self) -> list[np.ndarray]:
        """Nodes of each component of at least two, ascending."""
        self._merge()
        order = np.argsort(self._component, kind="stable")
        sizes = np.bincount(self._component)
        parts = np.split(order, np.cumsum(sizes)[:-1])
        return [part for part in parts if len(part) > 1]

    def _merge(self) -> None:
        if not self._edges:
            return
        from scipy import sparse  # Only where there are duplicates.

        left, right = (
            self._component[np.concatenate(ends)] for ends in zip(*self._edges, strict=True)
        )
        count = len(self._component)
        edges = sparse.coo_matrix((np.ones(len(left), bool), (left, right)), shape=(count, count))
        _, merged = sparse.csgraph.connected_components(edges, directed=False)
        self._component = merged[self._component]
        self._edges, self._num_edges = [], 0
