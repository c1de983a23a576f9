"""The recipes that ship with the project: text files of `--name=value` lines (`flags/recipes/`)."""

from __future__ import annotations

import pathlib
import typing
from typing import Any

from simclr_tf.errors import require_choice
from simclr_tf.settings import by_name, overrides
from simclr_tf.settings.run import RunConfig

Command = typing.TypeVar("Command")

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
# An installed wheel carries the recipes inside the package, a checkout beside it.
_FOLDERS = (_PACKAGE / "recipe_files", _PACKAGE.parent / "flags" / "recipes")


def recipe_names() -> list[str]:
    """The recipes that ship with the project."""
    return sorted(path.stem for folder in _FOLDERS for path in folder.glob("*.flags"))


def recipe_lines(name: str) -> list[str]:
    """The `--name=value` lines of a recipe, comments and blank lines removed.

    Raises:
        InputError: There is no such recipe.
    """
    require_choice("recipe", name, recipe_names())
    for folder in _FOLDERS:
        path = folder / f"{name}.flags"
        if path.is_file():
            lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
            return [line for line in lines if line and not line.startswith("#")]
    return []


def _parse(text: str, hint: Any) -> Any:
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    if kinds[0] is bool:
        return text.lower() in ("true", "1", "yes")
    return kinds[0](text)


def recipe_values(name: str, command: type = RunConfig) -> dict[str, Any]:
    """What a recipe sets, by the name of the setting, as far as a command has it.

    Raises:
        InputError: There is no such recipe.
    """
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
        name: One of `recipe_names`.
        command: What to build of it, a class of `simclr_tf.settings.commands`; the recipe's
            settings of other commands do not count.
        **changes: Values by setting name.

    Raises:
        InputError: There is no such recipe or setting, or a value breaks its constraint.
    """
    settings = {"model_dir": f"runs/{name}", **recipe_values(name, command)}
    for key in overrides.switched_off(settings, changes):
        del settings[key]
    return by_name.build_filled(command, {**settings, **changes})
