"""The SavedModels of a run: one per exported step, the newest few kept."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence

import tensorflow as tf

from export.card import model_card
from export.history import History, data_name, read_history
from export.saved_model import CARD_FILE, export_encoder
from simclr_tf.errors import require
from simclr_tf.files import write_text_atomically
from simclr_tf.models.simclr import SimCLR
from simclr_tf.weights.network import EXPORT_RECORD


@dataclasses.dataclass(frozen=True)
class RunExport:
    """Writes `model_dir/saved_model/<step>`; an `Export` of `simclr_tf.modes.common`.

    Attributes:
        model_dir: Folder of the run.
        keep: SavedModels to keep, at least 1.
        image_size: Side in pixels of the run's images.
        eval_name: Sub-folder of `model_dir` with the results of its evaluation.
        trained_in: Folder of the run that trained the weights, when it is another one: with
            `mode=eval` a checkpoint may come from anywhere.
    """

    model_dir: str
    keep: int
    image_size: int
    eval_name: str | None = None
    trained_in: str | None = None

    def write(
        self, model: SimCLR, global_step: int, class_names: Sequence[str] | None
    ) -> str | None:
        """Writes the SavedModel of a step and prunes old ones.

        Args:
            model: A built model.
            global_step: Step of the weights.
            class_names: Names of the linear head's classes.

        Returns:
            Its folder; None, with nothing written, when enough newer ones are there.
        """
        newer = [step for step in export_steps(self._parent) if step > global_step]
        if len(newer) >= self.keep:
            return None
        known = History(self.image_size, class_names, global_step)
        history = self._history(known)
        directory = export_encoder(model, self._folder(global_step), True, history)
        prune_exports(self._parent, self.keep)
        return directory

    def describe(self, global_step: int, dataset: str, split: str) -> None:
        """Writes the model card of a step anew, after its results were written.

        Args:
            global_step: The step; nothing happens where it has no SavedModel (any more).
            dataset: The data set behind the results.
            split: The part of it.
        """
        folder = self._folder(global_step)
        if not tf.io.gfile.exists(os.path.join(folder, EXPORT_RECORD)):
            return
        with tf.io.gfile.GFile(os.path.join(folder, EXPORT_RECORD)) as file:
            record = json.load(file)
        images = f"{data_name(dataset)}, split `{split}`"
        history = self._history(History(global_step=global_step, evaluated_on=images))
        write_text_atomically(os.path.join(folder, CARD_FILE), model_card(record, history))

    @property
    def _parent(self) -> str:
        return os.path.join(self.model_dir, "saved_model")

    def _folder(self, global_step: int) -> str:
        return os.path.join(self._parent, str(global_step))

    def _history(self, known: History) -> History:
        results = os.path.join(self.model_dir, self.eval_name or "")
        return read_history(self.trained_in or self.model_dir, known, results)


def export_steps(directory: str) -> list[int]:
    """The steps with a SavedModel, oldest first; other entries of the folder do not count."""
    if not tf.io.gfile.isdir(directory):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(directory))
    return sorted(int(name) for name in names if name.isdigit())


def prune_exports(directory: str, keep: int) -> list[str]:
    """Removes all but the newest exports, sub-folders named by their step.

    Args:
        directory: The folder with one numeric sub-folder per export; others are left alone.
        keep: How many stay.

    Returns:
        The paths that were removed, oldest first.

    Raises:
        InputError: `keep` is less than 1.
    """
    require(keep >= 1, "keep_hub_module_max", "must be at least 1", keep)
    removed = [os.path.join(directory, str(step)) for step in export_steps(directory)[:-keep]]
    for path in removed:
        tf.io.gfile.rmtree(path)
    return removed
