"""Where the figures of a run go beside TensorBoard's events: files, Weights & Biases, MLflow."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from simclr_tf import console
from simclr_tf.console import Say
from simclr_tf.errors import one_line, require
from simclr_tf.files import set_aside, write_json, write_text_atomically
from simclr_tf.json_files import find_or_set_aside
from simclr_tf.startup import installed_version

IDS = "loggers.json"  # under which Weights & Biases and MLflow know the run


class Logger(Protocol):
    """One place for figures; none of its methods may be slow."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps the figures of a step."""

    def picture(self, step: int, grid: np.ndarray) -> None:
        """Keeps a picture of the augmented views, (H, W, 3) uint8."""

    def note(self, step: int, text: str) -> None:
        """Keeps a sentence."""

    def close(self) -> None:
        """Ends the writing, until the run goes on."""


class JsonLines:
    """`metrics.jsonl`: an object a line, with `step`, `time` (Unix seconds) and the figures.

    Lines behind the step that a run goes on from are dropped first: they come again. NaN and
    infinity, which JSON lacks, are written as null.
    """

    def __init__(self, folder: str, kind: str, settings: Mapping[str, Any], step: int):
        self._path = os.path.join(folder, f"{_stem(kind)}.jsonl")
        lines = _lines(self._path)
        if any(_step_of_json(line) == math.inf for line in lines):
            _set_aside(self._path)
            lines = []
        kept = [line for line in lines if _step_of_json(line) <= step]
        write_text_atomically(self._path, "".join(f"{line}\n" for line in kept))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a line."""
        self._add(step, {name: value if math.isfinite(value) else None
                         for name, value in _floats(values).items()})  # fmt: skip

    def picture(self, step: int, grid: np.ndarray) -> None:
        """Nothing: the picture lies in the run's folder."""

    def note(self, step: int, text: str) -> None:
        """Adds a line."""
        self._add(step, {"note": text})

    def close(self) -> None:
        """Nothing: every line is written at once."""

    def _add(self, step: int, content: Mapping[str, Any]) -> None:
        line = json.dumps({"step": step, "time": round(time.time(), 3), **content})
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


class Csv:
    """`metrics.csv`: a line a step, a column a figure; a figure that is new adds its column.

    Lines behind the step that a run goes on from are dropped first: they come again.
    """

    def __init__(self, folder: str, kind: str, settings: Mapping[str, Any], step: int):
        self._path = os.path.join(folder, f"{_stem(kind)}.csv")
        reader = csv.DictReader(_lines(self._path))
        rows = list(reader)
        strange = any(None in row or _step_of(row) == math.inf for row in rows)
        if strange or (reader.fieldnames or ["step"])[0] != "step":
            _set_aside(self._path)
            rows = []
        self._rows: list[dict[str, Any]] = [row for row in rows if _step_of(row) <= step]
        self._names = list(self._rows[0]) if self._rows else ["step"]
        self._write()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a line."""
        row = {"step": step, **_floats(values)}
        new = [name for name in row if name not in self._names]
        self._rows.append(row)
        if new:
            self._names += new
            self._write()
            return
        with open(self._path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._names).writerow(row)

    def picture(self, step: int, grid: np.ndarray) -> None:
        """Nothing: the picture lies in the run's folder."""

    def note(self, step: int, text: str) -> None:
        """Nothing: a table of figures has no place for sentences."""

    def close(self) -> None:
        """Nothing: every line is written at once."""

    def _write(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._names)
        writer.writeheader()
        writer.writerows(self._rows)
        write_text_atomically(self._path, text.getvalue())


