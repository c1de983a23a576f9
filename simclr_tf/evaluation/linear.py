"""Linear classifiers on fixed features, and the plain features that a data set is judged by."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from simclr_tf.errors import InputError, require

MAX_EXAMPLES = 100_000  # of the training; all test examples always count


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    **options: Any,
) -> float:
    """Top-1 accuracy in [0, 1] of `linear_probe_predictions`, which takes the same options.

    A class that the training part lacks can't be predicted.
    """
    test_x, test_y = _checked("test_features", test_features, test_labels)
    predictions = linear_probe_predictions(train_features, train_labels, test_x, **options)
    return float(np.mean(predictions == test_y))


def linear_probe_predictions(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    *,
    l2: float = 1e-3,
    max_iterations: int = 200,
    seed: int = 0,
) -> np.ndarray:
    """Classes of test features by multinomial logistic regression on frozen features.

    A quick probe, not the paper's protocol: one fixed L2 strength, features standardised with the
    training mean and variance, L-BFGS on the host. The objective is the mean cross-entropy plus
    `l2 / 2` times the squared weights, so a strength means the same for any number of examples.

    Args:
        train_features: (N, D) floats; meant for up to about 10^5 x 10^3.
        train_labels: (N,) integers; at least two classes.
        test_features: (M, D) floats.
        l2: Strength of the penalty, above 0.
        max_iterations: L-BFGS iterations at most; it stops earlier when converged.
        seed: Draws a subset of the training examples where there are more than `MAX_EXAMPLES`.

    Returns:
        (M,) int64.

    Raises:
        InputError: Shapes do not fit, values are not finite, or there are fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression  # Slow to import, needed only here.
    from sklearn.preprocessing import StandardScaler

    train_x, train_y = _checked("train_features", train_features, train_labels)
    test_x, _ = _checked("test_features", test_features, np.zeros(len(test_features), int))
    require(train_x.shape[1] == test_x.shape[1], "test_features",
            f"must have the training features' {train_x.shape[1]} dimensions",
            test_x.shape[1])  # fmt: skip
    require(l2 > 0, "l2", "must be > 0", l2)
    require(len(np.unique(train_y)) >= 2, "train_labels", "must hold at least two classes",
            np.unique(train_y).tolist())  # fmt: skip
    if len(train_x) > MAX_EXAMPLES:
        chosen = np.random.default_rng(seed).choice(len(train_x), MAX_EXAMPLES, replace=False)
        train_x, train_y = train_x[chosen], train_y[chosen]
    scaler = StandardScaler().fit(train_x)
    classifier = LogisticRegression(C=1 / (l2 * len(train_x)), max_iter=max_iterations)
    with warnings.catch_warnings():
        # Reaching max_iterations is a choice here: the accuracy has settled long before.
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        classifier.fit(scaler.transform(train_x), train_y)
    return classifier.predict(scaler.transform(test_x))


def raw_pixel_features(images: np.ndarray) -> np.ndarray:
    """Pixels as features: what a data set gives away without any representation.

    Args:
        images: (N, H, W, C), uint8, or floats in [0, 1].

    Returns:
        (N, H * W * C) float32 in [0, 1].
    """
    unit = _unit_range(images)
    return unit.reshape(len(unit), -1)


def color_histogram_features(images: np.ndarray, bins: int = 8) -> np.ndarray:
    """Joint colour histograms: what colour statistics alone give away.

    The shortcut of section 3.1 (Fig. 6): crops of one image share their colour distribution.

    Args:
        images: (N, H, W, C), uint8, or floats in [0, 1].
        bins: Equal bins per channel; the histogram is joint over the channels.

    Returns:
        (N, bins ** C) float32, shares of the pixels that sum to 1 per image.
    """
    require(bins >= 1, "bins", "must be at least 1", bins)
    unit = _unit_range(images)
    count, channels = len(unit), unit.shape[-1]
    levels = np.minimum((unit * bins).astype(np.int64), bins - 1)  # (N, H, W, C)
    cells = levels @ (bins ** np.arange(channels))  # (N, H, W)
    size = bins**channels
    cells = cells.reshape(count, -1) + np.arange(count)[:, None] * size
    histograms = np.bincount(cells.ravel(), minlength=count * size).reshape(count, size)
    return (histograms / cells.shape[1]).astype(np.float32)


def _unit_range(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    require(images.ndim == 4 and images.size > 0, "images", "must have shape (N, H, W, C)",
            images.shape)  # fmt: skip
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    require(np.issubdtype(images.dtype, np.floating), "images", "must be uint8 or floats",
            str(images.dtype))  # fmt: skip
    lowest, highest = float(images.min()), float(images.max())
    require(lowest >= 0 and highest <= 1, "images", "must lie in [0, 1] where they are floats",
            (lowest, highest))  # fmt: skip
    return images.astype(np.float32)


def _checked(name: str, rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = np.asarray(rows, np.float32), np.asarray(labels)
    require(rows.ndim == 2 and rows.size > 0, name, "must have shape (N, D)", rows.shape)
    require(labels.shape == (len(rows),), f"labels of {name}", f"must have shape ({len(rows)},)",
            labels.shape)  # fmt: skip
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(name, "must be finite", f"NaN or infinity at example {np.argmin(finite)}")
    return rows, labels.astype(np.int64)
