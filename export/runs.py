"""The SavedModels of a run: one per exported step, the newest few kept."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf import run_folder
from simclr_tf.errors import require
from simclr_tf.files import is_remote, write_text_atomically
from simclr_tf.json_files import read_json
from simclr_tf.models.network import Network
from simclr_tf.removal import is_ours, remove_tree
from simclr_tf.weights.network import EXPORT_RECORD

from .card import model_card
from .folders import SAVED_MODEL
from .history import History, data_name, read_history
from .saved_model import CARD_FILE, export_encoder

_BESIDE = ".simclr_tf"  # behind the step, where another program's SavedModel has its place


@dataclasses.dataclass(frozen=True)
class RunExport:
    """Writes `model_dir/saved_model/<step>`; an `Export` of `simclr_tf.modes.common`.

    Where another program's SavedModel of the step lies there, ours goes beside it, as
    `<step>.simclr_tf`.

    Attributes:
        model_dir: Folder of the run.
        keep: SavedModels to keep; 0 keeps all.
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
        self, model: Network, global_step: int, class_names: Sequence[str] | None
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
        if 0 < self.keep <= len(newer):
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
        record = read_json(os.path.join(folder, EXPORT_RECORD))
        images = f"{data_name(dataset)}, split `{split}`"
        history = self._history(History(global_step=global_step, evaluated_on=images))
        write_text_atomically(os.path.join(folder, CARD_FILE), model_card(record, history))

    @property
    def _parent(self) -> str:
        return os.path.join(self.model_dir, run_folder.EXPORTS)

    def _folder(self, global_step: int) -> str:
        folder = os.path.join(self._parent, str(global_step))
        return folder if _is_free(folder) else folder + _BESIDE

    def _history(self, known: History) -> History:
        results = os.path.join(self.model_dir, self.eval_name or "")
        return read_history(self.trained_in or self.model_dir, known, results)


def export_steps(directory: str) -> list[int]:
    """The steps with a SavedModel of ours, oldest first; what else is there does not count."""
    return [step for step, _ in _exports(directory)]


def _exports(directory: str) -> list[tuple[int, str]]:
    """Step and path of what was written here and holds nothing else, oldest first."""
    if not tf.io.gfile.isdir(directory):
        return []
    found = []
    for name in (name.rstrip("/") for name in tf.io.gfile.listdir(directory)):
        path = os.path.join(directory, name)
        step = re.fullmatch(rf"(\d{{1,18}})({re.escape(_BESIDE)})?", name)
        if step and not _is_link(path) and tf.io.gfile.isdir(path) and is_ours(path, SAVED_MODEL):
            found.append((int(step[1]), path))
    return sorted(found)


def _is_free(folder: str) -> bool:
    """Whether nothing of others would be replaced there."""
    if _is_link(folder):
        return False
    return not tf.io.gfile.exists(folder) or (
        tf.io.gfile.isdir(folder) and is_ours(folder, SAVED_MODEL)
    )


def _is_link(path: str) -> bool:
    return not is_remote(path) and os.path.islink(path)


def prune_exports(directory: str, keep: int) -> list[str]:
    """Removes all but the newest exports, sub-folders named by their step.

    Args:
        directory: The folder with one sub-folder per export; links, exports of other programs, and
            those in which somebody put a file are left alone.
        keep: How many stay; 0 keeps all.

    Returns:
        The paths that were removed, oldest first.

    Raises:
        InputError: `keep` is less than 0.
    """
    require(keep >= 0, "keep_hub_module_max", "must be at least 0", keep)
    old = _exports(directory)[:-keep] if keep else []
    return [path for _, path in old if remove_tree(path, SAVED_MODEL)]
