"""The commands that the kinds vary: what each reads, writes, and how it is called."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

from fuzz.case import Apply, Change
from fuzz.fixtures import DATASET, DIGITS, KNN, STUDY, TINY

QUICK = ("--train_steps=2", "--report=False", "--knn=False")


class Scene(NamedTuple):
    """A command that works, with the fixtures around it.

    Attributes:
        program: One of `fuzz.case.PROGRAMS`.
        words: Its words.
        inputs: Fixtures.
        writes: Places in the working folder that it may change.
        cost: Seconds of processor time, roughly.
    """

    program: str
    words: tuple[str, ...]
    inputs: tuple[str, ...]
    writes: tuple[str, ...]
    cost: float


def _run(mode: str, *words: str) -> tuple[str, tuple[str, ...]]:
    return "run.py", (f"--mode={mode}", *words)


SCENES: dict[str, Scene] = {
    "train": Scene(*_run("train", DATASET, *TINY, *QUICK, "--model_dir=new"), ("photos",),
                   ("new",), 15),
    "resume": Scene(*_run("train", DATASET, *TINY, *QUICK, "--model_dir=run"), ("photos", "run"),
                    ("run",), 6),
    "go on": Scene(*_run("train_then_eval", "--model_dir=run"), ("photos", "run"), ("run",), 12),
    "finetune": Scene(*_run("train", "--train_mode=finetune", "--optimizer=momentum", DATASET,
                            *TINY, *QUICK, "--checkpoint=run", "--model_dir=new"),
                      ("photos", "run"), ("new",), 15),
    "eval": Scene(*_run("eval", "--model_dir=run", "--eval_timeout_secs=1", "--eval_name=again",
                        "--knn=False"), ("photos", "run"), ("run",), 8),
    "evaluate": Scene(*_run("evaluate", *KNN, "--map_points=0", "--checkpoint=run",
                            "--model_dir=ev", "--feature_cache=cache", DATASET),
                      ("photos", "run", "ev", "cache"), ("ev", "cache"), 4),
    "evaluate anew": Scene(*_run("evaluate", *KNN, "--map_points=0", "--model_dir=run"),
                           ("photos", "run"), ("run",), 5),
    "compare": Scene(*_run("evaluate", *KNN, "--map_points=0", "--checkpoint=run",
                           "--model_dir=new", "--feature_cache=cache", "--compare_with=ev",
                           DATASET),
                     ("photos", "run", "ev", "cache"), ("new", "cache"), 4),
    "embed": Scene(*_run("embed", DATASET, "--checkpoint=run", "--output=out.parquet"),
                   ("photos", "run"), ("out.parquet",), 5),
    "embed npz": Scene(*_run("embed", DATASET, "--checkpoint=enc/saved_model", "--output=out.npz"),
                       ("photos", "enc"), ("out.npz",), 5),
    "embed archive": Scene(*_run("embed", DATASET, "--checkpoint=enc/encoder.tar.gz",
                                 "--output=out.npz"), ("photos", "enc"), ("out.npz",), 5),
    "embed keras": Scene(*_run("embed", DATASET, "--checkpoint=enc/encoder.keras",
                               "--output=out.npz"), ("photos", "enc"), ("out.npz",), 5),
    "embed digits": Scene(*_run("embed", *DIGITS, "--checkpoint=run", "--output=out.npz"),
                          ("tfds", "run"), ("out.npz",), 5),
    "evaluate digits": Scene(*_run("evaluate", *KNN, *DIGITS, "--train_split=train[:32]",
                                   "--map_points=0", "--checkpoint=run", "--model_dir=new"),
                             ("tfds", "run"), ("new",), 6),
    "train digits": Scene(*_run("train", *TINY, *QUICK, *DIGITS, "--model_dir=new"), ("tfds",),
                          ("new",), 15),
    "neighbors": Scene(*_run("neighbors", "--embeddings=new.parquet"), ("photos", "new.parquet"),
                       ("new.duplicates.png",), 1),
    "explore": Scene(*_run("explore", "--embeddings=new.parquet"), ("photos", "new.parquet"),
                     ("new.explore.html", "new.explore.csv"), 3),
    "neighbors by id": Scene(*_run("neighbors", "--embeddings=new.npz", "--query=train/cat/1.jpg",
                                   "--output=out.png"), ("photos", "new.npz"), ("out.png",), 1),
    "neighbors of": Scene(*_run("neighbors", "--embeddings=new.parquet", "--checkpoint=run",
                                "--query=photos/test/cat/1.jpg", "--output=out.png"),
                          ("photos", "new.parquet", "run"), ("out.png",), 3),
    "export": Scene("export", ("--checkpoint=run", "--output=out"), ("run",), ("out",), 7),
    "export keras": Scene("export", ("--checkpoint=run", "--output=out", "--format=keras"),
                          ("run",), ("out",), 7),
    "export again": Scene("export", ("--checkpoint=run", "--output=enc/saved_model",
                                     "--overwrite"), ("run", "enc"), ("enc/saved_model",), 7),
    "import": Scene("export", ("import", "--source=enc/saved_model", "--output=out"), ("enc",),
                    ("out",), 3),
    "import again": Scene("export", ("import", "--source=run", "--output=ws", "--overwrite"),
                          ("run", "ws"), ("ws",), 3),
    "report": Scene("simclr_tf.report", ("run",), ("run",), ("run/report.html",), 2),
    "compare runs": Scene("simclr_tf.report", ("run", "ev", "--output=out.html"), ("run", "ev"),
                          ("out.html",), 2),
    "report of a study": Scene("simclr_tf.report", ("study",), ("study",),
                               ("study/report.html",), 2),
    "study": Scene("run.py", (*STUDY, "--report=False", "--model_dir=study"),
                   ("photos", "study"), ("study",), 3),
}  # fmt: skip


def choose(random_: random.Random, names: Iterable[str]) -> tuple[str, Scene]:
    """One of the scenes, the cheap ones more often."""
    listed = list(names)
    weights = [1 / (1 + SCENES[name].cost) for name in listed]
    name = random_.choices(listed, weights)[0]
    return name, SCENES[name]


def change(random_: random.Random, apply: Apply) -> Change:
    """A change with a seed of its own."""
    return Change(apply, random_.randrange(2**32))


def files_below(root, names: Iterable[str]) -> list[str]:
    """The regular files of fixtures, by their path in the working folder."""
    found = []
    for name in names:
        place = root / name
        paths = sorted(place.rglob("*")) if place.is_dir() else [place]
        found += [path.relative_to(root).as_posix() for path in paths if path.is_file()]
    return found
