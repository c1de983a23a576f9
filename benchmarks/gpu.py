"""Speed on a GPU, and CIFAR-10 on it: `python -m benchmarks.gpu --output=DIR`.

Pairs per second of a pretraining step in bfloat16, with XLA and without, beside PyTorch with
lightly's loss where `--torch` names an interpreter that has both; their shares of the rate of a
matrix product; and what the host delivers. A ResNet-18 at 32 px takes 512 pairs, a ResNet-50 at
224 px the most that fit, by halves from `--most_pairs`. Then CIFAR-10 is trained for `--minutes`
and evaluated at ten of its checkpoints. `benchmarks/gpu.sh` does all of it from a folder of wheels.

`--device=CPU` takes tiny sizes and shows only that everything runs.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks import command
from benchmarks.run import machine, versions
from benchmarks.speed import figures, flops, images
from benchmarks.speed.figures import Comparison, Series
from benchmarks.speed.sides import Side, measure, worker_side
from simclr_tf.files import write_json

DEVICES = ("GPU", "CPU")
CHECKPOINTS = 10
PLAIN, XLA, TORCH, PRODUCT = "plain", "XLA", "PyTorch, lightly's loss", "matrix product"
HOST, HOST_PART = "host, all of the views", "host, colour and blur on the device"
_TIMEOUT = 600.0  # seconds of an answer: XLA compiles, and batches that do not fit are tried first


class Network(NamedTuple):
    """A ResNet, its images, and the batches that are tried, the largest first."""

    depth: int
    image_size: int
    pairs: Sequence[int]

    @property
    def setting(self) -> str:
        """In the tables."""
        return f"ResNet-{self.depth}, {self.image_size} px, bfloat16"


def networks(device: str, most_pairs: int) -> list[Network]:
    """What is measured."""
    if device == "CPU":
        return [Network(18, 32, (4,)), Network(18, 64, (4, 2))]
    halves = [most_pairs >> shift for shift in range(most_pairs.bit_length())]
    return [Network(18, 32, (512,)), Network(50, 224, halves)]


def sides_of(
    network: Network, device: str, torch: str | None, source: dict[str, Any]
) -> list[Side]:
    """Each in a process of its own that has the whole card; `source` are the host's images."""
    timing = {"steps": 1, "samples": 2} if device == "CPU" else {"steps": 10, "samples": 5}

    def series(side: str, *units: str) -> dict[str, Series]:
        return {unit: Series("gpu", network.setting, side, unit) for unit in units}

    shared = {"depth": network.depth, "image_size": network.image_size,
              "batches": list(network.pairs), "precision": "bfloat16", **timing}  # fmt: skip
    steps = ("pairs/s", "pairs")
    sides = [worker_side("ours", "largest_step", series(name, *steps), True,
                         jit_compile=name == XLA, **shared) for name in (PLAIN, XLA)]  # fmt: skip
    if torch is not None:
        spec = json.dumps({**shared, "device": "cpu" if device == "CPU" else "cuda"})
        words = ["-W", "ignore", "-m", "benchmarks.speed.torch_step", spec]
        sides.append(Side(words, series(TORCH, *steps), True, torch))
    size = 512 if device == "CPU" else 8192
    product = {"bfloat16": series(PRODUCT, "GFLOP/s")["GFLOP/s"]}
    sides.append(worker_side("peak", "products", product, True, size=size, products=3, samples=5,
                             precisions=["bfloat16"]))  # fmt: skip
    for name, place in ((HOST, "host"), (HOST_PART, "device")):
        pairs = min(network.pairs[0], 128)
        sides.append(worker_side(
            "ours", "pipeline", series(name, "pairs/s"), True, image_size=network.image_size,
            pairs=pairs, warm_up=4, batches=4, samples=3, augment_on=place, **source,
        ))  # fmt: skip
    return sides


def comparisons_of(network: Network) -> list[Comparison]:
    """Beside PyTorch, as a share of the product's rate, and the host beside the card."""
    found, setting = [], network.setting
    work = flops.pair_flops(network.depth, network.image_size) / 1e9
    for name in (PLAIN, XLA):
        found += [
            Comparison("gpu", setting, "pairs/s", name, TORCH),
            Comparison("gpu", setting, "pairs/s", name, PRODUCT, anchor_unit="GFLOP/s", scale=work,
                       label=f"{name}, share of the matrix product's rate"),
            *(Comparison("gpu", setting, "pairs/s", host, name) for host in (HOST, HOST_PART)),
        ]  # fmt: skip
    return found


class Accuracy(NamedTuple):
    """Of one checkpoint, on the test images."""

    step: int
    knn: float
    regression: float


