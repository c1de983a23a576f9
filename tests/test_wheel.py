"""The wheel, installed outside the checkout: the command `simclr` and the library work from it."""

from __future__ import annotations

import json
import pathlib
import shutil
import site
import subprocess
import sys
import venv

import numpy as np
import pytest
import tf_keras as keras
from PIL import Image

from simclr_tf.flags import subcommands
from tests import test_project

TINY = ("--encoder=tiny.keras --proj_out_dim=4 --image_size=8 --train_batch_size=8 --train_steps=1 "
        "--warmup_epochs=0 --use_blur=False --report=False").split()  # fmt: skip
_PROGRAM = """
import importlib.util, numpy as np, simclr_tf, sys
assert "site-packages" in simclr_tf.__file__, simclr_tf.__file__
assert not importlib.util.find_spec("flags") and not importlib.util.find_spec("export")
run = simclr_tf.open_run("run")
run.export("encoder", ["keras"])
import tf_keras as keras
found = keras.models.load_model("encoder/encoder.keras")(np.zeros([2, 8, 8, 3], np.float32))
assert found["final_avg_pool"].shape[0] == 2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder beside an environment that has the wheel and, from this one, its requirements."""
    root = tmp_path_factory.mktemp("wheel")
    for name in test_project._repository_files():
        (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(test_project.REPOSITORY / name, root / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    options = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "--no-build-isolation", "-w", root, root / "source"],
                   check=True)  # fmt: skip
    shutil.rmtree(root / "source")
    venv.create(root / "env")
    (wheel,) = root.glob("*.whl")
    subprocess.run([*pip, "--python", root / "env" / "bin" / "python", "install", *options, wheel],
                   check=True)  # fmt: skip
    (packages,) = (root / "env").glob("lib/*/site-packages")
    (packages / "requirements.pth").write_text("\n".join(site.getsitepackages()))
    (root / "work").mkdir()
    return root


def simclr(place: pathlib.Path, *words: str) -> subprocess.CompletedProcess:
    program = [place / "env" / "bin" / "simclr", *words]
    return subprocess.run(program, cwd=place / "work", capture_output=True, text=True)


def test_it_names_no_other_packages(place):
    (packages,) = (place / "env").glob("lib/*/site-packages")
    ours = {path.name for path in packages.iterdir() if not path.name.startswith(("pip", "setup"))}
    assert {name.partition("-")[0] for name in ours} == {"simclr_tf", "requirements.pth"}


def test_every_command_has_its_help(place):
    assert "simclr train" in simclr(place).stdout
    assert simclr(place, "--version").stdout.startswith("simclr_tf ")
    assert "quickstart" in simclr(place, "recipes").stdout
    for command in (*subcommands._MODES, *subcommands._OTHERS):
        done = simclr(place, command, "--help")
        assert done.returncode == 0 and done.stdout and not done.stderr, command


def test_train_export_and_load(place):
    images = place / "work" / "photos"
    images.mkdir()
    tiny = keras.Sequential([keras.layers.Conv2D(4, 3, 2, input_shape=(8, 8, 3))])
    tiny.save(place / "work" / "tiny.keras")
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3))):
        Image.fromarray(pixels.astype(np.uint8)).save(images / f"{index}.png")
    data = ["--dataset=folder", "--data_dir=photos"]
    done = simclr(place, "train", *data, "--model_dir=run", *TINY)
    assert done.returncode == 0, done.stderr
    assert json.loads((place / "work" / "run" / "flags.json").read_text())["train_steps"] == 1
    assert (place / "work" / "run" / "saved_model" / "1").is_dir()
    python = place / "env" / "bin" / "python"
    done = subprocess.run([python, "-c", _PROGRAM], cwd=place / "work", capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
