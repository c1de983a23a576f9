"""Seconds of the path of logistic regressions: `python -m benchmarks.logistic`.

Features stand in for those of an encoder: a low-dimensional signal of the class and much that has
nothing to do with it, mixed into correlated dimensions, cut off at zero, of unequal size. One
in ten labels is drawn at random, so that no strength separates the classes.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks import command
from simclr_tf.evaluation import logistic

NOISY_LABELS = 0.1


def synthetic_features(
    count: int, dims: int, classes: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) that are non-negative and correlated, and labels (N,) to learn from them."""
    world, rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    factors = max(8, dims // 4)
    centers = world.normal(size=(classes, factors)) * (np.arange(factors) < 24)
    strength = world.uniform(0.3, 1, factors) * np.arange(1, factors + 1) ** -0.3
    mixing = world.normal(size=(factors, dims)) * world.lognormal(0, 0.5, dims) / factors**0.5
    labels = rng.integers(0, classes, count)
    latent = (0.5 * centers[labels] + rng.normal(size=(count, factors))) * strength
    features = latent.astype(np.float32) @ mixing.astype(np.float32)
    features += 0.05 * rng.normal(size=features.shape).astype(np.float32)
    noisy = rng.random(count) < NOISY_LABELS
    labels[noisy] = rng.integers(0, classes, int(noisy.sum()))
    return np.maximum(features + 0.2, 0), labels


def main() -> None:
    """Prints one line per value, then the sums."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=command.count, default=50_000, help="training examples")
    parser.add_argument("--dims", type=command.count, default=512)
    parser.add_argument("--classes", type=command.count, default=10)
    parser.add_argument(
        "--values", type=command.count, default=45, help="strengths from 1e5 to 1e-6"
    )
    parser.add_argument("--standardize", action="store_true")
    words = parser.parse_args()
    held_out = max(words.classes, words.rows // 5)
    features, labels = synthetic_features(words.rows + held_out, words.dims, words.classes)
    print("| value | validation | iterations | passes | converged | seconds |")
    print("|---|---|---|---|---|---|")
    last = start = time.perf_counter()
    busy = time.process_time()
    passes = 0

    def on_value(point: logistic.PathPoint) -> None:
        nonlocal last, passes
        now = time.perf_counter()
        passes += point.solution.evaluations
        print(f"| {point.value:.1e} | {point.score:.4f} | {point.solution.iterations} | "
              f"{point.solution.evaluations} | {point.solution.converged} | {now - last:.1f} |",
              flush=True)  # fmt: skip
        last = now

    path = logistic.logistic_path(
        logistic.Examples(features[: words.rows], labels[: words.rows]),
        logistic.Examples(features[words.rows :], labels[words.rows :]),
        words.classes,
        logistic.Choice(np.logspace(-6, 5, words.values)),
        logistic.FitSettings(standardize=words.standardize),
        on_value,
    )
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(f"{words.values} values, {words.rows:,} x {words.dims} x {words.classes}: "
          f"{seconds:.1f} s, {busy:.1f} s of processor time, {path.iterations.sum()} iterations, "
          f"{passes} passes, {path.converged.sum()} converged; chosen {path.chosen:.1e}, "
          f"accuracy {path.scores.max():.4f}")  # fmt: skip


if __name__ == "__main__":
    command.end(main)
