"""Records (JSON, lists, events, predictions) with hostile content."""

from __future__ import annotations

import pathlib
import random

from fuzz import hostile
from fuzz.case import Case
from fuzz.kinds.scenes import change, choose, files_below

_SCENES = ("resume", "go on", "finetune", "eval", "evaluate", "evaluate anew", "compare", "embed",
           "embed npz", "export", "export again", "import", "import again", "report",
           "compare runs", "report of a study", "study", "neighbors of")  # fmt: skip
# What weights hold is the business of another kind.
_NO_RECORDS = (".index", ".data-00000-of-00001", ".pb", ".png", ".jpg", ".gz", ".keras", ".html",
               ".md", ".parquet", ".css", ".js")  # fmt: skip


def draw(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """One or two records of what a command reads."""
    name, scene = choose(random_, _SCENES)
    names = [path for path in files_below(fixtures, scene.inputs)
             if not path.endswith(_NO_RECORDS) and not path.startswith("photos/")]  # fmt: skip
    changes = []
    for _ in range(random_.choice((1, 1, 1, 2))):
        chosen = random_.choices(names, [4 if path.endswith(".json") else 1 for path in names])[0]
        how = hostile.change_json if chosen.endswith(".json") else hostile.change_bytes
        changes.append(change(random_, how(chosen)))
    return Case(
        "records", scene.program, scene.words, inputs=scene.inputs, writes=scene.writes,
        changes=tuple(changes), refuses_first=name in ("embed", "export", "import"),
    )  # fmt: skip