def accuracy_curve(given: Any, pairs_per_second: float) -> list[Accuracy]:
    """Trains the recipe `cifar10_r18` for about so many minutes and evaluates its checkpoints."""
    import simclr_tf
    from benchmarks import budgets  # brings TensorFlow, which would take the card from the sides

    dataset, batch, more = "cifar10", 512, {}
    if given.device == "CPU":
        dataset, batch = "patterns", 16
        more = {"width_multiplier": 0.125, "warmup_epochs": 0}
    steps = max(CHECKPOINTS, int(60 * given.minutes * pairs_per_second / batch))
    every = steps // CHECKPOINTS
    folder = os.path.join(given.output, dataset)
    simclr_tf.pretrain(
        dataset, recipe="cifar10_r18", data_dir=given.data_dir, model_dir=folder, report=False,
        train_batch_size=batch, train_steps=CHECKPOINTS * every, checkpoint_steps=every,
        keep_checkpoint_max=CHECKPOINTS, **more,
    )  # fmt: skip
    return [
        Accuracy(step, *budgets.accuracies(os.path.join(folder, f"ckpt-{step}"), dataset,
                                           given.data_dir))
        for step in range(every, CHECKPOINTS * every + 1, every)
    ]  # fmt: skip


def _cards() -> list[str]:
    """Name, driver and memory of each NVIDIA card."""
    if shutil.which("nvidia-smi") is None:
        return []
    words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True).stdout.splitlines()


def _source(network: Network, given: Any, scratch: str) -> dict[str, Any]:
    """The host's images: CIFAR-10 where they are small, else photographs, made if need be."""
    if network.image_size <= 32 and given.device == "GPU":
        return {"dataset": "cifar10", "data_dir": given.data_dir}
    samples = os.path.join(given.data_dir or "", "..", "imagenet_samples")
    if os.path.isdir(samples):
        return {"dataset": "folder", "data_dir": os.path.realpath(samples)}
    images.write_photographs(pathlib.Path(scratch), 256)
    return {"dataset": "folder", "data_dir": scratch}


def read_command_line(words: Sequence[str] | None = None) -> Any:
    """The command line with its defaults."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="folder of the tables and of the run")
    parser.add_argument("--device", choices=DEVICES, default="GPU")
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has PyTorch, lightly")
    parser.add_argument("--data_dir", help="TFDS folder that holds cifar10")
    parser.add_argument("--most_pairs", type=command.count, default=1024,
                        help="of a ResNet-50's step; halves are tried until one fits")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=8.0, help="of the training on CIFAR-10")
    given = parser.parse_args(words)
    if given.device == "GPU" and not _cards():
        parser.error("--device=GPU needs an NVIDIA card whose driver answers (nvidia-smi)")
    if given.torch is not None and shutil.which(given.torch) is None:
        parser.error(f"--torch must be a program: {given.torch}")
    return given


def main() -> int:
    """Measures, prints the tables and keeps all samples in `gpu.json`."""
    given = read_command_line()
    os.makedirs(given.output, exist_ok=True)
    about: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {**machine(), "gpus": _cards()}, "versions": versions(),
    }  # fmt: skip
    series: list[Series] = []
    comparisons: list[Comparison] = []
    written = os.path.join(given.output, "gpu.json")
    with tempfile.TemporaryDirectory() as scratch:
        for network in networks(given.device, given.most_pairs):
            source = _source(network, given, scratch)
            sides = sides_of(network, given.device, given.torch, source)
            series += measure(sides, 1, _TIMEOUT, lambda line: print(line, file=sys.stderr))
            comparisons += comparisons_of(network)
            write_json(written, {**about, **figures.as_json(series, comparisons)})
    print(f"{about['command']}\n\n{about['date'][:10]}, {about['machine']}, {about['versions']}\n")
    print(figures.markdown(series, comparisons), flush=True)
    rates = [max(one.samples) for one in series if one.unit == "pairs/s" and one.samples
             and one.setting == series[0].setting and one.side in (PLAIN, HOST)]  # fmt: skip
    curve = accuracy_curve(given, min(rates)) if rates else []
    write_json(written, {**about, **figures.as_json(series, comparisons),
                         "accuracy": [one._asdict() for one in curve]})  # fmt: skip
    print("\n| step | kNN, k = 20 | logistic regression |\n|---|---|---|")
    for one in curve:
        print(f"| {one.step:,} | {one.knn:.1%} | {one.regression:.1%} |")
    return 1 if any(one.failed for one in series) else 0


if __name__ == "__main__":
    command.end(main)
