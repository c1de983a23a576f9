"""Time and memory of an import: `python -m benchmarks.import_checkpoints`.

For each size and format: one process writes a checkpoint with the names of the reference
implementation and random values to a temporary folder, another imports it and compares some
variables. Peak memory is that of the importing process, with what TensorFlow takes without any
model beside it; the checkpoint's own size is on disk. The ResNet-152 takes 3.5 GB of disk and
about 8 GB of memory to write.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import command
from tests.weights import foreign_checkpoints, published_names
from tests.weights.oracle import Architecture
from tests.weights.published_names import Size

SIZES = {
    "r50_1x": (Architecture(50, cifar_stem=False), Size(width=1)),
    "r152_3x_sk": (Architecture(152, cifar_stem=False, selective_kernels=True), Size(width=3)),
}
FORMATS = ("TF1 checkpoint", "TF2 checkpoint", "SavedModel")
SEED = 0


def write(folder: str, size: str, kind: str) -> str:
    """Writes a checkpoint of random values; returns the path to import."""
    architecture, widths = SIZES[size]
    if kind == "TF1 checkpoint":
        listing = published_names.tf1_listing(architecture, widths)
        arrays = foreign_checkpoints.random_arrays(listing, SEED)
        return foreign_checkpoints.write_tf1(os.path.join(folder, "model.ckpt-20"), arrays)
    if kind == "TF2 checkpoint":
        listing = published_names.checkpoint_listing(architecture, widths)
        arrays = foreign_checkpoints.random_arrays(listing, SEED)
        return foreign_checkpoints.write_object_based(f"{folder}/ckpt-20", listing, arrays)
    listing = published_names.saved_model_listing(architecture, widths)
    arrays = foreign_checkpoints.random_arrays(listing, SEED)
    return foreign_checkpoints.write_saved_model_folder(f"{folder}/module", listing, arrays)


def measure(path: str, size: str, kind: str) -> dict[str, float]:
    """Imports `path` in this process: seconds, peak memory in bytes, largest deviation."""
    import tensorflow as tf

    from simclr_tf.weights.load import load_model

    tf.zeros([1]).numpy()  # the runtime starts before the clock does
    before = _peak_memory()
    start = time.perf_counter()
    model = load_model(path, ft_proj_selector=0).model
    seconds = time.perf_counter() - start
    peak = _peak_memory()
    weights = sum(variable.shape.num_elements() for variable in model.variables) * 4
    return {
        "seconds": seconds,
        "before": before,
        "peak": peak,
        "weights": weights,
        "deviation": _deviation(model, size, kind),
    }


def _peak_memory() -> int:
    """Highest resident size of this process so far, in bytes (Linux counts in KiB)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _deviation(model, size: str, kind: str, samples: int = 7) -> float:
    """Largest difference in some convolutions and the linear head, drawn again from their names.

    Convolutions are created in the order of their numbers on both sides.
    """
    listing = {
        "TF1 checkpoint": published_names.tf1_listing,
        "TF2 checkpoint": published_names.checkpoint_listing,
        "SavedModel": published_names.saved_model_listing,
    }[kind](*SIZES[size])
    shapes = foreign_checkpoints.full_names(listing)
    theirs = [name for name, shape in shapes.items() if len(shape) == 4]
    ours = [v for v in model.encoder.trainable_variables if len(v.shape) == 4]
    assert len(theirs) == len(ours)
    picked = np.linspace(0, len(ours) - 1, samples).round().astype(int)
    pairs = [(theirs[i], ours[i]) for i in picked]
    head = next(name for name in shapes if name.startswith("head_supervised"))
    pairs.append((head, next(v for v in model.variables if v.shape == shapes[head])))
    return max(
        float(np.abs(variable.numpy() - _drawn(name, shapes[name])).max())
        for name, variable in pairs
    )


def _drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return foreign_checkpoints.random_arrays({name: shape}, SEED)[name]


def _in_a_process(*arguments: str) -> str:
    """The last line that this module prints when run with `arguments`."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", **os.environ}
    command = [sys.executable, "-m", "benchmarks.import_checkpoints", *arguments]
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()[-1]


def compare(size: str, kind: str) -> dict[str, float]:
    """Writes, imports, deletes."""
    with tempfile.TemporaryDirectory() as folder:
        path = _in_a_process("--size", size, "--format", kind, "--write", folder)
        return json.loads(_in_a_process("--size", size, "--format", kind, "--import", path))


def main() -> None:
    """Prints one line per size and format."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, action="append", help="default: all")
    parser.add_argument("--format", choices=FORMATS, action="append", help="default: all")
    parser.add_argument("--write", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--import", metavar="PATH", dest="path", help=argparse.SUPPRESS)
    words = parser.parse_args()
    sizes, formats = words.size or list(SIZES), words.format or list(FORMATS)
    if words.write:
        print(write(words.write, sizes[0], formats[0]))
        return
    if words.path:
        print(json.dumps(measure(words.path, sizes[0], formats[0])))
        return
    print("| network | format | weights | seconds | peak memory | before | deviation |")
    print("|---|---|---|---|---|---|---|")
    for size in sizes:
        for kind in formats:
            row = compare(size, kind)
            weights, peak, before = (row[name] / 1e9 for name in ("weights", "peak", "before"))
            print(f"| {size} | {kind} | {weights:.2f} GB | {row['seconds']:.1f} | {peak:.2f} GB "
                  f"| {before:.2f} GB | {row['deviation']:.0e} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    command.end(main)
