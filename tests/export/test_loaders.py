"""The exported model in every place a TensorFlow user would put it.

`loaders_program.py` runs where this project can't be imported, in two processes: one for what
lives with Keras 2, one for Keras 3. `pytest -s` prints the table of the README.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from simclr_tf.export.history import History
from simclr_tf.export.hub import write_archive
from simclr_tf.export.saved_model import write_saved_model
from simclr_tf.export.serving import images_from_bytes

from tests import warm

PROGRAM = pathlib.Path(__file__).with_name("loaders_program.py")
MODULES = ["saved_model", "hub_folder", "hub_http"]
KERAS_2 = [*MODULES, "hub_archive", "keras_layer_frozen", "keras_layer_trainable",
           "saved_model_cli", "rest", "converters"]  # fmt: skip
TOLERANCE = 1e-5


def _files() -> list[bytes]:
    """Encoded images of several sizes and formats."""
    pixels = np.random.default_rng(3).integers(0, 256, (64, 80, 3), np.uint8)
    return [
        tf.io.encode_png(pixels).numpy(),
        tf.io.encode_jpeg(pixels[:40, :30]).numpy(),
        tf.io.encode_png(pixels[..., :1]).numpy(),
        tf.io.encode_png(pixels[:20, :20]).numpy(),
    ]


@pytest.fixture(scope="module")
def arguments(live, exported, images, tmp_path_factory) -> list[str]:
    """SavedModel, archive, and inputs with the live model's outputs."""
    folder = tmp_path_factory.mktemp("loaders")
    files = _files()
    outputs = {f"out/{name}": value.numpy() for name, value in live(images).items()}
    assert outputs["out/final_avg_pool"].std(axis=0).mean() > 0.1  # images make a difference
    views = images_from_bytes(tf.constant(files), 40)
    np.savez(
        folder / "data.npz",
        images=images,
        labels=np.arange(len(images)) % 3,
        files=np.array(files),
        **outputs,
        **{"bytes/embedding": live(views)["final_avg_pool"].numpy()},
    )
    archive = write_archive(exported, str(folder / "encoder.tar.gz"))
    write_saved_model(live, str(folder / "serving" / "7"), History(image_size=40), for_server=True)
    return [exported, archive, str(folder / "serving" / "7"), str(folder / "data.npz")]


def _run(arguments: list[str], loaders: list[str], folder: pathlib.Path) -> dict:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = warm.run(
        [sys.executable, str(PROGRAM), *arguments, *loaders],
        cwd=folder, env={**environment, "KERAS_BACKEND": "tensorflow"},
        text=True, capture_output=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def keras_2(arguments, tmp_path_factory) -> dict:
    return _run(arguments, KERAS_2, tmp_path_factory.mktemp("keras_2"))


@pytest.fixture(scope="module")
def keras_3(arguments, tmp_path_factory) -> dict:
    pytest.importorskip("keras", minversion="3")
    return _run(arguments, ["tfsm_layer"], tmp_path_factory.mktemp("keras_3"))


def _result(results: dict, loader: str) -> dict:
    result = results[loader]
    assert "error" not in result, result["error"]
    print(f"\n{loader}: {json.dumps(result)}")
    return result


def _falls(losses: list[float]) -> bool:
    return losses[1] < 0.8 * losses[0]


@pytest.mark.parametrize("loader", MODULES)
def test_as_a_module(keras_2, loader):
    """Same endpoints; gradients and training reach every variable of the encoder.

    What TensorFlow Hub loads is the same object, and not trained once more.
    """
    result = _result(keras_2, loader)
    assert len(result["endpoints"]) == 10
    assert result["deviation"] < TOLERANCE and result["bytes_deviation"] < TOLERANCE
    assert result["inference_changes"] == 0
    if loader == "saved_model":
        assert _falls(result["loss"])
        assert result["gradients"] == result["trained"] == result["statistics_moved"] == 1


def test_a_server_is_asked_once(keras_2):
    result = keras_2["hub_http"]
    assert result["card"] and len(result["requests"]) == 1
    assert result["requests"][0] == "/encoder.tar.gz?tf-hub-format=compressed"


def test_tensorflow_hub_does_not_unpack_local_files(keras_2):
    """Should this fail one day, the README and the model card can be shortened."""
    assert "contains neither" in keras_2["hub_archive"]["direct"]


def test_keras_layer_frozen(keras_2):
    result = _result(keras_2, "keras_layer_frozen")
    assert result["deviation"] < TOLERANCE
    assert _falls(result["loss"])
    assert result["changes"] == result["trainable_weights"] == 0


def test_keras_layer_trainable_in_fit(keras_2):
    result = _result(keras_2, "keras_layer_trainable")
    assert result["deviation"] < TOLERANCE
    assert _falls(result["loss"])
    assert result["trained"] == result["statistics_moved"] == 1
    assert result["inference_changes"] == result["losses_of_the_layer"] == 0


@pytest.mark.parametrize(
    ("way", "trained", "statistics_moved"),
    [("frozen", 0, 0), ("fine_tuned", 1, 0), ("fine_tuned_with_batch_statistics", 1, 1)],
)
def test_tfsm_layer_of_keras_3(keras_3, way, trained, statistics_moved):
    result = _result(keras_3, "tfsm_layer")
    assert (result[way]["changes"] == 0) == (way == "frozen")
    assert result["keras"].startswith("3.")
    assert result[way]["deviation"] < TOLERANCE
    assert result[way]["inference_changes"] == 0
    assert _falls(result[way]["loss"])
    assert result[way]["trained"] == trained
    assert result[way]["statistics_moved"] == statistics_moved


def test_keras_3_has_to_be_given_a_built_optimizer(keras_3):
    """Should this fail one day, the README and the model card can be shortened."""
    assert "not a valid scope name" in keras_3["tfsm_layer"]["error_of_a_fresh_adam"]


def test_saved_model_cli(keras_2):
    result = _result(keras_2, "saved_model_cli")
    assert {"serving_default", "training_default", "from_bytes"} <= set(result["signatures"])
    assert {"images", "image_bytes"} <= set(result["inputs"])
    assert {"embedding", "logits"} <= set(result["outputs"])
    assert result["deviation"] < TOLERANCE and result["bytes_deviation"] < TOLERANCE


def test_the_rest_form_of_from_bytes(keras_2):
    """The body that docs/tutorials/serve.md shows, through an http server."""
    result = _result(keras_2, "rest")
    assert result["rows"] == 4 and result["outputs"] == ["embedding", "logits"]
    assert result["bytes_deviation"] < TOLERANCE


@pytest.mark.parametrize("converter", ["tflite", "onnx"])
def test_converters_need_no_options(keras_2, converter):
    result = _result(keras_2, "converters")
    if converter not in result:
        pytest.skip("tf2onnx or onnxruntime is not installed: pip install 'simclr_tf[onnx]'")
    assert result[converter] < TOLERANCE
