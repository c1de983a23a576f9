"""Damaged checkpoints, and anything else where weights are expected."""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import random
import zipfile

from fuzz import hostile
from fuzz.case import Case
from fuzz.kinds.scenes import SCENES, change, choose, files_below

_DAMAGED = ("resume", "go on", "finetune", "eval", "evaluate", "embed", "embed npz", "embed keras",
            "export", "import", "neighbors of")  # fmt: skip
_STRANGE = ("finetune", "evaluate", "embed", "neighbors of", "export", "import")
_PARTS = (".index", ".data-00000-of-00001", ".pb", ".keras")
# What `--checkpoint` and `--source` may be called with.
_FILES = ("files/garbage.bin", "files/empty.bin", "files/text.txt", "files/objects.npz",
          "files/array.npy", "files", "files/absent", "photos", "photos/train/cat/0.jpg",
          "new.parquet", "new.npz", "run/config.json", "run/ckpt-2.index", "run/ckpt-2",
          "run/ckpt-3",
          "run/report.html", "run/saved_model", "run/saved_model/2/saved_model.pb", "enc",
          "enc/encoder.keras", "enc/encoder.tar.gz", "enc/README.md", "enc/saved_model/variables",
          "enc/saved_model/variables/variables", "ws", "ws/ckpt-2", "foreign", "foreign/graph",
          "foreign/graph.keras", "foreign/lambda.keras", "foreign/lambda.h5", "foreign/hdf5.keras",
          "foreign/plain.keras", "foreign/ckpt-1", "zip.keras", "fifo.keras", "fifo", "zero",
          "zero.keras", "../outside/docs", "~", "/", "")  # fmt: skip


def draw(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """Damage in the parts of weights, or other files in their place."""
    how = random_.random()
    if how < 0.45:
        return _damaged(random_, fixtures)
    return _strange(random_) if how < 0.8 else _keras(random_)


def _damaged(random_: random.Random, fixtures: pathlib.Path) -> Case:
    _, scene = choose(random_, _DAMAGED)
    names = [path for path in files_below(fixtures, scene.inputs) if path.endswith(_PARTS)]
    changes = [change(random_, hostile.change_bytes(random_.choice(names)))]
    if random_.random() < 0.3:  # nothing guards the bytes then
        changes.append(change(random_, _without_manifest))
    return Case("weights", scene.program, scene.words, inputs=scene.inputs, writes=scene.writes,
                changes=tuple(changes))  # fmt: skip


def _strange(random_: random.Random) -> Case:
    _, scene = choose(random_, _STRANGE)
    flag = "source" if "import" in scene.words else "checkpoint"
    return Case(
        "weights", scene.program, scene.words, extra=(f"--{flag}={random_.choice(_FILES)}",),
        inputs=tuple(dict.fromkeys((*scene.inputs, "photos", "files", "foreign", "run", "enc", "ws",
                                    "new.parquet", "new.npz"))),
        writes=scene.writes, changes=(change(random_, _add_odd),), refuses_first=True,
    )  # fmt: skip


def _keras(random_: random.Random) -> Case:
    """A hostile `.keras` file as encoder."""
    name = random_.choice(("embed", "evaluate"))
    case = _strange(random_)
    scene = SCENES[name]
    return dataclasses.replace(case, program=scene.program, words=scene.words,
                               extra=("--checkpoint=zip.keras",), writes=scene.writes,
                               inputs=tuple(dict.fromkeys((*scene.inputs, "enc"))))  # fmt: skip


def _without_manifest(work: pathlib.Path, random_: random.Random) -> str:
    del random_
    for path in work.glob("run/*.manifest.json"):
        path.unlink()
    return "run has no manifests"


def _add_odd(work: pathlib.Path, random_: random.Random) -> str:
    hostile.plant("fifo", ("fifo",))(work, random_)
    hostile.plant("fifo.keras", ("fifo",))(work, random_)
    hostile.plant("zero", ("link to /dev/zero",))(work, random_)
    hostile.plant("zero.keras", ("link to /dev/zero",))(work, random_)
    return hostile_keras(work / "zip.keras", work / "enc" / "encoder.keras", random_)


def hostile_keras(target: pathlib.Path, source: pathlib.Path, random_: random.Random) -> str:
    """A `.keras` file with a hostile configuration."""
    layers = (
        {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEA", None, None],
                                            "function_type": "lambda"}},
        {"module": "os", "class_name": "system", "config": "touch ../outside/executed",
         "registered_name": None},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "pwned"]},
         "registered_name": None},
        {"class_name": "TFOpLambda", "config": {"name": "t", "function": "io.write_file"}},
        {"class_name": "SlicingOpLambda", "config": {"name": "t", "function": "__import__"}},
        {"module": "tf_keras.layers", "class_name": "Dense", "config": {"units": 10**9},
         "registered_name": None},
        None, 5, [], {"class_name": None}, {"class_name": "x" * 5000},
    )  # fmt: skip
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    how = random_.choice(("layer", "layer", "config", "config", "root", "bomb", "names"))
    config = json.loads(files["config.json"])
    done = how
    if how == "layer":
        layer = random_.choice(layers)
        config["config"]["layers"].insert(random_.randrange(3), layer)
        done = f"a layer {str(layer)[:60]}"
    elif how == "root":
        config = random_.choice(layers)
        done = f"only {str(config)[:60]}"
    files["config.json"] = json.dumps(config).encode()
    if how == "config":
        text, done = hostile.hostile_json(files["config.json"].decode(), random_)
        files["config.json"] = text.encode()
    elif how == "bomb":
        files["model.weights.h5"] = bytes(2**28)
    elif how == "names":
        files["../../outside/docs/thesis.txt"] = b"overwritten"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    target.write_bytes(buffer.getvalue())
    return f"{target.name}: enc/encoder.keras with {done}"
