"""A checkpoint in every format, without data and without an evaluation."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from simclr_tf.export.bundle import export_checkpoint

from simclr_tf.errors import InputError
from simclr_tf.export import writers
from simclr_tf.settings import by_name


def quiet(text):
    pass


@pytest.fixture(scope="module")
def run(live, tmp_path_factory) -> pathlib.Path:
    """The folder of a run with one checkpoint; its data set does not exist."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    folder.mkdir()
    tf.train.Checkpoint(model=live).write(str(folder / "ckpt-7"))
    settings = by_name.flatten(live.config)
    names = ["cat", "dog", "owl"]
    config = {**settings, "dataset": "folder:/gone", "image_size": 40, "class_names": names}
    (folder / "config.json").write_text(json.dumps({"model_dir": "a", **config}))
    (folder / "result_7.json").write_text('{"eval/knn_20_accuracy": 0.5, "global_step": 7}')
    return folder


@pytest.fixture(scope="module")
def everything(run, tmp_path_factory) -> tuple[pathlib.Path, list[str]]:
    folder = tmp_path_factory.mktemp("out") / "all"
    said = []
    formats = ["saved_model", "hub", "keras"]
    paths = export_checkpoint(str(run), f"{folder}/", formats, say=said.append)
    assert any("restored" in line for line in said)
    return folder, paths


def test_every_format_is_there(everything):
    folder, paths = everything
    names = ["README.md", "encoder.keras", "encoder.tar.gz", "saved_model"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert sorted(paths) == [str(folder / name) for name in names]
    inside = (folder / "saved_model" / "assets.extra" / "README.md").read_text()
    assert inside == (folder / "README.md").read_text()
    assert "50.0 %" in inside and "Classes: 0 cat, 1 dog, 2 owl." in inside


def test_the_record_rebuilds_the_network(everything, live):
    folder, _ = everything
    record = json.loads((folder / "saved_model/assets.extra/simclr_tf.json").read_text())
    assert record["format"] == 1
    assert (record["num_classes"], record["image_size"], record["global_step"]) == (3, 40, 7)
    assert record["model"] == by_name.flatten(live.config)
    assert record["parameters"] == sum(np.prod(v.shape) for v in live.variables)


def test_an_export_can_be_exported_again(everything, live, images, tmp_path):
    folder, _ = everything
    (again,) = export_checkpoint(
        str(folder / "encoder.tar.gz"), str(tmp_path / "m"), image_size=16, say=quiet
    )
    outputs = tf.saved_model.load(again)(images)
    for name, expected in live(images).items():
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5)
    record = json.loads(pathlib.Path(again, "assets.extra", "simclr_tf.json").read_text())
    assert (record["image_size"], record["class_names"]) == (16, ["cat", "dog", "owl"])


def test_a_keras_file_alone_needs_no_saved_model(run, tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "write_saved_model", None)
    export_checkpoint(str(run / "ckpt-7"), str(tmp_path / "k"), ["keras"], say=quiet)
    assert sorted(p.name for p in (tmp_path / "k").iterdir()) == ["README.md", "encoder.keras"]


@pytest.mark.parametrize("formats", [[], ["onyx"], ["hub", "hub"], [""]])
def test_unknown_formats_are_refused(run, tmp_path, formats):
    with pytest.raises(InputError, match="format must"):
        export_checkpoint(str(run), str(tmp_path / "m"), formats, say=quiet)


def test_bad_input_leaves_nothing(run, tmp_path, monkeypatch):
    for checkpoint, settings in [(str(tmp_path), {}), (str(run), {"image_size": 2})]:
        with pytest.raises(InputError):
            export_checkpoint(checkpoint, str(tmp_path / "m"), say=quiet, **settings)

    def fail(model, path):
        raise OSError("disk full")

    monkeypatch.setattr(writers, "write_keras_file", fail)
    with pytest.raises(OSError, match="disk full"):
        export_checkpoint(str(run), str(tmp_path / "m"), ["keras"], say=quiet)
    assert list(tmp_path.iterdir()) == []


def test_the_target_is_checked_before_anything_is_read(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="output must not exist yet"):
        export_checkpoint(str(tmp_path / "absent"), str(tmp_path / "m"), say=quiet)
    with pytest.raises(InputError, match="output must be another folder"):
        export_checkpoint(str(tmp_path / "x" / "run"), str(tmp_path / "x"), say=quiet)
    with pytest.raises(InputError, match="image_size must be at most 4096. Received: 5000"):
        export_checkpoint(str(tmp_path / "y"), str(tmp_path / "x"), image_size=5000, say=quiet)
