"""Flags with extreme values in a sensible command; output that can't be written."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random

from fuzz import hostile
from fuzz.case import Case
from fuzz.kinds.scenes import SCENES, change, choose
from simclr_tf.flags import definitions

_SCENES = ("train", "resume", "go on", "finetune", "eval", "evaluate", "embed", "neighbors",
           "neighbors by id", "export", "import", "report", "study")  # fmt: skip
_PATHS = {"model_dir", "data_dir", "checkpoint", "teacher", "feature_cache", "compare_with",
          "output", "embeddings", "query", "label_subset", "source", "eval_name"}  # fmt: skip
# A command that writes there, run by a superuser, would replace a device of the machine.
_NEVER_WRITTEN = ("/dev/zero", "/dev/stdin", "/proc/self/mem")
_WRITTEN = {"model_dir", "feature_cache", "output"}
_EXPORT = (
    "checkpoint",
    "output",
    "format",
    "image_size",
    "overwrite",
    "ft_proj_selector",
    "source",
)
_STRANGE = ("--flagfile=photos/train/cat/0.jpg", "--flagfile=fifo", "--flagfile=absent",
            "--flagfile=zero", "--flagfile=", "--undefok=x", "--undefok", "-", "--", "---x", "--=1",
            "=", "train", "--mode", "--model_dir", "-v", "--nodebug", "--notrain_steps", "--no",
            "--train_steps", "--ümlaut=1", "--a b=1", "--mode=trian", "--recipe=cifar10cpu",
            "\udce9",
            "--only_check_args", "--helpxml", "--verbosity=9", "--temperature=0.1=2")  # fmt: skip
_VARIABLES = {
    "TF_CONFIG": ("", "{", "[]", '{"cluster": {}}', '{"cluster": {"worker": []}, "task": {}}',
                  '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 9}}',
                  '{"cluster": 1, "task": null}', "[" * 100_000),
    "SLURM_PROCID": ("x", "-1", "", "1"), "SLURM_NTASKS": ("x", "0", "99999999"),
    "SLURM_JOB_NODELIST": ("", "a[1-", "a[1-999999999]"),
    "TF_NUM_INTRAOP_THREADS": ("x", "-1", "0", "", "1e9"),
    "TF_NUM_INTEROP_THREADS": ("x", "-1"),
    # Not TMPDIR: where it can't be used, Python takes /tmp, as it should.
    "HOME": ("", "/nowhere", None), "COLUMNS": ("x", "-1", "0"),
    "TFDS_DATA_DIR": ("", "/nowhere", "fifo"), "TFHUB_CACHE_DIR": ("", "/nowhere", "fifo"),
}  # fmt: skip


def add_places(work: pathlib.Path, random_: random.Random) -> str:
    """Puts what `hostile.PATHS` names into the working folder."""
    del random_
    os.mkfifo(work / "fifo")
    for name, target in (("zero", "/dev/zero"), ("full", "/dev/full"), ("loop", "loop"),
                         ("to_outside", "../outside/docs"), ("dangling", "../outside/new"),
                         ("to_thesis", "../outside/docs/thesis.txt")):  # fmt: skip
        (work / name).symlink_to(target)
    with open(work / "sparse.bin", "wb") as file:
        file.truncate(20 * 2**30)
    (work / "empty").mkdir()
    (work / "empty.bin").write_bytes(b"")
    (work / "garbage.bin").write_bytes(bytes(range(256)) * 10)
    return "a FIFO, links (zero, full, loop, to_outside, dangling, to_thesis), odd files"


def draw(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """One to three extreme flags."""
    del fixtures
    name, scene = choose(random_, _SCENES)
    case = Case("flags", scene.program, scene.words, inputs=scene.inputs, writes=scene.writes,
                changes=(change(random_, add_places),),
                refuses_first=name not in ("go on", "eval", "study"), free_names=True)  # fmt: skip
    extra, environment = [], {}
    for _ in range(random_.choice((1, 1, 1, 1, 2, 3))):
        kind = random_.random()
        if kind < 0.06 and scene.program != "simclr_tf.report":
            extra.append(random_.choice(_STRANGE))
        elif kind < 0.12:
            variable = random_.choice(list(_VARIABLES))
            environment[variable] = random_.choice(_VARIABLES[variable])
        else:
            extra.append(_flag(random_, scene.program))
    written = [word.partition("=")[2] for word in extra
               if word.lstrip("-").partition("=")[0] in _WRITTEN]  # fmt: skip
    return dataclasses.replace(
        case, extra=tuple(extra), environment=environment, writes=(*case.writes, *written)
    )


def draw_refused(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """Extreme flags beside one that is wrong anyway: nothing trains, so many fit in a minute."""
    del fixtures
    scene = SCENES["train"]
    changes = (change(random_, add_places),)
    extra = [_flag(random_, scene.program) for _ in range(random_.choice((1, 1, 1, 2)))]
    return Case("refused", scene.program, scene.words, extra=(*extra, "--eval_split=nowhere"),
                inputs=scene.inputs, changes=changes, refuses_first=True)  # fmt: skip


def draw_streams(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """A plain command whose standard output can't be written, or not in these letters."""
    del fixtures
    _, scene = choose(random_, _SCENES)
    words = scene.words
    if random_.random() < 0.2:
        words = ("--help",)
    stdout = random_.choice(("full", "lost", "closed", "file"))
    return Case(
        "streams", scene.program, words, inputs=scene.inputs, writes=scene.writes, stdout=stdout,
        encoding="ascii" if stdout == "file" or random_.random() < 0.3 else "utf-8",
        changes=(change(random_, _rename_class),),
    )  # fmt: skip


def _rename_class(work: pathlib.Path, random_: random.Random) -> str:
    """A class and a photograph whose names are not ASCII, or not even text."""
    if not (work / "photos").is_dir():
        return "nothing"
    photo = random_.choice(("größe.jpg", "caf\udce9.jpg", "\x1b[31mred.jpg", "a\nb.jpg"))
    os.rename(work / "photos/train/cat/0.jpg", work / "photos/train/cat" / photo)
    return f"photos/train/cat/0.jpg is called {photo!r}"


def _flag(random_: random.Random, program: str) -> str:
    if program == "simclr_tf.report":
        return random_.choice((f"--output={random_.choice(hostile.PATHS)}",
                               random_.choice(hostile.PATHS)))  # fmt: skip
    if program == "export":
        name = random_.choice(_EXPORT)
        kind = {"image_size": "int", "ft_proj_selector": "int", "overwrite": "bool"}.get(
            name, "text"
        )
    else:
        flags = definitions.define_flags()
        name = random_.choice([flag for flag in flags if flag not in ("help", "?")])
        kind = {"integer": "int", "float": "float", "boolean": "bool"}.get(
            flags[name].flag_type(), "text"
        )
    return f"--{name}={_value(random_, name, kind)}"


def _value(random_: random.Random, name: str, kind: str) -> str:
    if name in _PATHS:
        values = hostile.PATHS
        if name in _WRITTEN:
            values = tuple(value for value in values if value not in _NEVER_WRITTEN)
    elif name == "dataset":
        values = tuple(f"folder:{path}" for path in hostile.PATHS) + hostile.TEXTS
    elif kind == "int" and random_.random() < 0.8:  # most others are no whole numbers
        values = hostile.INTEGERS
    elif kind in ("int", "float"):
        values = hostile.NUMBERS
    elif kind == "bool":
        values = ("", "maybe", "TRUE", "1", "0", "no", "None", "true ")
    else:
        values = hostile.TEXTS + hostile.NUMBERS
    return random_.choice(values)
