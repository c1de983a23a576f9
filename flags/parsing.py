"""From the words of a command line to a command (`simclr_tf.settings.commands`)."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from absl import flags

from simclr_tf import cluster, run_folder, startup
from simclr_tf.config import (
    AugmentConfig,
    DataConfig,
    EncoderConfig,
    OptimizerConfig,
    RunConfig,
    StrategyConfig,
    TrainConfig,
)
from simclr_tf.console import say
from simclr_tf.data import trust
from simclr_tf.errors import InputError, require, require_choice
from simclr_tf.files import is_remote
from simclr_tf.settings import by_name, commands, overrides, recipes
from simclr_tf.weights import archives, buckets, published

from . import definitions, flagfile, foreign, wording

# Modes that take any encoder instead of a run.
ENCODER_MODES = ("evaluate", "embed", "neighbors", "explore")
# Commands that find the images of a file of embeddings, whose folder may have moved.
_SEARCHING = (commands.Neighbors, commands.Explore)
# Modes that serve others and have no run.
SERVICE_MODES = ("data_dispatcher", "data_worker")
_AUTOMATIC_MODES = ("train", "train_then_eval")
# What a run does not keep in its flags; the reference does.
_UNRECORDED = frozenset({"help", "?", "cache_dir", *definitions.LOGGING, "v"})
_ALL_SETTINGS = frozenset(
    name for command in commands.COMMANDS.values() for name in by_name.setting_names(command)
)
_PATHS = ("model_dir", "data_dir", "checkpoint", "teacher", "feature_cache", "compare_with",
          "output", "embeddings", "query", "labels", "cache_dir")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A parsed command line.

    Attributes:
        mode: One of `definitions.MODES`.
        config: What is asked for, of the type that `commands.COMMANDS` has for the mode.
        flags: Every flag's value by name, as written to `flags.json`.
        notes: Lines to tell the user, such as an accepted flag that has no effect.
        debug: Whether tracebacks are wanted.
        num_workers: Processes of the job that this one is part of.
        verbosity: What TensorFlow may say, by absl's numbers; None leaves it to us.
        given: Names of the flags that the user wrote.
        cache_dir: Folder for what is fetched; None for the usual one.
    """

    mode: str
    config: Any
    flags: dict[str, Any]
    notes: tuple[str, ...]
    debug: bool
    num_workers: int = 1
    verbosity: int | None = None
    given: frozenset[str] = frozenset()
    cache_dir: str | None = None


class UsageError(ValueError):
    """The command line itself can't be read (an unknown flag, a value of the wrong type)."""


def _read(words: Sequence[str]) -> flags.FlagValues:
    values = definitions.define_flags()
    try:
        rest = values(["run.py", *words])[1:]
    except (flags.Error, ValueError) as error:
        raise UsageError(wording.plain(error, foreign.FLAGS)) from None
    if rest:
        raise UsageError(f"flags have the form --name=value. Received: {rest[0]!r}")
    return values


def _recorded_flags(folder: str) -> dict[str, Any]:
    """The flags that an existing run was started with, {} where there is none."""
    recorded = run_folder.read_flags(folder) or {}
    try:
        _read(_words(recorded))
    except UsageError as error:
        path = os.path.join(folder, run_folder.FLAGS)
        raise InputError(path, f"must hold valid flags ({error})", folder) from None
    return cluster.of_now(recorded)


def _words(recorded: Mapping[str, Any]) -> list[str]:
    known = definitions.define_flags()
    return [
        f"--{name}={value}"
        for name, value in recorded.items()
        if name in known and name not in _UNRECORDED and value not in (None, "")
    ]


def _recorded_words(model_dir: str, given: flags.FlagValues) -> list[str]:
    """What a run that goes on, or is evaluated, takes over from its start."""
    skipped = {"mode", "recipe", "budget", "debug", "model_dir"}
    if given.mode == "eval":
        skipped.add("checkpoint")  # where the run started from, not what it has to show
    recorded = _recorded_flags(model_dir)
    if given.mode != "eval":
        _check_reach(recorded, given)
        recorded |= _recorded_data(recorded, given)
    return _words({name: value for name, value in recorded.items() if name not in skipped})


