"""What a run keeps for its page, in the folder `report/`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from simclr_tf.array_files import open_npz
from simclr_tf.errors import require
from simclr_tf.files import write_npz

FOLDER = "report"
ABOUT = os.path.join(FOLDER, "about.json")
EXAMPLES = os.path.join(FOLDER, "examples.npz")
VIEWS = os.path.join(FOLDER, "views.npz")
# Which images were looked at.
TRAINED_ON, HELD_OUT, TESTS = "training images", "held-out images", "test images"
PREDICTIONS = os.path.join(FOLDER, "predictions.npz")
_NO_CLASS = -1
_MOST_CLASSES = 100_000
_LARGEST = 1e9  # of features and places


class Examples(NamedTuple):
    """A few test images and what the encoder makes of them.

    Attributes:
        images: (N, s, s, 3) uint8.
        labels: (N,) integers, -1 where unlabeled.
        before: (N, D) features of the untrained encoder.
        now: (N, D) features of the encoder at `step`.
        points: (N, 2), a map of `now`.
        predicted: (N,) classes of the linear head, -1 where there is none.
        step: Of the training.
    """

    images: np.ndarray
    labels: np.ndarray
    before: np.ndarray
    now: np.ndarray
    points: np.ndarray
    predicted: np.ndarray
    step: int

    def write(self, model_dir: str) -> None:
        """Writes them into the folder of a run."""
        half = {"before": self.before.astype(np.float16), "now": self.now.astype(np.float16)}
        write_npz(os.path.join(model_dir, EXAMPLES),
                  {**self._asdict(), **half, "step": np.asarray(self.step)})  # fmt: skip


class ViewSamples(NamedTuple):
    """A few training images and their views.

    Attributes:
        originals: (N, s, s, 3) uint8.
        views: (V, N, s, s, 3) uint8.
        operations: For each view of each image the words for what was done: V lists of N lists.
        epoch: In which they look like this.
    """

    originals: np.ndarray
    views: np.ndarray
    operations: Sequence[Sequence[Sequence[str]]]
    epoch: int

    def write(self, model_dir: str) -> None:
        """Writes them into the folder of a run."""
        words = [["\n".join(one) for one in view] for view in self.operations]
        write_npz(os.path.join(model_dir, VIEWS), {
            "originals": self.originals, "views": self.views, "operations": np.array(words),
            "epoch": np.asarray(self.epoch),
        })  # fmt: skip


class Predictions(NamedTuple):
    """Classes of all test images.

    Attributes:
        labels: (N,) integers.
        classes: (N,) integers under the name of the accuracy that they have.
        step: Of the training.
    """

    labels: np.ndarray
    classes: Mapping[str, np.ndarray]
    step: int

    def write(self, model_dir: str) -> None:
        """Writes them into the folder of a run."""
        write_npz(os.path.join(model_dir, PREDICTIONS),
                  {"labels": self.labels, "step": np.asarray(self.step),
                   **self.classes})  # fmt: skip


def no_classes(count: int) -> np.ndarray:
    """(count,) labels of images without any."""
    return np.full(count, _NO_CLASS, np.int64)


def read_examples(model_dir: str) -> Examples:
    """What `Examples.write` wrote.

    Raises:
        FileNotFoundError: Nothing was.
        InputError, ValueError, KeyError, OSError, zipfile.BadZipFile: The file is damaged.
    """
    with open_npz(os.path.join(model_dir, EXAMPLES)) as kept:
        arrays = {name: kept[name] for name in Examples._fields}
    count = len(arrays["images"])
    for name in ("labels", "before", "now", "points", "predicted"):
        require(len(arrays[name]) == count, name, f"must have {count} rows", len(arrays[name]))
    images = arrays["images"]
    require(images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3, "images",
            "must be uint8 (N, H, W, 3)", f"{images.dtype} {images.shape}")  # fmt: skip
    for name in ("before", "now", "points"):
        real = arrays[name].ndim == 2 and np.issubdtype(arrays[name].dtype, np.floating)
        require(real, name, "must be rows of real numbers",
                f"{arrays[name].dtype} {arrays[name].shape}")  # fmt: skip
        require(bool((np.abs(arrays[name].astype(np.float64)) < _LARGEST).all()), name,
                f"must be finite and below {_LARGEST:g}", "a larger one, or NaN")  # fmt: skip
    require(arrays["points"].shape[1] == 2, "points", "must have two columns",
            arrays["points"].shape)  # fmt: skip
    for name in ("labels", "predicted"):
        _check_classes(name, arrays[name])
    features = {name: arrays[name].astype(np.float32) for name in ("before", "now")}
    return Examples(**{**arrays, **features, "step": int(arrays["step"])})


def _check_classes(name: str, classes: np.ndarray) -> None:
    require(classes.ndim == 1 and np.issubdtype(classes.dtype, np.integer), name,
            "must be a row of whole numbers", f"{classes.dtype} {classes.shape}")  # fmt: skip
    lowest, highest = int(classes.min(initial=0)), int(classes.max(initial=_NO_CLASS))
    require(lowest >= _NO_CLASS and highest < _MOST_CLASSES, name,
            f"must be from {_NO_CLASS} to below {_MOST_CLASSES}", (lowest, highest))  # fmt: skip


def read_views(model_dir: str) -> ViewSamples:
    """What `ViewSamples.write` wrote; raises as `read_examples`."""
    with open_npz(os.path.join(model_dir, VIEWS)) as kept:
        originals, views = kept["originals"], kept["views"]
        words, epoch = kept["operations"], int(kept["epoch"])
    require(originals.dtype == views.dtype == np.uint8 and originals.ndim == 4, "originals",
            "must be uint8 (N, H, W, 3), as views are",
            f"{originals.dtype} {originals.shape}")  # fmt: skip
    require(views.shape[1:] == originals.shape, "views", f"must have shape {originals.shape}",
            views.shape[1:])  # fmt: skip
    operations = [[str(one).splitlines() for one in view] for view in words]
    return ViewSamples(originals, views, operations, epoch)


def read_predictions(model_dir: str) -> Predictions:
    """What `Predictions.write` wrote; raises as `read_examples`."""
    with open_npz(os.path.join(model_dir, PREDICTIONS)) as kept:
        classes = {name: kept[name] for name in kept.files if name not in ("labels", "step")}
        labels, step = kept["labels"], int(kept["step"])
    _check_classes("labels", labels)
    for name, found in classes.items():
        _check_classes(name, found)
        require(found.shape == labels.shape, name, f"must have shape {labels.shape}", found.shape)
    return Predictions(labels, classes, step)
