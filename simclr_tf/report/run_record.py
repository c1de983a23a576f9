"""What the folder of a run holds, read with patience: what is missing or damaged becomes a note."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from simclr_tf import run_folder
from simclr_tf.errors import InputError, one_line, require, require_valid
from simclr_tf.files import list_files, on_local_disk
from simclr_tf.json_files import find_json
from simclr_tf.report import curves, kept
from simclr_tf.weights.locate import is_study

T = TypeVar("T")

_READ = (run_folder.CONFIG, run_folder.FLAGS, run_folder.RESULT, kept.ABOUT, kept.EXAMPLES,
         kept.VIEWS, kept.PREDICTIONS)  # fmt: skip
_LINKS = (  # what a reader may want to open, in this order
    ("model card", "saved_model/*/README.md"),
    ("SavedModel", "saved_model/*/saved_model.pb"),
    ("TF-Hub archive", "saved_model/*.tar.gz"),
    ("Keras file", "saved_model/*.keras"),
    ("checkpoint", "ckpt-*.index"),
    ("results", run_folder.RESULT),
    ("scoreboard", run_folder.SCOREBOARD),
    ("evaluation", f"*/{run_folder.RESULT}"),
    ("settings", run_folder.CONFIG),
    ("learning curves", run_folder.CURVES),
    ("augmented views", run_folder.VIEWS),
    ("map of the features", "map.png"),
)


class Link(NamedTuple):
    """What a reader may open.

    Attributes:
        title: What it is.
        path: What users name it by, relative to the run's folder, with `/`.
        file: What a browser can open of it: the path itself, or a file of a checkpoint.
    """

    title: str
    path: str
    file: str


@dataclasses.dataclass
class RunRecord:
    """A run as its folder tells it.

    Attributes:
        folder: Of the run.
        config: Settings by name and `class_names`; {} where unknown.
        flags: Of the command line; {} without one.
        about: Starts, step, versions, hardware.
        result: Metrics by name, `global_step`, and sections of protocols.
        scalars: Of TensorBoard.
        examples: Test images and their features.
        views: Training images and their views.
        predictions: Of the last evaluation.
        links: Files that are there.
        notes: What is missing or damaged, a sentence each.
    """

    folder: str
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    flags: dict[str, Any] = dataclasses.field(default_factory=dict)
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    result: dict[str, Any] = dataclasses.field(default_factory=dict)
    scalars: list[curves.ScalarSeries] = dataclasses.field(default_factory=list)
    examples: kept.Examples | None = None
    views: kept.ViewSamples | None = None
    predictions: kept.Predictions | None = None
    links: list[Link] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def shown(self, what: str, function: Callable[[], T], default: T) -> T:
        """What a function makes of the run for a page; a note where the run's content is odd."""
        try:
            return function()
        except Exception as error:  # damage has many faces, and the rest of the page is sound
            why = one_line(error)
            self.notes.append(f"{what} can't be shown: {why}.")
            return default

    @property
    def name(self) -> str:
        """Of the folder."""
        return os.path.basename(os.path.abspath(self.folder))

    @property
    def class_names(self) -> list[str] | None:
        """Of the labels, None without."""
        names = self.config.get("class_names")
        return [str(name) for name in names] if isinstance(names, list) and names else None

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers of `result.json` by name."""
        return {name: float(value) for name, value in self.result.items()
                if "/" in name and isinstance(value, int | float)}  # fmt: skip


def read_run(folder: str | os.PathLike[str]) -> RunRecord:
    """Reads the folder of a run.

    Raises:
        InputError: It is no folder, or holds neither settings nor results nor events of a run.
    """
    folder = os.fspath(folder)
    plain = folder.encode("utf-8", "backslashreplace").decode()
    require(plain == folder, "run", "must have a name in UTF-8 to have a page", plain)
    if not tf.io.gfile.isdir(folder):
        raise InputError("run", "must be the folder of a run", folder)
    require(not is_study(folder), "run", "must be the folder of a run, not of a study, whose page "
            "--mode=study writes", folder)  # fmt: skip
    record = RunRecord(folder)
    with on_local_disk(folder, _is_read) as place:
        _read(record, place)
    record.links = list(_links(list_files(folder)))
    return record


def _is_read(path: str) -> bool:
    return path in _READ or curves.is_events(path)


def _read(record: RunRecord, place: str) -> None:
    """Reads what lies in a local folder."""
    reader = _Reader(record, place)
    record.config = reader.read(run_folder.CONFIG, _mapping, {})
    record.flags = reader.read(run_folder.FLAGS, _mapping, {}, optional=True)
    record.about = reader.read(kept.ABOUT, _about, {})
    labelled = not record.config or record.class_names is not None  # as far as is known
    record.result = reader.read(run_folder.RESULT, _result, {}, optional=not labelled)
    record.scalars = reader.read("events", lambda path: curves.read_scalars(place), [])
    own = any(series.folder == curves.OWN_EVENTS for series in record.scalars)
    if not (record.config or record.result or own):
        names = f"{run_folder.CONFIG}, {run_folder.RESULT} or events"
        raise InputError("run", f"must be the folder of a run: it holds no readable {names}",
                         record.folder)  # fmt: skip
    record.notes += [f"{name} can't be read to its end." for name in _damaged_events(place)]
    if not any(series.tag.startswith("train/") for series in record.scalars):
        record.notes.append("There are no curves of training in TensorBoard's event files.")
    record.examples = reader.read(kept.EXAMPLES, lambda _: kept.read_examples(place), None)
    record.views = reader.read(kept.VIEWS, lambda _: kept.read_views(place), None)
    record.predictions = reader.read(
        kept.PREDICTIONS, lambda _: kept.read_predictions(place), None, optional=not labelled
    )


def _damaged_events(place: str) -> list[str]:
    """The event files below a local folder that break off or are damaged, which readers skip."""
    damaged = []
    for path in curves.event_files(place):
        records = tf.data.TFRecordDataset(str(path))
        try:
            if curves.declares_too_much(path):
                raise tf.errors.DataLossError(None, None, "a record is longer than the file")
            records.reduce(np.int64(0), lambda count, _: count + 1)
        except tf.errors.OpError:
            damaged.append(path.relative_to(place).as_posix())
    return damaged


class _Reader:
    """Reads one part after the other, and notes which could not be read."""

    def __init__(self, record: RunRecord, place: str):
        self._record, self._place = record, place

    def read(
        self, name: str, function: Callable[[str], T], default: T, optional: bool = False
    ) -> T:
        try:
            return function(os.path.join(self._place, name))
        except FileNotFoundError:
            if not optional:
                self._record.notes.append(f"There is no {name} (yet).")
        except Exception as error:  # damage has many faces, and the rest of the page is sound
            why = "it is damaged"
            if isinstance(error, InputError) or not name.endswith(".npz"):  # NumPy's advice is bad
                why = one_line(error)
            self._record.notes.append(f"{name} can't be read: {why}.")
        return default


def _mapping(path: str) -> dict[str, Any]:
    found = find_json(path)
    if found is None:
        raise FileNotFoundError(path)
    return found


def _about(path: str) -> dict[str, Any]:
    """What is known of starts and progress; `hardware` and `versions` of every start are there."""
    found = _mapping(path)
    starts = found.setdefault("starts", [])
    require_valid(isinstance(starts, list), "starts must be a list")
    for start in starts:
        require_valid(isinstance(start, dict), "a start must be an object")
        for name in ("hardware", "versions"):
            require_valid(isinstance(start.setdefault(name, {}), dict), f"{name} must be an object")
    for name in ("step", "total_steps"):
        known = found.setdefault(name, None)
        require_valid(isinstance(known, int | None), f"{name} must be a number")
    return found


def _result(path: str) -> dict[str, Any]:
    """Figures and protocols, whose rows have `what`, `result` and `how`."""
    found = _mapping(path)
    protocols = found.setdefault("protocols", {})
    require_valid(isinstance(protocols, dict), "protocols must be an object")
    for name, value in found.items():
        if isinstance(value, int):
            float(value)  # raises where it is too large
        if name.startswith(("eval/", "untrained/")):
            require_valid(isinstance(value, int | float), f"{name} must be a number")
    for section in protocols.values():
        titled = isinstance(section, dict) and "title" in section
        require_valid(titled, "a protocol must have a title")
        rows = section.setdefault("rows", [])
        whole = isinstance(rows, list) and all(
            isinstance(row, dict) and {"what", "result", "how"} <= set(row) for row in rows
        )
        require_valid(whole, "rows of a protocol must have what, result and how")
        notes = section.setdefault("notes", [])
        require_valid(isinstance(notes, list), "notes of a protocol must be a list")
    return found


def _links(paths: Sequence[str]) -> list[Link]:
    found = []
    for title, pattern in _LINKS:
        matching = [pathlib.PurePosixPath(path) for path in paths if _matches(path, pattern)]
        for path in sorted(matching, key=lambda path: (len(path.name), path.name)):
            opened = path.parent if title == "SavedModel" else path
            named = opened.with_suffix("") if title == "checkpoint" else opened
            of = f" {path.parent}" if title == "evaluation" else ""
            found.append(Link(title + of, named.as_posix(), opened.as_posix()))
    return found


def _matches(path: str, pattern: str) -> bool:
    """Whether a path is what a pattern stands for, whose `*` is a part of a name."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
