"""From the words of a command line to a `RunConfig`."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
from collections.abc import Sequence
from typing import Any

from absl import flags

from flags import definitions
from simclr_tf import recipes
from simclr_tf.config import RunConfig
from simclr_tf.errors import InputError, require


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A parsed command line.

    Attributes:
        mode: `train`, `eval` or `train_then_eval`.
        config: The settings of the run.
        flags: Every flag's value by name, as written to `flags.json`.
        notes: Lines to tell the user, such as an accepted flag that has no effect.
        debug: Whether tracebacks are wanted.
    """

    mode: str
    config: RunConfig
    flags: dict[str, Any]
    notes: tuple[str, ...]
    debug: bool


class UsageError(ValueError):
    """The command line itself can't be read (an unknown flag, a value of the wrong type)."""


def _read(words: Sequence[str]) -> flags.FlagValues:
    values = definitions.define_flags()
    try:
        rest = values(["run.py", *words])[1:]
    except flags.Error as error:
        raise UsageError(" ".join(str(error).split())) from None
    if rest:
        raise UsageError(f"flags have the form --name=value. Received: {rest[0]!r}")
    return values


def _recorded_words(model_dir: str, given: flags.FlagValues) -> list[str]:
    """The flags that an existing run was started with."""
    path = os.path.join(model_dir, "flags.json")
    if not os.path.isfile(path):
        return []
    try:
        with open(path) as file:
            recorded = dict(json.load(file))
    except (TypeError, ValueError) as error:
        raise InputError(path, f"must be a JSON object ({error})", model_dir) from None
    skipped = {"mode", "recipe", "debug", "model_dir"}
    if given.mode == "eval":
        skipped.add("checkpoint")  # where the run started from, not what it has to show
    words = [
        f"--{name}={value}"
        for name, value in recorded.items()
        if name in given and name not in skipped and value is not None
    ]
    try:
        _read(words)
    except UsageError as error:
        raise InputError(path, f"must hold valid flags ({error})", model_dir) from None
    return words


def _foundation(given: flags.FlagValues) -> tuple[str, list[str]]:
    """The name that the run is called after, and the words that the user's flags override."""
    if given["recipe"].value is not None:
        return given.recipe, recipes.recipe_lines(given.recipe)
    if given["dataset"].present:
        return re.sub(r"[^\w.-]+", "_", given.dataset).strip("_"), []
    model_dir = os.path.expanduser(given.model_dir or "")
    if model_dir and (recorded := _recorded_words(model_dir, given)):
        return "recorded", recorded
    return "quickstart", recipes.recipe_lines("quickstart")


def _default_model_dir(name: str) -> str:
    return os.path.join("runs", f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def parse_command_line(words: Sequence[str]) -> CommandLine:
    """Reads a command line; any flag given wins over those that a recipe sets.

    Without `--recipe` and `--dataset`, an existing run in `--model_dir` goes on with its own flags,
    and a new run takes the recipe `quickstart`.

    Args:
        words: The command line without the program's name.

    Raises:
        UsageError: A flag is unknown, or its text can't be read as its type.
        InputError: A value breaks its constraint.
    """
    given = _read(words)
    name, base = _foundation(given)
    values = _read([*base, *words])
    require(values.mode in definitions.MODES, "mode",
            f"must be one of {', '.join(definitions.MODES)}", values.mode)  # fmt: skip
    for path in ("model_dir", "data_dir", "checkpoint"):
        if values[path].value:  # shells leave the ~ of --name=~/x alone
            values[path].value = os.path.expanduser(values[path].value)
    if not values.model_dir:
        require(values.mode != "eval", "model_dir", "must name the run to evaluate with mode=eval",
                values.model_dir)  # fmt: skip
        values.model_dir = _default_model_dir(name)
    if given["recipe"].value is None and name == "quickstart":
        values.recipe = name
    everything = {key: values[key].value for key in values if key not in ("help", "?")}
    owned = set(definitions.run_flag_names()) - {"model_dir", "checkpoint"}
    settings = {key: value for key, value in everything.items() if key not in owned}
    notes = []
    if given["train_summary_steps"].present:
        notes.append("--train_summary_steps has no effect here; summaries follow the run's length")
    config = recipes.build_run_config(settings)
    return CommandLine(values.mode, config, everything, tuple(notes), values.debug)


def describe_error(error: Exception) -> str:
    """One line for stderr; settings are spelled as flags."""
    if isinstance(error, InputError):
        is_flag = error.name in definitions.define_flags()
        return error.describe(f"--{error.name}" if is_flag else error.name)
    return " ".join(str(error).split())