def _check_reach(recorded: Mapping[str, Any], given: flags.FlagValues) -> None:
    """Refuses what leads a run that goes on to other machines or code, unless it is given again.

    The folder may be somebody else's.
    """
    for name in ("tpu_name", "master", "data_service", "checkpoint", "teacher"):
        value = recorded.get(name)
        reaches = value and (name not in ("checkpoint", "teacher") or _is_fetched(str(value)))
        without = name in cluster.TPU_NAMES and given["use_tpu"].present and not given.use_tpu
        require(not reaches or given[name].present or without, name, "must be given again: the "
                "record of a run leads to no other machine by itself", value)  # fmt: skip
    encoder = recorded.get("encoder")
    runs_code = isinstance(encoder, str) and EncoderConfig(encoder=encoder).is_function
    require(not runs_code or given["encoder"].present, "encoder", "must be given again: the record "
            "of a run imports no code by itself", encoder)  # fmt: skip
    functions = ":" in str(recorded.get("views") or "")
    require(not functions or given["views"].present, "views", "must be given again: the record of "
            "a run names functions that would be imported", recorded.get("views"))  # fmt: skip


def _is_fetched(path: str) -> bool:
    """Whether weights lie elsewhere, and no copy of published ones is here."""
    return is_remote(path) or (published.is_name(path)
                               and buckets.kept(published.address(path)) is None)  # fmt: skip


def _words_for_protocols(given: flags.FlagValues) -> list[str]:
    """What `evaluate` takes over from the run that trained the encoder: its images and schedule.

    The architecture comes from the weights. With another data set only the schedule counts. The run
    may be somebody else's: nothing else that its record names is opened or asked.
    """
    path = os.path.expanduser(given.checkpoint or given.model_dir or "")
    parts = [AugmentConfig, OptimizerConfig, TrainConfig]
    if not given["dataset"].present:
        parts.append(DataConfig)
    names = {name for part in parts for name in by_name.setting_names(part)}
    names -= {"label_subset", "data_service", "views"}
    # A checkpoint lies in its run's folder, an export two levels below it.
    if published.is_name(path):
        return []
    folders = [path, os.path.dirname(path), os.path.dirname(os.path.dirname(path))] if path else []
    if buckets.is_address(path):  # the record is fetched with the weights
        with archives.caching_in(given.cache_dir):
            folders = [os.path.dirname(buckets.fetch(path))]
    for folder in folders:
        if recorded := _recorded_flags(folder or "."):
            chosen = {name: value for name, value in recorded.items() if name in names}
            return _words({**chosen, **_recorded_data(chosen, given)})
    return []


def _recorded_data(recorded: Mapping[str, Any], given: flags.FlagValues) -> dict[str, Any]:
    """The data set of a record, with the folder that was given instead, if any."""
    if "dataset" not in recorded:
        return {}
    if given["data_dir"].present:
        return {"dataset": trust.recorded_name(recorded["dataset"]), "data_dir": None}
    data = trust.recorded_data(recorded["dataset"], recorded.get("data_dir"), remote=True)
    return dict(zip(("dataset", "data_dir"), data, strict=True))


def _foundation(given: flags.FlagValues, settles: bool = True) -> tuple[str, list[str]]:
    """The name that the run is called after, and the words that the user's flags override.

    Args:
        given: The user's flags.
        settles: Whether an automatic recipe looks at images and machine; else it sets nothing.
    """
    if given.mode in SERVICE_MODES:
        return given.mode, []
    if given.mode in ENCODER_MODES:
        recipe = recipes.recipe_lines(given.recipe) if given.recipe else []
        words = _words_for_protocols(given) if given.mode == "evaluate" else []
        return given.mode, [*words, *recipe]
    if given.recipe in recipes.AUTOMATIC:
        return given.recipe, _automatic(given) if settles else []
    if given["recipe"].value is not None:
        words = recipes.recipe_lines(given.recipe)
        named = given["dataset"].present or any(one.startswith("--dataset=") for one in words)
        shipped = given.recipe in recipes.recipe_names()
        require(named or shipped, "dataset", "must be given, here or in the recipe", None)
        return recipes.recipe_title(given.recipe), words
    if given["dataset"].present:
        return re.sub(r"[^\w.-]+", "_", given.dataset).strip("_"), []
    model_dir = os.path.expanduser(given.model_dir or "")
    if model_dir and (recorded := _recorded_words(model_dir, given)):
        return "recorded", recorded
    return "quickstart", recipes.recipe_lines("quickstart")


