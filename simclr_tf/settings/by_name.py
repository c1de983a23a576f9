"""Settings by name: one flat mapping to a `RunConfig`, and back.

Every field of the dataclasses in `simclr_tf.settings` has a name of its own, so a flat mapping says
which dataclass each value belongs to.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from simclr_tf.cluster import TPU_NAMES
from simclr_tf.errors import InputError, require
from simclr_tf.settings.run import RunConfig

Config = typing.TypeVar("Config")

# No transforms, no views of one's own; no TPU by that name.
_MAY_BE_EMPTY = ("transforms", "views", *TPU_NAMES)


def setting_fields(config_class: type) -> Iterator[tuple[str, Any, Any]]:
    """Yields (name, type, default) of a dataclass's own settings, without nested dataclasses."""
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if not dataclasses.is_dataclass(hints[field.name]):
            yield field.name, hints[field.name], field.default


def setting_types(config_class: type) -> Iterator[tuple[str, Any]]:
    """Yields (name, type) of all settings of a dataclass, those of nested dataclasses included."""
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from setting_types(hints[field.name])
        else:
            yield field.name, hints[field.name]


def setting_names(config_class: type) -> list[str]:
    """Names of all settings of a dataclass, those of nested dataclasses included."""
    return [name for name, _ in setting_types(config_class)]


def setting_defaults(config_class: type) -> dict[str, Any]:
    """Defaults of all settings of a dataclass, those of nested dataclasses included.

    Settings without a default are left out.
    """
    hints = typing.get_type_hints(config_class)
    defaults: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(hints[field.name]):
            defaults |= setting_defaults(typing.cast(type, hints[field.name]))
        elif field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
    return defaults


def build_run_config(settings: Mapping[str, Any]) -> RunConfig:
    """The `RunConfig` whose settings have the given values, and defaults elsewhere.

    Args:
        settings: Values by setting name; must hold `model_dir`.

    Raises:
        InputError: A name is no setting, or a value breaks its constraint.
    """
    return build_filled(RunConfig, settings)


def build_filled(config_class: type[Config], settings: Mapping[str, Any]) -> Config:
    """`build_config` of what a person gave: no text may be empty.

    Raises:
        InputError: See `build_config` and `require_filled`.
    """
    for name, value in settings.items():
        require_filled(name, value)
    return build_config(config_class, settings)


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
    """A dataclass of `simclr_tf.settings`, and those nested in it, from settings by name.

    Raises:
        InputError: A name is no setting of it, or a value breaks its constraint.
    """
    unknown = sorted(settings.keys() - set(setting_names(config_class)))
    if unknown:
        raise InputError(unknown[0], "is not a setting", settings[unknown[0]])

    def build(of: type) -> Any:
        values = {}
        hints = typing.get_type_hints(of)
        for field in dataclasses.fields(of):
            if dataclasses.is_dataclass(hints[field.name]):
                values[field.name] = build(typing.cast(type, hints[field.name]))
            elif field.name in settings:
                values[field.name] = settings[field.name]
        return of(**values)

    return build(config_class)


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
