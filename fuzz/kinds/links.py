"""Links and the user's files where a command puts its own, under names that can be guessed."""

from __future__ import annotations

import os
import pathlib
import random
import socket

from fuzz import hostile
from fuzz.case import Apply, Case
from fuzz.kinds.scenes import change, choose, files_below

_SCENES = ("train", "resume", "go on", "eval", "evaluate", "evaluate anew", "embed", "embed npz",
           "neighbors", "neighbors by id", "explore", "export", "export keras", "export again",
           "import", "import again", "report", "compare runs", "report of a study",
           "study")  # fmt: skip
_HEX, _KEY = "00000000", "0123456789abcdef" * 2
_PARTIAL = f".{{}}.partial-{socket.gethostname()}-999999"
_OF_RUN = (".ckpt-2.00000000.tmp", ".ckpt-4.00000000.tmp", ".ckpt-2.index.00000000.tmp",
           "saved_model",
           "saved_model/1", "saved_model/2", "saved_model/4", "saved_model/temp-2", "run.lock",
           f"saved_model/{_PARTIAL.format(2)}", f"saved_model/{_PARTIAL.format(2)}.old",
           ".report.html.00000000.tmp", "report.html", "result.json", ".result.json.00000000.tmp",
           "curves.png", "views.png", "config.json", "flags.json", "checkpoint", "checkpoint.tmp",
           "ckpt-2.index", "ckpt-2.manifest.json", "ckpt-2.data-00000-of-00001", "ckpt-1.index",
           "again", "again/result.json", "eval", "trial", "report", "projector", "best", "kept",
           "events.out.tfevents.1.x", "predictions", "scoreboard.md", "runs", "cells", "claims",
           "results", "claims/x.lock", "study.json", "figure.png", "metadata.tsv", "sprite.png",
           "projector_config.pbtxt")  # fmt: skip
_OF_CACHE = (_KEY, f".{_KEY}.abcdefgh", f".{_KEY}.00000000")
_OLD = 1e9  # seconds: older than what is thought to be abandoned


def draw(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """One or two plants at places that a command writes, replaces or tidies."""
    name, scene = choose(random_, _SCENES)
    changes, kept = [], []
    for _ in range(random_.choice((1, 1, 2))):
        place = random_.choice(_candidates(scene.writes, fixtures))
        changes.append(change(random_, _plant(place)))
        kept.append(f"{place}/notes.txt")  # whatever else lies there
    return Case(
        "links", scene.program, scene.words, inputs=scene.inputs, writes=scene.writes,
        changes=tuple(changes), kept=tuple(kept), refuses_first=name == "train",
    )  # fmt: skip


def _candidates(writes: tuple[str, ...], fixtures: pathlib.Path) -> list[str]:
    found = []
    for target in writes:
        folder, base = os.path.split(target)
        found += [target, os.path.join(folder, f".{base}.{_HEX}.tmp"),
                  os.path.join(folder, _PARTIAL.format(base)),
                  os.path.join(folder, _PARTIAL.format(base) + ".old")]  # fmt: skip
        if "." not in base:
            names = _OF_CACHE if base == "cache" else _OF_RUN
            found += [os.path.join(target, name) for name in names]
            # What an earlier command has put there, and its folders.
            there = files_below(fixtures, [target]) if (fixtures / target).is_dir() else []
            found += there + sorted({os.path.dirname(path) for path in there} - {target})
    return found


def _plant(place: str) -> Apply:
    plants = ("folder link", "folder link", "file link", "private link", "dangling link", "fifo",
              "folder", "folder", "text", "link to /dev/zero", "loop")  # fmt: skip

    def apply(work: pathlib.Path, random_: random.Random) -> str:
        done = hostile.plant(place, plants)(work, random_)
        path = work / place
        if random_.random() < 0.5 and os.path.lexists(path):
            os.utime(path, (_OLD, _OLD), follow_symlinks=False)
            done += ", old"
        return done

    return apply
