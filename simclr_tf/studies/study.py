"""Runs a study: its cells one after the other, on as many machines as share its folder.

A cell is done when its result lies in `results/`; it is one process's while that holds the lock of
its name in `claims/`. So a study that was killed goes on with the cell that it was at, from that
cell's last checkpoint, and processes that share the folder never do the same cell.
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import platform
import socket
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from simclr_tf import console
from simclr_tf.console import Say, silent
from simclr_tf.errors import InputError, one_line, require, require_valid
from simclr_tf.files import check_local, write_json
from simclr_tf.json_files import find_json
from simclr_tf.settings.commands import Study as Command
from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import catalogue, output, plan
from simclr_tf.studies.cells import failure, run_cell
from simclr_tf.studies.grid import Cell, Extras, Factors
from simclr_tf.studies.plan import Plan, naming_cell, run_name
from simclr_tf.studies.results import Outcome, Results
from simclr_tf.training.loop import NonFiniteLossError
from simclr_tf.training.run_lock import InUseError, lock_run
from simclr_tf.weights.locate import newest_checkpoint

_WAIT_SECONDS = 5.0


def run_study(command: Command, say: Say = console.say) -> Results:
    """Runs what is left of a study in the folder of its run, and writes its tables and figures.

    Example:
        `run_study(Study(recipe("quickstart", model_dir="runs/t"), StudyConfig("temperature")))`

    Args:
        command: Which study, and the settings that its grid varies.
        say: Receives lines for the user.

    Returns:
        The figures of all cells.

    Raises:
        InputError: Settings, data or the folder don't fit.
        KeyboardInterrupt, Preempted: Asked to stop; the same call goes on.
    """
    check_local(command.run.model_dir, "model_dir")
    assert command.study.study is not None
    study = catalogue.study(command.study.study)
    settled = plan.settle(study, command, say)
    left = [(cell, seed) for cell in settled.cells for seed in settled.seeds]
    say(f"{study.title} ({study.source}): {len(settled.cells)} cells, {len(settled.seeds)} "
        f"seed(s), {settled.base.train.train_steps} steps of "
        f"{settled.base.train.train_batch_size} images each")  # fmt: skip
    total = len(left)
    if before := _number_done(settled):
        say(f"{before} of {total} runs are there already")
    waiting = False
    while left:
        held = [(cell, seed) for cell, seed in left if not _done(settled, cell, seed, say, total)]
        if len(held) == len(left):
            if not waiting:
                say(f"waiting for {len(held)} run(s) of other processes")
            time.sleep(_WAIT_SECONDS)
        waiting = len(held) == len(left)
        left = held
    results = read_results(settled)
    _finish(settled, results, say)
    return results


def read_results(settled: Plan) -> Results:
    """What lies in the study's folder so far, also of seeds that this start was not asked for."""
    outcomes: dict[str, list[Outcome]] = {}
    for cell in settled.cells:
        for seed in _seeds_of(settled, cell):
            record = _record(settled, cell, seed)
            if record is not None:
                outcome = Outcome(seed, record["metrics"], record.get("failed"), record)
                outcomes.setdefault(cell.key, []).append(outcome)
    return Results(settled.cells, outcomes, settled.test_images)


def _finish(settled: Plan, results: Results, say: Say) -> None:
    def run_of(factors: Factors) -> RunConfig | None:
        found = results.find(**factors)
        ran = found and _record(settled, found[0], settled.seeds[0])
        run = settled.run_of(found[0], settled.seeds[0]) if ran and ran["metrics"] else None
        return run if run and newest_checkpoint(run.model_dir) else None

    folder = settled.base.model_dir
    verdicts = settled.study.conclude(results)
    pictures = [output.main_picture(settled, results, verdicts)]
    if settled.study.extras is not None:
        try:
            pictures += settled.study.extras(Extras(settled.base, run_of))
        except Exception as error:  # a damaged checkpoint or image must not cost the results
            say(f"note: the study's further figures can't be drawn: {one_line(error)}")
    output.write(folder, settled, results, verdicts, pictures)
    say("")
    say(output.text_table(settled, results))
    for verdict in verdicts:
        say(verdict.sentence)
    for cell in settled.cells:
        for outcome in results.outcomes.get(cell.key, ()):
            if outcome.failed:
                say(f"note: {run_name(cell, outcome.seed)} has no figures: {outcome.failed}")
    say(f"Tables and figures: {os.path.join(folder, settled.study.name)}.*")


