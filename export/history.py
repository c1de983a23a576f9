"""What is known about a model beside its weights: data, training, accuracy."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf import run_folder
from simclr_tf.data.reading import FILES, READING, Reading, recorded_reading
from simclr_tf.errors import InputError
from simclr_tf.json_files import read_json


@dataclasses.dataclass(frozen=True)
class History:
    """Where a model comes from, as far as known.

    Attributes:
        image_size: Side in pixels of the images it was trained on; None takes the usual size of
            its stem.
        class_names: Names of the linear head's classes.
        global_step: Step of the weights.
        source: Where they were read from, in words, for weights of unknown training.
        settings: The run's settings by name, empty where unknown.
        recipe: The recipe that the run started from.
        metrics: The result of the evaluation at this step, empty without one.
        evaluated_on: The images of that evaluation, in words.
        reading: How files became pixels in training.
    """

    image_size: int | None = None
    class_names: Sequence[str] | None = None
    global_step: int = 0
    source: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recipe: str | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    evaluated_on: str | None = None
    reading: Reading = FILES


def read_history(run_dir: str, known: History, results_dir: str | None = None) -> History:
    """Adds what the folder of a run tells about a step.

    Args:
        run_dir: Folder with `config.json` and `flags.json`; either may be absent.
        known: The step, and whatever the folder can't tell.
        results_dir: Folder with `result_<step>.json`, when it is another one.

    Returns:
        `known` with settings, recipe, metrics and the images they were measured on.
    """
    settings = _read_json(os.path.join(run_dir, run_folder.CONFIG))
    flags = _read_json(os.path.join(run_dir, run_folder.FLAGS))
    results = f"result_{known.global_step}.json"
    metrics = {
        name: value
        for name, value in _read_json(os.path.join(results_dir or run_dir, results)).items()
        if name != "global_step" and isinstance(value, int | float) and math.isfinite(value)
    }
    imported_from = settings.get("imported_from")
    if imported_from is not None:  # the other settings are defaults, nobody trained with them
        return dataclasses.replace(known, source=imported_from, metrics=metrics)
    return dataclasses.replace(
        known,
        settings=settings,
        recipe=flags.get("recipe"),
        metrics=metrics,
        evaluated_on=known.evaluated_on or _evaluated_on(settings),
        reading=recorded_reading(settings.get(READING)) or FILES,
    )


def data_name(dataset: str) -> str:
    """A data set in words, without the path of a folder on somebody's machine."""
    if dataset.split(":")[0] != "folder":
        return f"`{dataset}`"
    name = os.path.basename(dataset.removeprefix("folder").removeprefix(":").rstrip("/"))
    return f"a folder of images (`{name}`)" if name else "a folder of images"


def _evaluated_on(settings: Mapping[str, Any]) -> str | None:
    if not settings.get("dataset"):
        return None
    split = settings.get("eval_split")
    named = f"split `{split}`" if split else "the evaluation split"
    return f"{data_name(settings['dataset'])}, {named}"


def _read_json(path: str) -> dict[str, Any]:
    """A JSON object; {} where there is none that can be read. A model card must not stop a run."""
    try:
        return read_json(path)
    except InputError:
        return {}
