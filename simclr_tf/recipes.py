"""Settings by name: one flat mapping to a `RunConfig`, and the recipes that ship with the project.

A recipe is a text file of `--name=value` lines (`flags/recipes/`); `run.py` reads the same files.
Every field of the dataclasses in `simclr_tf.config` has a name of its own, so a flat mapping says
which dataclass each value belongs to.
"""

from __future__ import annotations

import dataclasses
import pathlib
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from simclr_tf import config as config_lib
from simclr_tf import overrides
from simclr_tf.cluster import TPU_NAMES
from simclr_tf.errors import InputError, require, require_choice

Config = typing.TypeVar("Config")

# No transforms; no TPU by that name.
_MAY_BE_EMPTY = ("transforms", *TPU_NAMES)
_PACKAGE = pathlib.Path(__file__).resolve().parent
# An installed wheel carries the recipes inside the package, a checkout beside it.
_FOLDERS = (_PACKAGE / "recipe_files", _PACKAGE.parent / "flags" / "recipes")


def setting_fields(config_class: type) -> Iterator[tuple[str, Any, Any]]:
    """Yields (name, type, default) of a dataclass's own settings, without nested dataclasses."""
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if not dataclasses.is_dataclass(hints[field.name]):
            yield field.name, hints[field.name], field.default


def setting_names(config_class: type) -> list[str]:
    """Names of all settings of a dataclass, those of nested dataclasses included."""
    names: list[str] = []
    for field, hint in typing.get_type_hints(config_class).items():
        nested = dataclasses.is_dataclass(hint)
        names += setting_names(typing.cast(type, hint)) if nested else [field]
    return names


def build_run_config(settings: Mapping[str, Any]) -> config_lib.RunConfig:
    """The `RunConfig` whose settings have the given values, and defaults elsewhere.

    Args:
        settings: Values by setting name; must hold `model_dir`.

    Raises:
        InputError: A name is no setting, or a value breaks its constraint.
    """
    for name, value in settings.items():
        require_filled(name, value)
    return build_config(config_lib.RunConfig, settings)


def require_filled(name: str, value: Any) -> None:
    """Refuses an empty text for a setting, but for the few where it says something.

    Elsewhere an empty text is a variable of a script that was not set, and would mean the present
    folder, or the default.

    Raises:
        InputError: Names the setting.
    """
    empty = isinstance(value, str) and not value.strip()
    require(not empty or name in _MAY_BE_EMPTY, name, "must not be empty", value)


def build_config(config_class: type[Config], settings: Mapping[str, Any]) -> Config:
    """A dataclass of `simclr_tf.config`, and those nested in it, from settings by name.

    Raises:
        InputError: A name is no setting of it, or a value breaks its constraint.
    """
    unused = dict(settings)

    def build(of: type) -> Any:
        values = {}
        hints = typing.get_type_hints(of)
        for field in dataclasses.fields(of):
            if dataclasses.is_dataclass(hints[field.name]):
                values[field.name] = build(typing.cast(type, hints[field.name]))
            elif field.name in unused:
                values[field.name] = unused.pop(field.name)
        return of(**values)

    built = build(config_class)
    if unused:
        raise InputError(next(iter(unused)), "is not a setting", unused)
    return built


def flatten(config: Any) -> dict[str, Any]:
    """The inverse of `build_run_config`: every setting of a (nested) dataclass by name."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value))
        else:
            flat[field.name] = value
    return flat


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


def recipe(name: str, **changes: Any) -> config_lib.RunConfig:
    """A recipe as a configuration object, with the given settings changed.

    A change counts: what the recipe sets against it goes back to its default (`train_epochs`
    switches off a recipe's `train_steps`; see `simclr_tf.overrides`).

    Example:
        `recipe("cifar10_cpu", model_dir="runs/mine", data_dir="~/data", train_steps=100)`
    """
    types = {
        field: hint
        for config_class in vars(config_lib).values()
        if dataclasses.is_dataclass(config_class) and isinstance(config_class, type)
        for field, hint, _ in setting_fields(config_class)
    }
    settings: dict[str, Any] = {"model_dir": f"runs/{name}"}
    for line in recipe_lines(name):
        key, _, text = line.removeprefix("--").partition("=")
        settings[key] = _parse(text, types[key])
    for key in overrides.switched_off(settings, changes):
        del settings[key]
    return build_run_config({**settings, **changes})
