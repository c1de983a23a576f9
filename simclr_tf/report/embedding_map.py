"""Features on a plane, to be looked at."""

from __future__ import annotations

import numpy as np

from simclr_tf.errors import InputError, require

_PRINCIPAL_COMPONENTS = 50  # Of the features, before t-SNE: van der Maaten and Hinton's advice.
_PERPLEXITY = 30.0
_FEWEST_FOR_TSNE = 4
_FEWEST_ITERATIONS = 250  # the first ones are made with exaggerated forces


def embedding_map(
    features: np.ndarray, seed: int = 0, max_points: int = 5000, iterations: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """Places features on a plane so that similar ones lie close together (PCA, then t-SNE).

    What such a map can and cannot tell:

    - Points that lie together are near neighbours among the features. A class that forms a patch of
      its own is one that the encoder tells apart.
    - Distances between patches, their sizes and their density mean nothing, nor do the axes.
    - Another seed or another number of points gives another picture of the same features. Patches
      appear in pure noise too. A number (kNN or linear accuracy) decides, not the map.
    - Nothing can be added later: new features need a new map.

    5,000 points take under a minute on one core. Fewer than 4 points, or features that are
    all the same, have no neighbourhoods to keep: they are placed by their principal components.

    Args:
        features: (N, D) finite floats, compared by their Euclidean distance; scale the rows to
            length 1 for a map by angle.
        seed: Of the choice of points and of t-SNE.
        max_points: Of more features than this, a random subset is drawn.
        iterations: Of t-SNE, at least 250; a few hundred points need no more than half of the
            usual 1,000.

    Returns:
        (n, 2) float32 coordinates and (n,) int64 ascending indices into the features, with
        n = min(N, max_points).

    Raises:
        InputError: Shapes do not fit or a feature is not finite (with the example's index).
    """
    features = np.asarray(features)
    fewest = _FEWEST_ITERATIONS
    require(iterations >= fewest, "iterations", f"must be at least {fewest}", iterations)
    require(features.ndim == 2 and features.size > 0, "features", "must have shape (N, D)",
            features.shape)  # fmt: skip
    indices = choose_examples(len(features), max_points, seed)
    rows = features[indices].astype(np.float32)  # (n, D)
    finite = np.isfinite(rows).all(axis=1)  # (n,)
    if not finite.all():
        index = int(indices[np.argmin(finite)])
        raise InputError("features", "must be finite", f"NaN or infinity at example {index}")
    return _place(_principal_components(rows, seed), seed, iterations), indices


def choose_examples(count: int, at_most: int, seed: int = 0) -> np.ndarray:
    """Indices of a random subset in ascending order; all of them where there are no more.

    Args:
        count: Examples there are.
        at_most: Size of the subset, at least 1.
        seed: Of the choice. The same arguments choose the same examples, here and in `projector`.

    Returns:
        (min(count, at_most),) int64.
    """
    require(at_most >= 1, "max_points", "must be at least 1", at_most)
    if count <= at_most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, at_most, replace=False))


def _principal_components(rows: np.ndarray, seed: int) -> np.ndarray:
    """(n, at least 2) float32, centred."""
    from sklearn.decomposition import PCA  # Slow to import, needed only here.

    if np.all(rows == rows[0]):
        return np.zeros((len(rows), 2), np.float32)  # PCA would divide by the variance.
    components = min(_PRINCIPAL_COMPONENTS, *rows.shape)
    found = PCA(components, random_state=seed).fit_transform(rows)
    return np.pad(found, [(0, 0), (0, max(0, 2 - components))]).astype(np.float32)


def _place(components: np.ndarray, seed: int, iterations: int) -> np.ndarray:
    """(n, 2) float32."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    count = len(components)
    if count < _FEWEST_FOR_TSNE or not components.any():
        return components[:, :2].copy()
    # The perplexity is about the number of neighbours that a point keeps; there must be as many.
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=iterations)
    # Its threads wait for each other hundreds of times a second: beside another process on the same
    # cores, two are ten times slower than one. One also gives the same map on every machine.
    with threadpool_limits(1):
        return tsne.fit_transform(components).astype(np.float32)
