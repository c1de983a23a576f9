"""Recipes: text files of `--name=value` lines, the project's (`flags/recipes/`) or the user's."""

from __future__ import annotations

import os
import pathlib
import re
import typing
from collections.abc import Mapping
from typing import Any

from simclr_tf.errors import InputError, did_you_mean, one_line, require, require_choice
from simclr_tf.settings import by_name, commands, overrides
from simclr_tf.settings.run import RunConfig

Command = typing.TypeVar("Command")

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
# An installation carries the flags inside the package, a checkout beside it.
_FOLDERS = (_PACKAGE / "flags" / "recipes", _PACKAGE.parent / "flags" / "recipes")
_SUFFIX = ".flags"
# Recipes whose settings follow from images, machine and time: name -> what `simclr recipes` shows.
AUTOMATIC = {
    "photos": """\
# Own photographs: network, image size, batch and length follow from them, machine and --budget.
#
# Command:   python run.py --mode=train_then_eval --recipe=photos --dataset=folder:DIR --budget=1h
# Chosen:    by the rules of docs/recipes.md; a few steps are timed to know how many fit
# Said:      every choice, with the reason, as flags that give the same run again""",
    "auto": """\
# As photos, for images of any kind: arrays of other channels get views without colours.
#
# Command:   python run.py --mode=train_then_eval --recipe=auto --dataset=NAME --budget=1h""",
}
DEFAULT_BUDGET = "1h"
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_LEAST_BUDGET, _MOST_BUDGET = 10, 365 * 86_400
_MOST_BYTES = 2**20
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}  # absl's


def recipe_names() -> list[str]:
    """The recipes that ship with the project."""
    return sorted(path.stem for path in _folder().glob(f"*{_SUFFIX}"))


def budget_seconds(text: str | None) -> float:
    """The seconds that `10m`, `1h` or `1.5d` means; an hour for None.

    Raises:
        InputError: It is no time, or under 10 seconds or above a year.
    """
    found = _BUDGET.fullmatch((text or DEFAULT_BUDGET).strip().lower())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    require(_LEAST_BUDGET <= seconds <= _MOST_BUDGET, "budget", "must be a time from 10s to 365d, "
            "like 10m, 1h or 8h", text)  # fmt: skip
    return seconds


def recipe_title(name: str) -> str:
    """What a recipe is called after in the names of files: a file's stem."""
    return pathlib.Path(name).stem if _is_path(name) else name


def recipe_text(name: str) -> str:
    """A recipe as it stands in its file, comments included.

    Args:
        name: One of `recipe_names`, or the path of a file: with a separator in it, or the suffix
            `.flags`.

    Raises:
        InputError: There is no such recipe, or the file can't be read as text.
    """
    if name in AUTOMATIC:
        return AUTOMATIC[name]
    if not _is_path(name):
        require(not os.path.isfile(name), "recipe", "must have a / in it, or end in .flags, where "
                "it is a file", name)  # fmt: skip
        require_choice("recipe", name, [*AUTOMATIC, *recipe_names()])
        return (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    path = os.path.expanduser(name)
    try:
        there = os.path.isfile(path)
    except ValueError:  # a zero byte
        there = False
    require(there, "recipe", "must be a file that exists, or one of "
            f"{', '.join((*AUTOMATIC, *recipe_names()))}", name)  # fmt: skip
    return read_text(path, "recipe", "must be a file of at most 1 MiB", name)


def read_text(path: str, setting: str, form: str, shown: str) -> str:
    """The text of a file of flags.

    Args:
        path: A file that exists.
        setting: Which names it, for errors.
        form: What is said of one above 1 MiB.
        shown: The path as it was given.

    Raises:
        InputError: It can't be read as text in UTF-8, or is larger.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(setting, f"must be a readable text in UTF-8 ({one_line(error)})",
                         shown) from None  # fmt: skip
    require(len(content) <= _MOST_BYTES, setting, form, shown)
    return text


def recipe_lines(name: str) -> list[str]:
    """The `--name=value` lines of a recipe, comments and blank lines removed.

    Args:
        name: See `recipe_text`.

    Raises:
        InputError: See `recipe_text`; or a line has another form, or names no setting.
    """
    stripped = (line.strip() for line in recipe_text(name).splitlines())
    lines = [line for line in stripped if line and not line.startswith("#")]
    if _is_path(name):
        require(len(lines) > 0, name, "must set something, as lines --name=value", "")
        known = {one: kind for command in commands.COMMANDS.values()
                 for one, kind in by_name.setting_types(command)}  # fmt: skip
        for line in lines:
            _check_line(line, name, known)
    return lines


def _folder() -> pathlib.Path:
    return next(folder for folder in _FOLDERS if folder.is_dir())


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith(_SUFFIX)


def _check_line(line: str, path: str, known: Mapping[str, Any]) -> None:
    name, equals, text = line.removeprefix("--").partition("=")
    require(line.startswith("--") and bool(equals), path, "must have lines of the form "
            "--name=value, and comments that start with #", line)  # fmt: skip
    require(name != "mode", path, "must name settings; the mode stands on the command line", line)
    require(name in known, path, f"must name settings{did_you_mean(name, known)}", line)
    try:
        _parse(text, known[name])
    except (KeyError, ValueError):
        raise InputError(path, f"must give --{name} a value of its type", line) from None


def _parse(text: str, hint: Any) -> Any:
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    if kinds[0] is bool:
        return _BOOLEANS[text.lower()]
    return kinds[0](text)


def recipe_values(name: str, command: type = RunConfig) -> dict[str, Any]:
    """What a recipe sets, by the name of the setting, as far as a command has it.

    Raises:
        InputError: There is no such recipe, or it needs images, see `simclr_tf.automatic`.
    """
    require(name not in AUTOMATIC, "recipe", "must be given with images, which it follows from: "
            f"pretrain(images, recipe={name!r}), or --recipe={name}", name)  # fmt: skip
    types = dict(by_name.setting_types(command))
    values = {}
    for line in recipe_lines(name):
        key, _, text = line.removeprefix("--").partition("=")
        if key in types:
            values[key] = _parse(text, types[key])
    return values


def recipe(name: str, command: type[Command] = RunConfig, **changes: Any) -> Command:  # type: ignore[assignment]
    """A recipe as a configuration object, with the given settings changed.

    A change counts: what the recipe sets against it goes back to its default (`train_epochs`
    switches off a recipe's `train_steps`; see `simclr_tf.settings.overrides`).

    Example:
        `recipe("cifar10_cpu", model_dir="runs/mine", data_dir="~/data", train_steps=100)`

    Args:
        name: One of `recipe_names`, or the path of a file.
        command: What to build of it, a class of `simclr_tf.settings.commands`; the recipe's
            settings of other commands do not count.
        **changes: Values by setting name.

    Raises:
        InputError: There is no such recipe or setting, or a value breaks its constraint.
    """
    settings = {"model_dir": f"runs/{recipe_title(name)}", **recipe_values(name, command)}
    for key in overrides.switched_off(settings, changes):
        del settings[key]
    return by_name.build_filled(command, {**settings, **changes})
