"""kNN and logistic regression on a file of features larger than memory should hold.

`python -m benchmarks.large_features --folder FOLDER` writes random features of the size of
ImageNet's (1,281,167 x 2048 float32, 10.5 GB) to a temporary folder in FOLDER, searches the
neighbours of some queries in all of it, fits one logistic regression for some iterations, and
removes the file. It prints seconds, what the whole would take, and the peak memory of the process:
in all, and apart for what it allocated and for mapped pages of files.
"""

from __future__ import annotations

import os
import tempfile
import time

import numpy as np

from benchmarks import command
from benchmarks.memory import Peaks, status
from simclr_tf.evaluation import knn, logistic
from simclr_tf.evaluation.logistic_problem import FitSettings, Problem
from simclr_tf.evaluation.rows import check_rows, full_float32

GIB = 2**30
BLOCK = 16_384
ALL_QUERIES = 50_000
ALL_ITERATIONS = 100


def write(path: str, rows: int, dims: int, classes: int) -> np.ndarray:
    """Writes non-negative features that lean towards a center of their class; returns labels."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((classes, dims), np.float32)
    labels = rng.integers(0, classes, rows)
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dims)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, BLOCK):
            part = labels[start : start + BLOCK]
            noise = rng.standard_normal((len(part), dims), np.float32)
            file.write(np.maximum(0.2 * centers[part] + noise, 0).tobytes())
    return labels


def search(file: np.ndarray, labels: np.ndarray, queries: int, classes: int) -> str:
    """Neighbours of the file's first rows, disturbed, in the whole file."""
    noise = np.random.default_rng(1).standard_normal((queries, file.shape[1]), np.float32)
    disturbed = np.maximum(file[:queries] + 0.3 * noise, 0)
    start = time.perf_counter()
    with Peaks() as peaks:
        sims, indices = knn.nearest_neighbors(file, disturbed, 200)
    seconds = time.perf_counter() - start
    own = float(np.mean(indices[:, 0] == np.arange(queries)))
    votes = knn.vote(sims[:, :20], labels[indices[:, :20]], classes)
    reading = time.perf_counter()
    check_rows("bank", file)
    reading = time.perf_counter() - reading  # what does not grow with the queries, at least
    whole = 2 * reading + (seconds - 2 * reading) * ALL_QUERIES / queries
    return (f"| kNN, {queries} queries, k = 200 | {seconds:.0f} | {ALL_QUERIES:,} queries: "
            f"{max(whole, seconds) / 60:.0f} min | {peaks.anonymous / GIB:.2f} | "
            f"{peaks.file / GIB:.2f} |\n"
            f"  own row found first: {own:.4f}; accuracy at k = 20: "
            f"{np.mean(votes == labels[:queries]):.4f}")  # fmt: skip


def fit(file: np.ndarray, labels: np.ndarray, classes: int, iterations: int) -> str:
    """A few iterations, each of which reads the file."""
    settings = FitSettings(max_iterations=iterations, resident_bytes=0)
    start = time.perf_counter()
    with Peaks() as peaks, full_float32():
        problem = Problem(file, labels, classes, settings, "training")
        ready = time.perf_counter()
        solution = problem.solve(1.0, None)
    end = time.perf_counter()
    per_pass = (end - ready) / solution.evaluations
    whole = ready - start + per_pass * (2 + 1.1 * ALL_ITERATIONS)
    logits = logistic.decision(solution.model, file[:BLOCK])
    return (f"| L-BFGS, {solution.iterations} iterations, {solution.evaluations} passes | "
            f"{end - start:.0f} | {ALL_ITERATIONS} iterations: {whole / 60:.0f} min | "
            f"{peaks.anonymous / GIB:.2f} | {peaks.file / GIB:.2f} |\n"
            f"  mean and covariance {ready - start:.0f} s, {per_pass:.1f} s per pass; training "
            f"accuracy {logistic.accuracy(logits, labels[:BLOCK]):.4f}")  # fmt: skip


def main() -> None:
    """Prints one line per protocol, then the peak."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="where the file may stand for a while")
    parser.add_argument("--rows", type=command.count, default=1_281_167)
    parser.add_argument("--dims", type=command.count, default=2048)
    parser.add_argument("--classes", type=command.count, default=1000)
    parser.add_argument("--queries", type=command.count, default=512)
    parser.add_argument("--iterations", type=command.count, default=3)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=words.folder) as folder:
        path, start = os.path.join(folder, "features.npy"), time.perf_counter()
        labels = write(path, words.rows, words.dims, words.classes)
        print(f"{os.path.getsize(path) / 1e9:.1f} GB written in "
              f"{time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
        print("| protocol | seconds | projection | RssAnon GiB | RssFile GiB |")
        print("|---|---|---|---|---|")
        file = np.load(path, mmap_mode="r")
        print(search(file, labels, words.queries, words.classes), flush=True)
        print(fit(file, labels, words.classes, words.iterations), flush=True)
    print(f"peak of the process (VmHWM): {status('VmHWM') / GIB:.2f} GiB")


if __name__ == "__main__":
    command.end(main)
