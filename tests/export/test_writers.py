"""What each format writes, under which names; refused networks."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from simclr_tf.export.bundle import export_checkpoint
from simclr_tf.export.history import History

from simclr_tf.errors import InputError
from simclr_tf.export import folders, writers
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.weights.load import load_model
from tests import shallow


def _job(live, images=None):
    return writers.Job(live, History(image_size=16, global_step=7), 16, images, lambda text: None)


def test_an_earlier_export_of_any_format_can_be_replaced(make_live, images, tmp_path):
    shallow.install(shallow.EVERY_KIND)
    live = make_live(passes=1)
    formats = ["serving", "keras", "tflite", "tflite_int8"]
    for name, package in (("onnx", "tf2onnx"), ("torch", "safetensors"),
                          ("huggingface", "safetensors")):  # fmt: skip
        if writers_installed(package):
            formats.append(name)
    names = writers.write(_job(live, images), str(tmp_path / "out"), formats)
    assert sorted(names) == sorted(path.name for path in (tmp_path / "out").iterdir())
    folders.check_target(str(tmp_path / "out"), overwrite=True)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        folders.check_target(str(tmp_path / "out"), overwrite=True)


def writers_installed(package: str) -> bool:
    from simclr_tf.export.extras import is_installed

    return is_installed(package)


def test_the_folder_for_servers_has_all_signatures(live, tmp_path):
    assert "serving" in writers.write(_job(live), str(tmp_path), ["serving"])
    assert [path.name for path in (tmp_path / "serving").iterdir()] == ["7"]
    signatures = tf.saved_model.load(str(tmp_path / "serving" / "7")).signatures
    assert set(signatures) == {"serving_default", "default", "from_bytes", "training_default"}


def test_weights_that_torchvision_lacks_come_with_code(live, tmp_path):
    pytest.importorskip("safetensors", reason="pip install 'simclr_tf[safetensors]'")
    names = writers.write(_job(live), str(tmp_path), ["safetensors"])
    assert names == ["README.md", "encoder.safetensors", "encoder.py"]
    assert "## In PyTorch" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("name", ["safetensors", "torch", "huggingface"])
def test_only_resnets_have_names_in_pytorch(live, name):
    body = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    other = types.SimpleNamespace(encoder=KerasEncoder(body, 8, 3), config=live.config)
    with pytest.raises(InputError, match="they take ResNets"):
        writers.check_network(other, [name])


@pytest.mark.parametrize("name", ["huggingface", "torch"])
def test_an_export_is_exported_again(exported, live, images, tmp_path, name):
    pytest.importorskip("safetensors", reason="pip install 'simclr_tf[safetensors]'")
    export_checkpoint(exported, str(tmp_path / "out"), [name], say=lambda text: None)
    if name == "torch":  # its weights alone; that they are written again is seen with the other
        found = load_model(str(tmp_path / "out")).model(images)["final_avg_pool"]
    else:
        (again,) = export_checkpoint(
            str(tmp_path / "out"), str(tmp_path / "again"), say=lambda text: None
        )
        found = tf.saved_model.load(again)(images)["final_avg_pool"]
    np.testing.assert_allclose(found, live(images)["final_avg_pool"], atol=1e-5)