def _done(settled: Plan, cell: Cell, seed: int, say: Say, total: int) -> bool:
    """Runs a cell unless it has a result; False where another process is at it."""
    if _record(settled, cell, seed) is not None:
        return True
    with _claim(settled, cell, seed) as mine:
        if not mine:
            return False
        if _record(settled, cell, seed) is None:  # not finished since we looked
            record = _run(settled, cell, seed, say)
            write_json(_result_path(settled, cell, seed), record)
            output.write_tables(settled.base.model_dir, settled, read_results(settled))
            say(f"{_number_done(settled)} of {total}: {_describe(cell, seed, record)}")
    return True


def _run(settled: Plan, cell: Cell, seed: int, say: Say) -> dict[str, Any]:
    with naming_cell(cell):
        run = settled.run_of(cell, seed)
        begun = newest_checkpoint(run.model_dir) is not None
        say(f"{_name(cell, seed)}{', from its last checkpoint' if begun else ''} ...")
        try:
            record = run_cell(run, silent)
        except InUseError:
            raise
        except InputError as error:
            if error.name != "model_dir":
                raise
            # Of the cell, not of the study.
            raise InputError(run.model_dir, "must be the folder of a run as this cell left it, or "
                             f"be removed to begin anew ({error.constraint})",
                             error.received) from None  # fmt: skip
        except (NonFiniteLossError, tf.errors.ResourceExhaustedError) as error:
            record = dict(failure(error))
    require(bool(record.get("failed")) or cell.metric in record["metrics"], "eval_split",
            f"must have labels: a cell has no {cell.metric}", run.data.eval_split)  # fmt: skip
    return {
        "study": settled.study.name,
        "factors": dict(cell.factors),
        "seed": seed,
        "settings": dict(cell.settings),
        **record,
        "paper": cell.paper,
        "metric": cell.metric,
        "model_dir": os.path.relpath(run.model_dir, settled.base.model_dir),
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__},
    }


@contextlib.contextmanager
def _claim(settled: Plan, cell: Cell, seed: int) -> Iterator[bool]:
    """Whether this process may run the cell; the lock ends with the process, however it ends."""
    folder = os.path.join(settled.base.model_dir, "claims", run_name(cell, seed))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_run(folder, silent))
        except InUseError:
            yield False
            return
        yield True


def _record(settled: Plan, cell: Cell, seed: int) -> dict[str, Any] | None:
    path = _result_path(settled, cell, seed)
    try:
        record = find_json(path)
        if record is not None:
            _check_record(record, cell)
        return record
    except ValueError as error:
        raise InputError(path, f"must be the result of a cell, or be removed ({error})",
                         path) from None  # fmt: skip


def _check_record(record: Any, cell: Cell) -> None:
    """Raises `ValueError` where a record can't be what a cell wrote."""
    require_valid(isinstance(record, dict) and isinstance(record.get("metrics"), dict),
                  "metrics must be an object")  # fmt: skip
    for name, value in record["metrics"].items():
        is_number = type(value) in (int, float) and math.isfinite(value)
        require_valid(is_number, f"{name} must be a number")
        is_share = name.endswith(("accuracy", "accuracy_z", "contrast_acc"))
        require_valid(not is_share or 0 <= value <= 1, f"{name} must lie in [0, 1]")
    failed = record.get("failed")
    require_valid(failed is None or isinstance(failed, str), "failed must be a text")
    require_valid(bool(failed) or cell.metric in record["metrics"], f"it has no {cell.metric}")


def _result_path(settled: Plan, cell: Cell, seed: int) -> str:
    return os.path.join(settled.base.model_dir, "results", f"{run_name(cell, seed)}.json")


def _seeds_of(settled: Plan, cell: Cell) -> list[int]:
    """The seeds that a cell has a result for."""
    folder = pathlib.Path(settled.base.model_dir, "results")
    found = [plan.seed_in(path.stem, cell) for path in folder.glob("*.json")]
    return sorted(seed for seed in found if seed is not None)


def _number_done(settled: Plan) -> int:
    paths = [_result_path(settled, cell, seed) for cell in settled.cells for seed in settled.seeds]
    return sum(os.path.exists(path) for path in paths)


def _name(cell: Cell, seed: int) -> str:
    what = ", ".join(f"{name} {output.plain(value)}" for name, value in cell.factors.items())
    return f"{what}, seed {seed}"


def _describe(cell: Cell, seed: int, record: dict[str, Any]) -> str:
    if record.get("failed"):
        return f"{_name(cell, seed)}: failed, {record['failed']}"
    value = record["metrics"][cell.metric]
    return f"{_name(cell, seed)}: {100 * value:.1f} % in {record['seconds']:.0f} s"
