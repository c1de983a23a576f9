"""Every command and snippet of the README runs, shortened by flags only."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import run
from export.__main__ import main as export_main
from tests.weights import foreign_checkpoints

README = (pathlib.Path(run.__file__).parent / "README.md").read_text()
DOCS = pathlib.Path(run.__file__).parent / "docs"
PAGES = ("evaluation.md", "studies.md", "migrating.md")
WITH_COMMANDS = [(DOCS / name).read_text() for name in PAGES]
FIXTURES = pathlib.Path(run.__file__).parent / "tests" / "fixtures"
MAKEFILE = (pathlib.Path(run.__file__).parent / "Makefile").read_text()
SHORT = [
    "--train_steps=2",
    "--width_multiplier=0.0625",
    "--resnet_depth=18",
    "--train_batch_size=8",
    "--eval_steps=1",
    "--eval_batch_size=16",
    "--knn_bank_size=32",
]
SHORT_BOARD = ["--logreg_values=2", "--linear_epochs=0.1", "--linear_batch_size=64",
               "--knn_neighbors=1,5", "--map_points=20"]  # fmt: skip


def run_commands() -> list[str]:
    text = "\n".join([README, *WITH_COMMANDS]).replace("\\\n", " ")
    found = re.findall(r"^\s*python run\.py .*$", text, flags=re.MULTILINE)
    found += re.findall(r"`(python run\.py [^`]*)`", text)
    return list(dict.fromkeys(" ".join(command.split()) for command in found))


def export_commands() -> list[str]:
    return re.findall(r"`(python -m export [^`]*)`", README)


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder that the commands run in, with the photos that they mention."""
    folder = tmp_path_factory.mktemp("readme")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 30, 3), np.uint8)
    for index, image in enumerate(pixels):
        split, label = ("test" if index < 8 else "train"), ("cat" if index % 2 else "dog")
        path = folder / "photos" / split / label / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_jpeg(image).numpy())
    listing = json.loads((FIXTURES / "foreign" / "tf1_variables_r18.json").read_text())
    narrow = {name: [n if n <= 10 else n // 8 for n in shape] for name, shape in listing.items()}
    arrays = foreign_checkpoints.random_arrays(narrow, seed=0)
    foreign_checkpoints.write_tf1(str(folder / "published" / "model.ckpt-20"), arrays)
    return folder


def test_readme_shows_the_commands_that_matter():
    commands = run_commands()
    assert len(commands) >= 8
    assert re.search(r"```sh\nmake demo[^\n]*\nmake test[^\n]*\n```", README)
    assert "run.py --mode=train_then_eval" in MAKEFILE


def values(command: str, *flags: str) -> list[str]:
    return [word.partition("=")[2] for word in shlex.split(command) if word.split("=")[0] in flags]


def needs(command: str) -> list[str]:
    """What a command reads that another one has to leave behind."""
    read = values(command, "--checkpoint", "--teacher", "--embeddings", "--compare_with")
    only_reads = "--mode=eval " in command or "--mode=evaluate --model_dir" in command
    return read + (values(command, "--model_dir") if only_reads else [])


def leaves(command: str) -> list[str]:
    return [] if "--mode=eval " in command else values(command, "--model_dir", "--output")


def run_command(command: str, request) -> None:
    """Runs a command of the README, after those that make what it reads (in any order of tests)."""
    for name in needs(command):
        if not os.path.exists(name):
            maker = next(c for c in run_commands() if name in leaves(c) and name not in needs(c))
            run_command(maker, request)
    words = shlex.split(command)[2:]
    extra = [*SHORT, *(SHORT_BOARD if "--mode=evaluate" in words else [])]
    if "--recipe=evaluate_cpu" in words:  # all of it runs in tests/modes/test_scoreboard.py
        extra.append("--protocols=knn")
    if "--mode=study" in words:
        extra.append("--study_budget=2")
    if "cifar" in command and "folder" not in command:
        shared = request.getfixturevalue("shared_dir")
        extra.append(f"--data_dir={shared / 'data' / 'tfds'}")
    if "--checkpoint=runs/cifar" in words:
        extra += ["--train_split=train[:500]", "--eval_split=test[:100]"]
    if "--model_dir=/tmp" in command:
        extra.append("--model_dir=runs/reference")
    assert run.main([*words, *extra]) == 0, command


def have_a_run(request) -> None:
    if not os.path.exists("runs/a"):
        run_command(next(c for c in run_commands() if "runs/a" in leaves(c)), request)


@pytest.mark.slow
@pytest.mark.parametrize("command", run_commands())
def test_command(command, workplace, monkeypatch, request):
    monkeypatch.chdir(workplace)
    if "--help" in command:
        assert run.main(shlex.split(command)[2:]) == 0
        return
    run_command(command, request)


@pytest.mark.slow
@pytest.mark.parametrize("command", export_commands())
def test_export_command(command, workplace, monkeypatch, request):
    monkeypatch.chdir(workplace)
    have_a_run(request)
    assert export_main(shlex.split(command)[3:]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(snippets())))
def test_snippet(index, workplace, monkeypatch, request):
    monkeypatch.chdir(workplace)
    have_a_run(request)
    hidden = tf.random.stateless_normal((4, 8), seed=(0, 1))
    names = {"images": tf.zeros((2, 32, 32, 3)), "hidden_a": hidden, "hidden_b": hidden}
    names["path"] = "published"
    # The step in the README is the one of a full run.
    exec(re.sub(r"saved_model/\d+", "saved_model/2", snippets()[index]), names)


def test_evaluation_snippet(workplace, monkeypatch):
    """The page's data set is large; the embedded one has the same two splits."""
    monkeypatch.chdir(workplace)
    (snippet,) = re.findall(r"```python\n(.*?)```", WITH_COMMANDS[0], flags=re.DOTALL)
    flat = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Flatten()])
    small = snippet.replace("image_size=32", "image_size=8").replace("cifar10", "digits")
    exec(small, {"model": flat, "data_dir": None})
