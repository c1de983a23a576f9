"""The command that repeats a run, from what the run has recorded, and those that come next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from simclr_tf import cluster
from simclr_tf.settings import by_name, commands, overrides, recipes
from simclr_tf.settings.run import RunConfig


def command_line(config: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    """`python run.py` with the recipe and every setting that is not the recipe's.

    Args:
        config: Settings by name, of `config.json`.
        flags: Of `flags.json`; {} for a run that was started from Python.
    """
    name = flags.get("recipe")
    if name not in recipes.recipe_names():  # a file of somebody's, which may have changed
        name = None
    mode = str(flags.get("mode") or "train")
    known = {**_usual(name), **config}
    read = commands.reads(mode) - commands.idle(mode, known).keys()  # others may be refused
    given = {key: value for key, value in changes(config, name).items() if key in read}
    words = ["python", "run.py", f"--mode={mode}"]
    words += [f"--recipe={name}"] if name else []
    words += [f"--{key}={value}" for key, value in given.items()]
    return shlex.join(words)


def next_commands(model_dir: str, evaluated: bool = True) -> dict[str, str]:
    """What is done with a finished run, and the command for it.

    Args:
        model_dir: Its folder.
        evaluated: Whether there are labelled images to evaluate it on.
    """
    folder = shlex.quote(model_dir)
    program = "python -m simclr_tf"
    protocols = {"evaluate it by the paper's protocols": f"{program} evaluate --model_dir={folder}"}
    return {
        "compare it with another run": f"{program} report {folder} OTHER_RUN",
        **(protocols if evaluated else {}),
        "embed images, to search among them": f"{program} embed --checkpoint={folder} "
        "--dataset=folder:IMAGES --output=embeddings.parquet",
        "see what is in them, on one page": f"{program} explore --embeddings=embeddings.parquet",
        "write it for other programs": f"{program} export --checkpoint={folder} --output=encoder "
        "--format=saved_model,keras",
    }


def plain(value: Any) -> str:
    """A setting for a reader."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def changes(config: Mapping[str, Any], recipe: str | None = None) -> dict[str, Any]:
    """The settings that differ from those of a recipe, or from the defaults without one."""
    usual = _usual(recipe)
    found = {
        key: value
        for key, value in cluster.of_now(config).items()
        if key in usual and value not in (None, usual[key])
    }
    default = _usual(None)
    for key in overrides.switched_off(usual, found):  # as in the recipe, and given beside it
        if config.get(key) not in (None, default.get(key)):
            found[key] = config[key]
    return found


def _usual(recipe: str | None) -> dict[str, Any]:
    base = RunConfig(model_dir="runs")
    if recipe in recipes.recipe_names():  # else of another version: everything is a change
        base = recipes.recipe(recipe, model_dir="runs")
    return by_name.flatten(base)
