"""From images, machine and time to settings that a run records, and to lines that say why."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from simclr_tf import run_folder
from simclr_tf.automatic import choice, facts, pace
from simclr_tf.console import Say
from simclr_tf.data import holdout, sources
from simclr_tf.errors import require
from simclr_tf.experiment import NOTHING, Given
from simclr_tf.job import open_job
from simclr_tf.settings import by_name, commands, recipes
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.devices import StrategyConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.units import format_duration


def settle(
    name: str,
    given: Mapping[str, Any],
    budget: str | None,
    say: Say,
    objects: Given = NOTHING,
) -> dict[str, Any]:
    """The settings of an automatic recipe, beside those that somebody gave.

    A run that was begun in the folder goes on with what was chosen then.

    Example:
        `settle("photos", {"dataset": "folder:photos", "model_dir": "runs/a"}, "10m", print)`

    Args:
        name: One of `recipes.AUTOMATIC`.
        given: Settings by name, which stay as they are; `model_dir` and `dataset` among them.
        budget: Time for the training, see `recipes.budget_seconds`; None takes an hour.
        say: Hears what is chosen and why.
        objects: What was handed over instead of names.

    Raises:
        InputError: Images, settings or devices don't fit; the run was begun with another budget.
    """
    begun = _begun(given, budget)
    if begun is not None:
        return begun
    seconds = recipes.budget_seconds(budget)
    job = open_job(_part(StrategyConfig, given), say)
    require(job.workers == 1, "recipe", f"must not be {name} with several workers, which have to "
            "choose alike: give all of them the flags that it prints on one", name)  # fmt: skip
    data = _part(DataConfig, given)
    whole = objects.source or sources.open_source(data, say)
    source = holdout.hold_out(whole, holdout.share_of(whole, data))
    pictures, machine = facts.pictures_of(source, data.train_split), facts.machine_of(job)
    require(name != "photos" or pictures.channels == 3, "recipe", "must be auto with images of "
            f"{pictures.channels} channels", name)  # fmt: skip
    say(f"--recipe={name}: {pictures.images:,} images of {pictures.side} px, "
        f"{format_duration(seconds)} on {machine}")  # fmt: skip
    chosen = choice.choose(pictures, machine, seconds)
    settings = _without_idle(chosen.settings, given)
    if objects.encoder is not None or str(given.get("encoder")).endswith(".keras"):
        settings.pop("precision", None)  # its layers have an arithmetic of their own
    reasons = list(chosen.reasons)
    batch = int(given.get("train_batch_size") or settings["train_batch_size"])
    per_epoch = max(1, pictures.images // batch)
    steps = int(given.get("train_steps") or given.get("train_epochs", 0) * per_epoch)
    why = "of the steps that were given"
    if not steps:
        timed = _timed(settings, given, objects, say)
        steps, why = choice.steps(per_epoch, seconds, timed)
        settings["train_steps"] = steps
    around = choice.around(steps, per_epoch)
    settings |= {key: value for key, value in around.items() if key not in given}
    reasons.append((" ".join(("train_steps", *around)), why))
    for line in _lines(settings, reasons):
        say(line)
    return settings


def _begun(given: Mapping[str, Any], budget: str | None) -> dict[str, Any] | None:
    """What was chosen for the run in the folder, None where there is none."""
    folder = os.path.expanduser(str(given.get("model_dir") or ""))
    record = (run_folder.read_config(folder) or {}) if folder else {}
    if not record:
        return None
    started = (run_folder.read_flags(folder) or {}).get("budget")
    require(budget in (None, started), "budget", f"must be {started}, as the run in {folder} was "
            "begun, or be left out", budget)  # fmt: skip
    return {key: record[key] for key in choice.NAMES
            if key not in given and record.get(key) is not None}  # fmt: skip


def _part(config: type[Any], given: Mapping[str, Any]) -> Any:
    names = by_name.setting_names(config)
    return by_name.build_config(config, {key: given[key] for key in names if key in given})


def _without_idle(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What of the chosen settings is read beside the given ones, and was not given."""
    values = {**by_name.setting_defaults(RunConfig), **settings, **given}
    idle = commands.idle("train_then_eval", values)
    return {key: value for key, value in settings.items() if key not in given and key not in idle}


def _timed(
    settings: Mapping[str, Any], given: Mapping[str, Any], objects: Given, say: Say
) -> float:
    say("a few steps are taken to time them ...")
    values = {**by_name.setting_defaults(RunConfig), "model_dir": "unused", **settings, **given}
    run = _part(RunConfig, values)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return pace.seconds_per_step(run, objects)


def _lines(settings: Mapping[str, Any], reasons: list[tuple[str, str]]) -> list[str]:
    """What is chosen as flags, with the reasons, and the rest in one line."""
    lines, said = [], set()
    for names, why in reasons:
        shown = [key for key in names.split() if key in settings]
        said |= set(shown)
        if shown:
            flags = " ".join(f"--{key}={settings[key]}" for key in shown)
            lines.append(f"  {flags}  ({why})")
    rest = " ".join(f"--{key}={value}" for key, value in settings.items() if key not in said)
    return [*lines, f"  {rest}"]