def _automatic(given: flags.FlagValues) -> list[str]:
    """What an automatic recipe chooses for the images of the command line, as words."""
    require(given["dataset"].present, "dataset", f"must name the images with --recipe="
            f"{given.recipe}", None)  # fmt: skip
    settings = {name: given[name].value for name in by_name.setting_names(RunConfig)
                if given[name].present}  # fmt: skip
    for name in _PATHS:
        if settings.get(name):
            settings[name] = os.path.expanduser(settings[name])
    startup.load_tensorflow(given.verbosity)
    from simclr_tf.automatic import recipe  # brings TensorFlow

    found = recipe.settle(given.recipe, settings, given.budget, say)
    return [f"--{name}={value}" for name, value in found.items()]


def _default_model_dir(name: str) -> str:
    return os.path.join("runs", f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def read(words: Sequence[str]) -> flags.FlagValues:
    """The flags of a command line, those of `--flagfile` among them, without any recipe.

    Raises:
        UsageError: A flag is unknown, or its text can't be read as its type.
        InputError: See `flagfile.expand`.
    """
    return _read([word for word in flagfile.expand(words) if not word.startswith("--help")])


def in_force(words: Sequence[str]) -> tuple[str, str, flags.FlagValues]:
    """The mode of a command line, where its defaults come from, and all values.

    Raises:
        UsageError, InputError: See `parse_command_line`.
    """
    words = flagfile.expand(words)
    given = _read(words)
    _check_mode_name(given.mode)
    name, base = _foundation(given, settles=False)
    base, _ = _without_overridden(base, given, "recipe")
    return given.mode, _origin(name, given.recipe), _read([*base, *words])


def _origin(name: str, recipe: str | None) -> str:
    """Where defaults come from, in words."""
    if recipe or name == "quickstart":
        return f"what the recipe {recipe or name} sets"
    if name == "recorded":
        return "what the run in --model_dir was started with"
    return "the defaults"


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
    words = flagfile.expand(words)
    given = _read(words)
    _check_texts(given)
    _check_mode_name(given.mode)
    _check_budget(given)
    name, base = _foundation(given)
    base, notes = _without_overridden(base, given, "run" if name == "recorded" else "recipe")
    values = _read([*base, *words])
    require_choice("mode", values.mode, definitions.MODES)
    for path in _PATHS:
        if values[path].value:  # shells leave the ~ of --name=~/x alone
            values[path].value = os.path.expanduser(values[path].value)
    if values.mode == "evaluate":
        _require_encoder(values, base)
    _check_mode(values, given)
    strategy = _strategy(values)
    if unused := strategy.unused_names:
        reason = "with --use_tpu=False" if strategy.use_tpu is False else "without a TPU"
        notes.append(f"{_listed(unused)} no effect {reason}")
        for unused_name in unused:  # a record of the run shall not name what it does not use
            values[unused_name].value = None
    several = strategy.is_multi_worker(os.environ)
    require(not several or values.mode not in (*ENCODER_MODES, "study"), "strategy",
            f"must not be multi_worker with --mode={values.mode}, which runs on one machine",
            "multi_worker")  # fmt: skip
    if not values.model_dir:
        require(not several or values.mode in SERVICE_MODES, "model_dir",
                "must be given with several workers, which have to share it", None)  # fmt: skip
        require(values.mode != "eval", "model_dir", "must name the run to evaluate with mode=eval",
                values.model_dir)  # fmt: skip
        values.model_dir = _default_model_dir(f"{values.study}-{name}" if values.study else name)
    if given["recipe"].value is None and name == "quickstart":
        values.recipe = name
    everything = {key: values[key].value for key in values if key not in _UNRECORDED}
    asked = {key for key in given if given[key].present}
    return CommandLine(
        values.mode,
        _command(everything, asked),
        everything,
        (*notes, *_without_effect(given), *_idle(everything, asked)),
        values.debug,
        num_workers=cluster.num_tasks(os.environ) if several else 1,
        verbosity=values.verbosity,
        given=frozenset(asked),
        cache_dir=values.cache_dir,
    )


def _command(values: Mapping[str, Any], given: Collection[str]) -> Any:
    """What is asked for, from the values of all flags; other commands' flags do not count.

    Raises:
        InputError: A value breaks its constraint.
    """
    mode = values["mode"]
    command = commands.COMMANDS[mode]
    names = set(by_name.setting_names(command))
    if mode == "embed" and "eval_split" not in given:
        names.discard("eval_split")
    settings = {name: value for name, value in values.items() if name in names}
    if command in _SEARCHING:
        settings["image_folder"] = _image_folder(values, given)
    built = by_name.build_filled(command, settings)
    if command in (commands.Evaluate, commands.Embed) and "image_size" not in given:
        return dataclasses.replace(built, image_size=None)  # the encoder's own
    return built


def _image_folder(values: Mapping[str, Any], given: Collection[str]) -> str | None:
    """The folder that `--dataset=folder:PATH` names, None where no data set is given."""
    if "dataset" not in given:
        return None
    kind, _, path = str(values["dataset"]).partition(":")
    require(kind == trust.FOLDER, "dataset", f"must be folder:PATH with --mode={values['mode']}: "
            "where the images of the embeddings lie now", values["dataset"])  # fmt: skip
    return os.path.expanduser(path or values["data_dir"] or "") or None


def _idle(values: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """A note on flags of the reference that this command does not read.

    Raises:
        InputError: Another flag was given that it does not read.
    """
    mode = values["mode"]
    known = commands.reads(mode)
    if commands.COMMANDS[mode] in _SEARCHING:
        known |= {"dataset", "data_dir"}
    reasons = {name: f"mode={mode}" for name in _ALL_SETTINGS - known}
    reasons |= commands.idle(mode, values)
    noted: dict[str, list[str]] = {}
    for name in sorted(reasons.keys() & set(given)):
        of_reference = mode in (*commands.TRAINING_MODES, "evaluate") and (
            name in definitions.REFERENCE and not reasons[name].startswith("encoder=")
        )
        if of_reference:
            noted.setdefault(reasons[name], []).append(name)
            continue
        constraint = f"has no effect with --{reasons[name]}"
        if reasons[name] == f"mode={mode}":
            constraint += f", only with --mode={', '.join(commands.modes_that_read(name))}"
        raise InputError(name, constraint, values[name])
    notes = [f"{_listed(names)} no effect with --{reason}" for reason, names in noted.items()]
    if "fine_tune_after_block" in noted.get("mode=evaluate", ()):
        notes.append("the protocol's flag is --finetune_after_block")
    return notes


def _check_texts(given: flags.FlagValues) -> None:
    """Refuses texts that can't be meant: empty ones, and those that are no text here."""
    for name in given:
        value = given[name].value
        if not given[name].present or not isinstance(value, str):
            continue
        by_name.require_filled(name, value)
        if value.isascii():
            continue
        require(sys.getfilesystemencoding() == "utf-8", name, "must be plain ASCII with the "
                "language that is set here (PYTHONUTF8=1 or LC_ALL=C.UTF-8 allows more)",
                value)  # fmt: skip
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(name, "must be a text in UTF-8", value) from None


def _without_overridden(
    base: Sequence[str], given: flags.FlagValues, origin: str
) -> tuple[list[str], list[str]]:
    """The words of a recipe or run that still count beside the given flags, and notes."""
    settings = dict(word.removeprefix("--").split("=", 1) for word in base)
    asked = {name: given[name].value for name in given if given[name].present}
    off = overrides.switched_off(settings, asked)
    changed = {name: by for name, by in off.items() if settings[name] != str(given[name].default)}
    notes = [f"--{by} is given: the {origin}'s --{name}={settings[name]} does not count"
             for name, by in changed.items()]  # fmt: skip
    return [f"--{name}={text}" for name, text in settings.items() if name not in off], notes


def _check_mode_name(mode: str) -> None:
    """Refuses what is no mode; what other programs call one is answered with ours."""
    ours = foreign.MODES.get(mode)
    require(ours is None, "mode", f"must be a mode of this program; use {ours}", mode)
    require_choice("mode", mode, definitions.MODES)


def _check_budget(given: flags.FlagValues) -> None:
    """Refuses an automatic recipe where nothing is trained, and a budget for another one."""
    automatic = given.recipe in recipes.AUTOMATIC
    names = " or ".join(recipes.AUTOMATIC)
    require(automatic or given.budget is None, "budget", f"needs --recipe={names}", given.budget)
    if automatic:
        require(given.mode in _AUTOMATIC_MODES, "recipe", "must not be automatic with "
                f"--mode={given.mode}, only with {', '.join(_AUTOMATIC_MODES)}",
                given.recipe)  # fmt: skip
        recipes.budget_seconds(given.budget)


def _check_mode(values: flags.FlagValues, given: flags.FlagValues) -> None:
    """Refuses what a mode needs and lacks, or must not have."""
    if values.mode == "embed":
        require(given["dataset"].present, "dataset", "must name the images with --mode=embed",
                None)  # fmt: skip
    if values.mode in SERVICE_MODES:
        require(bool(values.data_service), "data_service",
                f"must be given with --mode={values.mode}", None)  # fmt: skip
        address = values.worker_address
        require(address is None or cluster.is_address(address), "worker_address",
                "must have the form host:port, the port from 1 to 65535", address)  # fmt: skip


def _strategy(values: flags.FlagValues) -> StrategyConfig:
    names = by_name.setting_names(StrategyConfig)
    return StrategyConfig(**{name: values[name].value for name in names})


def _without_effect(given: flags.FlagValues) -> list[str]:
    """Notes on given flags that do nothing, or that were given several times."""
    notes = []
    if given["train_summary_steps"].present:
        notes.append("--train_summary_steps has no effect here; summaries follow the run's length")
    if given["variable_schema"].present:
        notes.append("--variable_schema has no effect here; what fits is restored, and said")
    ignored = [name for name in definitions.LOGGING if given[name].present and name != "verbosity"]
    if ignored:
        notes.append(f"{_listed(ignored)} no effect here: lines go to the standard output, errors "
                     "to the standard error stream")  # fmt: skip
    for name in dict.fromkeys(given[name].name for name in given):
        if given[name].present > 1:
            notes.append(f"--{name} is given {given[name].present} times; the last one counts, "
                         f"{given[name].value!r}")  # fmt: skip
    folder = given.dataset or ""
    if folder.startswith("folder:") and given["data_dir"].present and given.mode != "evaluate":
        notes.append("--data_dir has no effect with --dataset=folder:PATH")
    return notes


def _listed(names: Sequence[str]) -> str:
    verb = "has" if len(names) == 1 else "have"
    return f"{', '.join(f'--{name}' for name in names)} {verb}"


def _require_encoder(values: flags.FlagValues, base: Sequence[str]) -> None:
    """An encoder and images are needed; a run in `model_dir` has both."""
    require(bool(values.checkpoint or values.model_dir), "checkpoint",
            "or --model_dir must name an encoder with --mode=evaluate",
            values.checkpoint)  # fmt: skip
    known = values["dataset"].present or any(word.startswith("--dataset=") for word in base)
    require(known, "dataset", "must be given: the encoder's own is not recorded beside it",
            values.checkpoint or values.model_dir)  # fmt: skip


def describe_error(error: Exception) -> str:
    """One line for stderr; settings are spelled as flags."""
    if isinstance(error, InputError):
        is_flag = error.name in ("flagfile", "help") or error.name in definitions.define_flags()
        return error.describe(f"--{error.name}" if is_flag else error.name)
    return " ".join(str(error).split())
