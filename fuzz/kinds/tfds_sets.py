"""Damaged sets of TensorFlow Datasets: descriptions, records, names of classes."""

from __future__ import annotations

import pathlib
import random

from fuzz import hostile
from fuzz.case import Case
from fuzz.kinds.scenes import change, choose, files_below

_SCENES = ("embed digits", "evaluate digits", "train digits")


def draw(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """One or two files of a prepared set are damaged, replaced or gone."""
    _, scene = choose(random_, _SCENES)
    changes = []
    for _ in range(random_.choice((1, 1, 2))):
        name = random_.choice(files_below(fixtures, ["tfds"]))
        how = hostile.change_json if name.endswith(".json") else hostile.change_bytes
        changes.append(change(random_, how(name)))
    return Case("tfds", scene.program, scene.words, inputs=scene.inputs, writes=scene.writes,
                changes=tuple(changes))  # fmt: skip
