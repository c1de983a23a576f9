"""The command `simclr`, also `python -m simclr_tf`: the programs of this project under one name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from simclr_tf.console import BAD_INPUT, say
from simclr_tf.errors import InputError, did_you_mean, require
from simclr_tf.settings import recipes

from . import foreign, parsing, program, usage

_OVERVIEW = """\
Contrastive learning of visual representations (SimCLR) in TensorFlow 2.

  simclr train --recipe=photos --dataset=folder:photos
                           train an encoder, with or without labels, and evaluate it
  simclr evaluate          any encoder by the paper's protocols: kNN, linear, few labels, ...
  simclr embed             every image of a folder to a file of embeddings
  simclr neighbors         nearest images and near-duplicates in such a file
  simclr explore           what is in such a file: one page with map, groups, outliers, duplicates
  simclr study             a study of the paper on your images
  simclr export            SavedModel, TF-Hub, .keras; `simclr export list`: published encoders
  simclr report RUN ...    the page of a run, or of several side by side
  simclr recipes [NAME]    settings to start from
  simclr doctor            versions, devices, memory, disks, and what is wrong with them

`simclr COMMAND --help` shows the flags of a command. `simclr train` alone trains on embedded images
for a few minutes. In a checkout the same programs are `python run.py`, `python -m export` and
`python -m simclr_tf.report`.
"""
# Command -> the mode of `run.py`.
_MODES = {
    "train": "train_then_eval",
    "eval": "eval",
    "evaluate": "evaluate",
    "embed": "embed",
    "neighbors": "neighbors",
    "explore": "explore",
    "study": "study",
    "data_dispatcher": "data_dispatcher",
    "data_worker": "data_worker",
}
_OTHERS = ("export", "report", "recipes", "doctor")
_MODES_OF_TRAIN = ("train", "train_then_eval", "eval")


def main(words: Sequence[str]) -> int:
    """Runs one command line; returns the exit status."""
    if words and words[0] == "help":
        words = [*words[1:2], "--help"]
    if not words or words[0] in usage.HELP_WORDS:
        say(_OVERVIEW)
        return 0
    command, rest = words[0], list(words[1:])
    if command.startswith("-"):
        return program.main(words, "simclr")
    try:
        if command in _MODES:
            return program.main(_with_mode(command, rest), f"simclr {command}")
        if command == "recipes":
            return _recipes(rest)
    except InputError as error:
        say(f"simclr {command}: error: {parsing.describe_error(error)}", sys.stderr)
        return BAD_INPUT
    if command == "export":
        from simclr_tf.export.__main__ import main as export

        return export(rest, "simclr export")
    if command == "report":
        from simclr_tf.report.__main__ import main as report

        return report(rest, "simclr report")
    if command == "doctor":
        from simclr_tf import doctor

        return doctor.main(rest)
    known = [*_MODES, *_OTHERS]
    hint = did_you_mean(command, known)
    if ours := foreign.MODES.get(command):
        hint = f" (use `{ours.replace('--mode=', 'simclr ', 1)}`)" if ours[0] == "-" else hint
    say(f"simclr: error: there is no command {command}{hint}; one of {', '.join(known)}",
        sys.stderr)  # fmt: skip
    return BAD_INPUT


def _with_mode(command: str, words: list[str]) -> list[str]:
    """The words for `run.py`; a mode that is given must be one of the command's."""
    try:
        given = parsing.read(words)["mode"]
    except parsing.UsageError:  # which `program` says
        given = None
    if given is None or not given.present:
        return [f"--mode={_MODES[command]}", *words]
    fits = _MODES_OF_TRAIN if command == "train" else (_MODES[command],)
    require(given.value in fits, "mode", f"must be {' or '.join(fits)} with this command, or left "
            "out", given.value)  # fmt: skip
    return words


def _recipes(words: list[str]) -> int:
    """Lists the recipes with the first sentence of each, or shows one."""
    if any(word in usage.HELP_WORDS for word in words):
        say("simclr recipes: all recipes; simclr recipes NAME: one, with what it needs and gives.")
        return 0
    for name in words:
        say(recipes.recipe_text(name).rstrip())
    if not words:
        names = (*recipes.AUTOMATIC, *recipes.recipe_names())
        width = max(map(len, names)) + 2
        for name in names:
            first = recipes.recipe_text(name).partition("\n")[0].lstrip("# ")
            say(f"{name:<{width}}{first}")
    return 0
