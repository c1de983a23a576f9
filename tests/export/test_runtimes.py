"""Exported files in runtimes other than TensorFlow, in processes that can't import it or us.

A runtime that is not installed here is looked for in the interpreter that the environment variable
`SIMCLR_TF_RUNTIMES` names (or, of torchvision, `SIMCLR_TF_TORCHVISION`), else the test is skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from simclr_tf.export.history import History

from simclr_tf.config import BLOCKS_PER_GROUP, EncoderConfig
from simclr_tf.encoder import load_encoder
from simclr_tf.export import writers

PROGRAM = pathlib.Path(__file__).with_name("runtimes_program.py")
TOLERANCE = 1e-5
NEEDS = {
    "onnxruntime": ("onnxruntime",), "litert": ("ai_edge_litert",),
    "keras_jax": ("keras", "jax"), "keras_torch": ("keras", "torch"),
    "torch": ("torch", "safetensors"), "huggingface": ("torch", "safetensors"),
    "torchvision": ("torchvision", "safetensors"), "make_torchvision": ("torchvision",),
}  # fmt: skip
OF_FORMAT = {"encoder.onnx": "onnx", "encoder.safetensors": "torch", "huggingface": "huggingface"}


def _missing(runtime: str) -> list[str]:
    return [name for name in NEEDS[runtime] if importlib.util.find_spec(name) is None]


def _interpreter(runtime: str) -> str:
    other = "SIMCLR_TF_TORCHVISION" if "torchvision" in runtime else "SIMCLR_TF_RUNTIMES"
    missing = _missing(runtime)
    if not missing:
        return sys.executable
    if other not in os.environ:
        pytest.skip(f"{' and '.join(missing)} can't be imported here; {other} names no interpreter")
    return os.environ[other]


def _run(runtime: str, folder: pathlib.Path) -> dict[str, float]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KERAS_BACKEND")}
    done = subprocess.run(
        [_interpreter(runtime), str(PROGRAM), runtime, str(folder)],
        env=environment, text=True, capture_output=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{runtime}: {json.dumps(found)}")
    return found


@pytest.fixture(scope="module")
def files(live, images, tmp_path_factory) -> pathlib.Path:
    """Every format whose packages are there, as far as a runtime can read it."""
    folder = tmp_path_factory.mktemp("runtimes")
    np.savez(folder / "data.npz", images=images, **live(images))
    (folder / "blocks.json").write_text(json.dumps(BLOCKS_PER_GROUP))
    elsewhere = "SIMCLR_TF_RUNTIMES" in os.environ
    formats = [one for one, runtimes in {"keras": ["keras_jax", "keras_torch"],
                                         "tflite": ["litert"]}.items()
               if elsewhere or not all(map(_missing, runtimes))]  # fmt: skip
    if importlib.util.find_spec("tf2onnx"):
        formats.append("onnx")
    if importlib.util.find_spec("safetensors") and (elsewhere or not _missing("torch")):
        formats += ["torch", "huggingface"]
    job = writers.Job(live, History(image_size=16), 16, None, lambda text: None)
    writers.write(job, str(folder), formats)
    return folder


@pytest.mark.parametrize(
    ("runtime", "name"),
    [("onnxruntime", "encoder.onnx"), ("litert", "encoder.tflite"),
     ("keras_jax", "encoder.keras"), ("keras_torch", "encoder.keras"),
     ("torch", "encoder.safetensors"), ("huggingface", "huggingface")],
)  # fmt: skip
def test_a_runtime_computes_the_network(files, runtime, name):
    _interpreter(runtime)
    if not (files / name).exists():
        pytest.skip(f"the packages of --format={OF_FORMAT[name]} are not installed")
    found = _run(runtime, files)
    assert {"final_avg_pool", "logits_sup"} <= set(found)
    assert max(found.values()) < TOLERANCE


@pytest.fixture(scope="module")
def sixty_four() -> np.ndarray:
    return np.random.default_rng(2).random((1, 64, 64, 3), np.float32)


def test_torchvision_takes_our_weights(make_live, sixty_four, tmp_path):
    """Exactly with the line on max pooling that the card shows, else nearly."""
    _interpreter("torchvision")
    live = make_live(EncoderConfig(50, stem="imagenet"), num_classes=None, passes=1)
    np.savez(tmp_path / "data.npz", images=sixty_four, **live(sixty_four))
    job = writers.Job(live, History(image_size=64), 64, None, print)
    assert writers.write(job, str(tmp_path), ["safetensors"]) == ["README.md", writers.WEIGHTS]
    assert "MaxPool2d(3, 2, ceil_mode=True)" in (tmp_path / "README.md").read_text()
    found = _run("torchvision", tmp_path)
    assert found["documented"] < TOLERANCE < found["plain"]


@pytest.mark.whole
@pytest.mark.parametrize("depth", [18, 50])
def test_we_take_torchvisions_weights(made, sixty_four, depth):
    with pytest.warns(UserWarning, match="input_norm=imagenet"):
        encoder = load_encoder(made / f"resnet{depth}.pth", "final_avg_pool")
    found, expected = encoder(sixty_four).numpy(), np.load(made / f"resnet{depth}.npy")
    deviation = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"\nresnet{depth} of torchvision, read here: {deviation}")
    assert deviation < TOLERANCE


@pytest.fixture(scope="module")
def made(sixty_four, tmp_path_factory) -> pathlib.Path:
    pytest.importorskip("torch", reason="pip install 'simclr_tf[torch]'")
    folder = tmp_path_factory.mktemp("torchvision")
    statistics = {"mean": np.float32([0.485, 0.456, 0.406]),
                  "std": np.float32([0.229, 0.224, 0.225])}  # fmt: skip
    np.savez(folder / "data.npz", images=sixty_four, **statistics)
    _run("make_torchvision", folder)
    return folder
