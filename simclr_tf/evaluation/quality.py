"""What features tell without labels: whether they spread, and whether views of an image agree.

Which of the figures go with accuracy, and how far, was measured: docs/unlabelled.md.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from simclr_tf.errors import require

_DEAD = 1e-5  # of the largest standard deviation of a dimension
_BLOCK = 1024  # rows of a matrix of similarities at a time
AMONG = 256  # images that a view is looked for among


class Quality(NamedTuple):
    """Figures of the features of N images, D dimensions, and of views of them.

    None of them proves that features are useful: they tell collapse, and views that disagree.

    Example:
        >>> run = simclr_tf.open_run("runs/cells")  # doctest: +SKIP
        >>> run.quality.trained.retrieval > run.quality.untrained.retrieval  # doctest: +SKIP
        True

    Attributes:
        effective_rank: exp of the entropy of the singular values (RankMe, arXiv 2210.02885), 1 to
            min(N, D).
        rank_share: The same as a share of D.
        spread: Mean standard deviation of the dimensions of normalised features times sqrt(D); 1
            where they fill the sphere, 0 where all are one point.
        uniformity: log of the mean of exp(-2 d^2) over pairs of images, d the distance of their
            normalised features (Wang and Isola, arXiv 2005.10242); low is spread out, 0 is one
            point.
        mean_cosine: Mean cosine between features of different images.
        dead_share: Share of the dimensions that hardly change from image to image.
        alignment: Mean squared distance of the normalised features of two views of an image, 0 to
            4; low where views agree.
        retrieval: Share of the images whose first view is nearest to their own second view, among
            the second views of `AMONG` images (or of all, where they are fewer).
        crop_retrieval: The same for views that are crops and no more: what colours alone give away
            is found here and not in `retrieval`.
        num_images: M, the images whose views were compared.
    """

    effective_rank: float
    rank_share: float
    spread: float
    uniformity: float
    mean_cosine: float
    dead_share: float
    alignment: float
    retrieval: float
    crop_retrieval: float
    num_images: int


Pair: TypeAlias = tuple[np.ndarray, np.ndarray]  # (M, D) of the first and second views of M images


def quality(features: np.ndarray, views: Pair, crops: Pair) -> Quality:
    """The figures of an encoder.

    Args:
        features: (N, D) of N images, at least 2.
        views: Of two views of M images, cropped and distorted in colour.
        crops: Of two views of M images, cropped alone.

    Raises:
        InputError: Fewer than two images, or arrays that don't fit.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(500, 16))
        >>> found = quality(x, (x, x), (x, x))
        >>> 0.9 < found.spread < 1.1 and found.retrieval == 1
        True
    """
    require(features.ndim == 2 and len(features) > 1, "features", "must be (N, D), N at least 2",
            features.shape)  # fmt: skip
    for name, (first, second) in {"views": views, "crops": crops}.items():
        require(first.shape == second.shape and first.shape[1:] == features.shape[1:], name,
                "must be two arrays (M, D) of one shape", (first.shape, second.shape))  # fmt: skip
    dimensions = features.shape[1]
    unit = _normalized(features)
    deviations = features.astype(np.float64).std(axis=0)
    rank = _effective_rank(features)
    cosine, uniformity = _pairs(unit)
    one, other = map(_normalized, views)
    return Quality(
        effective_rank=rank,
        rank_share=rank / dimensions,
        spread=float(unit.std(axis=0).mean() * np.sqrt(dimensions)),
        uniformity=uniformity,
        mean_cosine=cosine,
        dead_share=float(np.mean(deviations <= _DEAD * max(deviations.max(), 1e-30))),
        alignment=float(((one - other) ** 2).sum(axis=1).mean()),
        retrieval=_retrieval(one, other),
        crop_retrieval=_retrieval(*map(_normalized, crops)),
        num_images=len(one),
    )


def _normalized(features: np.ndarray) -> np.ndarray:
    """float64 rows of length 1; zeros stay."""
    values = features.astype(np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _effective_rank(features: np.ndarray) -> float:
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    shares = values / max(values.sum(), 1e-30)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _pairs(unit: np.ndarray) -> tuple[float, float]:
    """Mean cosine and uniformity over all pairs of different rows."""
    count = len(unit)
    cosines, kernels = 0.0, 0.0
    for start in range(0, count, _BLOCK):
        similar = unit[start : start + _BLOCK] @ unit.T
        own = similar[np.arange(len(similar)), start + np.arange(len(similar))]
        cosines += similar.sum() - own.sum()
        kernel = np.exp(-4 * (1 - similar))  # squared distance: 2 - 2 cos
        kernels += kernel.sum() - np.exp(-4 * (1 - own)).sum()
    pairs = count * (count - 1)
    return float(cosines / pairs), float(np.log(max(kernels / pairs, 1e-300)))


def _retrieval(first: np.ndarray, second: np.ndarray) -> float:
    """Ties count for nobody: features that are all equal find nothing."""
    size = min(AMONG, len(first))
    whole = len(first) // size * size
    shares = []
    for start in range(0, whole, size):
        similar = first[start : start + size] @ second[start : start + size].T
        own = np.diagonal(similar).copy()
        np.fill_diagonal(similar, -np.inf)
        shares.append(float(np.mean(own > similar.max(axis=1) + 1e-12)))
    return float(np.mean(shares))
