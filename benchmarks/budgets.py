"""Accuracy on CIFAR-10 by processor time: `python -m benchmarks.budgets --output=DIR`.

Trains a recipe and evaluates it on the test images. With `--peer`, a program that does the same
with another library gets as many processor seconds; its features are judged by the same kNN and
logistic regression. `--try` is the search that the recipes come from: it trains for a time on
45,000 training images and judges on the other 5,000, so that the test images decide nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np
import tf_keras as keras

import simclr_tf
from benchmarks import command
from simclr_tf import console
from simclr_tf.evaluation import knn, logistic
from simclr_tf.evaluation.encoders import open_encoder
from simclr_tf.evaluation.logistic import Examples
from simclr_tf.settings import recipes

_FITTING, _JUDGING = "train[:45000]", "train[45000:]"
_TIMED_STEPS = 30


class Result(NamedTuple):
    """What a training took and gave; seconds, and shares of the images."""

    name: str
    steps: int
    processor: float
    wall: float
    knn: float
    regression: float

    def __str__(self) -> str:
        return (f"| {self.name} | {self.steps:,} | {self.processor:.0f} | {self.wall:.0f} "
                f"| {100 * self.knn:.1f} % | {100 * self.regression:.1f} % |")  # fmt: skip


HEAD = (
    "| | steps | processor s | wall s | kNN, k = 20 | logistic regression |\n"
    "|---|---|---|---|---|---|"
)


class _Cost(keras.callbacks.Callback):
    """Processor seconds of a step, after the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._first: tuple[int, float] | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.process_time()
        if self._first is None:
            self._first = batch, now
        elif batch - self._first[0] >= _TIMED_STEPS and not self.seconds:
            self.seconds = (now - self._first[1]) / (batch - self._first[0])
            self.model.stop_training = True


def accuracies(
    path: str, dataset: str, data_dir: str | None, judged: tuple[str, str] = ("train", "test")
) -> tuple[float, float]:
    """Of kNN (k = 20) and logistic regression with the encoder of a run or checkpoint.

    Args:
        path: A run's folder, or a checkpoint.
        dataset: The images.
        data_dir: Where they lie.
        judged: As in `train`.
    """
    found = simclr_tf.evaluate(
        open_encoder(path), dataset, "knn,logreg", train_split=judged[0], test_split=judged[1],
        data_dir=data_dir, say=console.silent,
    )  # fmt: skip
    return (found["knn"].metrics["weighted"]["k_20"],
            found["logreg"].metrics["top_1_accuracy"])  # fmt: skip


def train(name: str, folder: str, settings: dict[str, Any], judged: tuple[str, str]) -> Result:
    """Trains a run of CIFAR-10 and evaluates its encoder.

    Args:
        name: Of the row.
        folder: Of the run.
        settings: Of `simclr_tf.pretrain`.
        judged: Split expressions: the bank and training images of the classifiers, and the others.
    """
    processor, wall = time.process_time(), time.monotonic()
    run = simclr_tf.pretrain("cifar10", model_dir=folder, report=False, **settings)
    processor, wall = time.process_time() - processor, time.monotonic() - wall
    found = accuracies(run.folder, "cifar10", settings["data_dir"], judged)
    return Result(name, run.step, processor, wall, *found)


def search(given: Any) -> None:
    """Trains with each of `--try` for the same processor time."""
    print(HEAD, flush=True)
    for place, text in enumerate(given.tries):
        settings = {"recipe": given.recipe, "data_dir": given.data_dir, "train_split": _FITTING,
                    "say": console.silent}  # fmt: skip
        cost = _Cost()
        with tempfile.TemporaryDirectory() as folder:
            if text:
                own = os.path.join(folder, "own.flags")
                with open(own, "w") as file:
                    file.write(text.replace(" ", "\n"))
                settings |= recipes.recipe_values(own)
            simclr_tf.pretrain("cifar10", model_dir=folder, report=False, callbacks=[cost],
                               **{**settings, "train_steps": 2000})  # fmt: skip
        steps = int(given.seconds / cost.seconds)
        settings |= {"train_steps": steps, "checkpoint_steps": steps}
        folder = os.path.join(given.output, f"try{place}")
        print(train(text or "the recipe", folder, settings, (_FITTING, _JUDGING)), flush=True)


def compare(given: Any) -> None:
    """The recipe, and the same processor time with the other program."""
    settings = {"recipe": given.recipe, "data_dir": given.data_dir}
    folder = os.path.join(given.output, given.recipe)
    ours = train(given.recipe, folder, settings, ("train", "test"))
    print(HEAD)
    print(ours, flush=True)
    for arguments in given.peers:
        print(_of_peer(given, arguments.split(), ours.processor), flush=True)


def _of_peer(given: Any, arguments: list[str], seconds: float) -> Result:
    """A program: SCRIPT IMAGES.npz FEATURES.npz PROCESSOR_SECONDS ARGUMENTS."""
    images, features = (os.path.join(given.output, f"{name}.npz") for name in ("images", "peer"))
    if not os.path.exists(images):
        parts = {}
        for split in ("train", "test"):
            loaded = simclr_tf.load_images("cifar10", split, data_dir=given.data_dir)
            pixels = np.round(255 * loaded.images).astype(np.uint8)
            parts |= {f"x_{split}": pixels, f"y_{split}": loaded.labels}
        np.savez(images, **parts)
    started = time.monotonic()
    words = [given.python, arguments[0], images, features, f"{seconds:.0f}", *arguments[1:]]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    wall = time.monotonic() - started
    said = dict(zip(done.stdout.split()[-6::2], done.stdout.split()[-5::2], strict=True))
    found = np.load(features)
    bank, tests = (found[f"f_{split}"].astype(np.float32) for split in ("train", "test"))
    of_bank, of_tests = found["y_train"], found["y_test"]
    votes = knn.knn_predictions(bank, of_bank, tests, ks=(20,))[20]
    probe = logistic.logistic_regression(Examples(bank, of_bank), Examples(tests, of_tests), 10)
    return Result(" ".join([os.path.basename(arguments[0]), *arguments[1:]]),
                  int(said["steps"]), float(said["cpu"]), float(said.get("wall", wall)),
                  float(np.mean(votes == of_tests)),
                  logistic.accuracy(probe.test_logits, of_tests))  # fmt: skip


def main() -> int:
    """The command line."""
    parser = command.Parser(description=__doc__)
    parser.add_argument("--recipe", default="cifar10_cpu")
    parser.add_argument("--output", required=True, help="folder of the runs")
    parser.add_argument("--data_dir", help="TFDS folder that holds cifar10")
    parser.add_argument(
        "--try",
        action="append",
        default=[],
        dest="tries",
        metavar="FLAGS",
        help="settings to try beside the recipe, in quotes; may be repeated",
    )
    parser.add_argument("--seconds", type=float, default=400.0, help="processor seconds of a try")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        dest="peers",
        metavar="SCRIPT ...",
        help="a program to compare with, and its last arguments; may be repeated",
    )
    parser.add_argument("--python", default=sys.executable, help="that runs it")
    given = parser.parse_args()
    os.makedirs(given.output, exist_ok=True)
    (search if given.tries else compare)(given)
    return 0


if __name__ == "__main__":
    command.end(main)