class Wandb:
    """A run of Weights & Biases, which obeys its own variables: WANDB_PROJECT, WANDB_MODE, ...

    The axis is `global_step`, since a run that goes on repeats steps, which `wandb` would drop.
    """

    def __init__(self, folder: str, kind: str, settings: Mapping[str, Any], step: int):
        import wandb

        self._wandb, name = wandb, os.path.basename(os.path.abspath(folder))
        known = _known(folder, f"wandb-{kind}")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "simclr_tf"), dir=folder,
            name=name if kind == "train" else f"{name} {kind}", group=name, job_type=kind,
            id=known, resume="allow", config=dict(settings),
            settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip
        _remember(folder, f"wandb-{kind}", self._run.id)
        self._run.define_metric("global_step")
        self._run.define_metric("*", step_metric="global_step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the figures, or keeps them where WANDB_MODE is `offline`."""
        self._run.log({"global_step": step, **_floats(values)})

    def picture(self, step: int, grid: np.ndarray) -> None:
        """Sends the picture."""
        self._run.log({"global_step": step, "views": self._wandb.Image(grid)})

    def note(self, step: int, text: str) -> None:
        """Nothing: notes are lines of the run's output."""

    def close(self) -> None:
        """Ends the run, waiting for what is still to be sent."""
        self._run.finish()


class Mlflow:
    """A run of MLflow, in MLFLOW_TRACKING_URI, or in `mlflow.db` beside the run's folder."""

    def __init__(self, folder: str, kind: str, settings: Mapping[str, Any], step: int):
        import mlflow

        self._mlflow, name = mlflow, os.path.basename(os.path.abspath(folder))
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            place = os.path.dirname(os.path.abspath(folder))
            mlflow.set_tracking_uri(f"sqlite:///{os.path.join(place, 'mlflow.db')}")
        if not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            mlflow.set_experiment("simclr_tf")
        known = _known(folder, f"mlflow-{kind}")
        self._client = mlflow.MlflowClient()
        title = name if kind == "train" else f"{name} {kind}"
        run = mlflow.start_run(run_id=known, run_name=None if known else title)
        self._id = run.info.run_id
        _remember(folder, f"mlflow-{kind}", self._id)
        if known is None:
            shown = {key: str(value)[:6000] for key, value in settings.items()}
            mlflow.log_params(shown)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the figures."""
        self._mlflow.log_metrics(_floats(values), step=step, run_id=self._id)

    def picture(self, step: int, grid: np.ndarray) -> None:
        """Nothing: the picture lies in the run's folder."""

    def note(self, step: int, text: str) -> None:
        """Nothing: notes are lines of the run's output."""

    def close(self) -> None:
        """Ends the run."""
        self._mlflow.end_run()


_Maker = Callable[[str, str, Mapping[str, Any], int], Logger]
MAKERS: dict[str, _Maker] = {"jsonl": JsonLines, "csv": Csv, "wandb": Wandb, "mlflow": Mlflow}
_PACKAGES = {"wandb": ("wandb",), "mlflow": ("mlflow", "mlflow-skinny")}


class Safe:
    """Loggers of which one that fails is said once and left: no training ends for its log."""

    def __init__(self, loggers: Mapping[str, Logger], say: Say = console.say):
        self._loggers, self._say = dict(loggers), say

    def __getattr__(self, method: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            for name, logger in list(self._loggers.items()):
                try:
                    getattr(logger, method)(*arguments)
                except Exception as error:  # of a service, a network, a disk
                    self._say(f"note: nothing more goes to {name} ({one_line(error)})")
                    del self._loggers[name]

        return call


def require_installed(names: Sequence[str]) -> None:
    """Refuses loggers whose packages are absent, before any work is done.

    Raises:
        InputError: Names the one, and how to install it.
    """
    for name in names:
        absent = name in _PACKAGES and not any(map(installed_version, _PACKAGES[name]))
        require(not absent, "log_to", "must name loggers that are installed (pip install "
                f"'simclr_tf[{name}]')", name)  # fmt: skip


def open_loggers(
    names: Sequence[str],
    folder: str,
    kind: str,
    settings: Mapping[str, Any],
    step: int,
    say: Say = console.say,
) -> Safe:
    """Opens loggers by their names.

    Args:
        names: Some of `MAKERS`; `tensorboard`, which is always written, does not count.
        folder: Of the run.
        kind: `train`, or `eval` for what evaluates it.
        settings: Of the run, by name.
        step: From which it goes on.
        say: Hears of one that fails later on, or in an evaluation, whose results count more.

    Raises:
        InputError: One does not work, and `kind` is `train`: nothing is lost yet.
    """
    opened: dict[str, Logger] = {}
    for name in dict.fromkeys(names):
        if name not in MAKERS:
            continue
        try:
            opened[name] = MAKERS[name](folder, kind, settings, step)
        except Exception as error:  # of a service, a network, a disk
            reason = one_line(error)
            require(kind != "train", "log_to", f"must name loggers that work ({reason})", name)
            say(f"note: nothing goes to {name} ({reason})")
    return Safe(opened, say)


def _stem(kind: str) -> str:
    return "metrics" if kind == "train" else f"{kind}_metrics"


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _lines(path: str) -> list[str]:
    """The lines of a file, none where there is no file; a last one that was cut off is left out."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def _step_of_json(line: str) -> float:
    try:
        return _step_of(json.loads(line))
    except ValueError:
        return math.inf


def _step_of(row: Any) -> float:
    """The step of a line, infinity where the line is none of ours."""
    try:
        return float(row["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _set_aside(path: str) -> None:
    """Keeps a file that is none of ours, and says so."""
    console.say(f"note: {path} holds other lines than ours, and is kept as {set_aside(path)}")


def _known(folder: str, key: str) -> str | None:
    """The id of an earlier start of the run."""
    return find_or_set_aside(os.path.join(folder, IDS), console.say).get(key)


def _remember(folder: str, key: str, value: str) -> None:
    path = os.path.join(folder, IDS)
    known = find_or_set_aside(path, console.say)
    write_json(path, {**known, key: value})
