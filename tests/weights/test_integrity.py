"""Manifests: what they record, and which damage they find."""

import hashlib
import json
import math
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.weights import integrity
from tests.weights import foreign_checkpoints

INDEX, DATA = ".index", ".data-00000-of-00001"


def written(folder, name="ckpt-7", manifest=True):
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    prefix = tf.train.Checkpoint(v=tf.Variable(values), n=tf.Variable(3)).write(str(folder / name))
    if manifest:
        integrity.write_manifest(prefix, 7, {"train/contrast_loss": 1.5, "train/x": math.nan})
    return prefix


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_the_manifest_records_step_files_and_finite_values(tmp_path):
    prefix = written(tmp_path)
    manifest = json.loads((tmp_path / "ckpt-7.manifest.json").read_text())
    files = {
        suffix: {
            "size": os.path.getsize(prefix + suffix),
            "sha256": hashlib.sha256((tmp_path / f"ckpt-7{suffix}").read_bytes()).hexdigest(),
        }
        for suffix in (INDEX, DATA)
    }
    assert manifest == {"step": 7, "files": files, "values": {"train/contrast_loss": 1.5}}
    assert integrity.read_values(prefix) == {"train/contrast_loss": 1.5}
    assert integrity.problem(prefix) is None
    assert sorted(os.listdir(tmp_path)) == ["ckpt-7.data-00000-of-00001", "ckpt-7.index",
                                            "ckpt-7.manifest.json"]  # fmt: skip


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("suffix", [INDEX, DATA])
@pytest.mark.parametrize("at", [0, 5, -60])
def test_one_changed_bit_is_found_with_a_manifest_and_without(tmp_path, suffix, manifest, at):
    prefix = written(tmp_path, manifest=manifest)
    flip(tmp_path / f"ckpt-7{suffix}", at)
    reason = f"ckpt-7{suffix} has changed" if manifest else "TensorFlow can't read it: "
    assert integrity.problem(prefix).startswith(reason)


@pytest.mark.parametrize("suffix", [INDEX, DATA])
def test_truncated_and_missing_files_are_named(tmp_path, suffix):
    prefix = written(tmp_path)
    size = os.path.getsize(prefix + suffix)
    os.truncate(prefix + suffix, size - 1)
    expected = f"ckpt-7{suffix} has {size - 1} bytes instead of {size}"
    assert integrity.problem(prefix) == expected
    assert integrity.problem(prefix, contents=False) == expected
    os.remove(prefix + suffix)
    assert integrity.problem(prefix) == f"ckpt-7{suffix} is missing"
    assert integrity.problem(prefix, contents=False) == f"ckpt-7{suffix} is missing"


@pytest.mark.parametrize("suffix", [INDEX, DATA])
def test_truncated_and_missing_files_are_found_without_a_manifest(tmp_path, suffix):
    prefix = written(tmp_path, manifest=False)
    assert integrity.problem(prefix) is None
    os.truncate(prefix + suffix, os.path.getsize(prefix + suffix) - 1)
    assert integrity.problem(prefix).startswith("TensorFlow can't read it: ")
    assert "\n" not in integrity.problem(prefix)
    os.truncate(prefix + suffix, 0)
    assert integrity.problem(prefix).startswith("TensorFlow can't read it: ")
    os.remove(prefix + suffix)
    assert integrity.problem(prefix) is not None


def test_a_name_based_checkpoint_without_a_manifest_is_intact(tmp_path):
    arrays = {"base_model/conv2d/kernel": np.ones((3, 3), np.float32)}
    prefix = foreign_checkpoints.write_tf1(str(tmp_path / "model.ckpt-20"), arrays)
    assert integrity.problem(prefix) is None and integrity.read_values(prefix) == {}


def test_nothing_is_hashed_where_sizes_differ_or_suffice(tmp_path, monkeypatch):
    prefix = written(tmp_path)

    def hashed(path):
        raise AssertionError(path)

    monkeypatch.setattr(integrity, "sha256", hashed)
    assert integrity.problem(prefix, contents=False) is None
    os.truncate(prefix + DATA, 5)
    assert "instead of" in integrity.problem(prefix)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": {}}', '{"files": {".index": 3}}',
                                  '{"files": 3}', "\udcff"])  # fmt: skip
def test_a_manifest_that_can_not_be_read_is_damage(tmp_path, text):
    prefix = written(tmp_path)
    (tmp_path / "ckpt-7.manifest.json").write_text(text, errors="surrogateescape")
    assert integrity.problem(prefix) == "ckpt-7.manifest.json can't be read"
    assert integrity.read_values(prefix) == {}


@pytest.mark.parametrize("suffix", ["/../secret", "/../../../dev/zero", "", ".data", "x.index"])
def test_a_manifest_leads_to_no_other_file(tmp_path, suffix, monkeypatch):
    prefix = written(tmp_path)
    path = integrity.manifest_path(prefix)
    content = json.loads(pathlib.Path(path).read_text())
    content["files"][suffix] = {"size": 0, "sha256": ""}
    pathlib.Path(path).write_text(json.dumps(content))
    monkeypatch.setattr(integrity, "sha256", lambda path: pytest.fail(path))
    assert integrity.problem(prefix) == "ckpt-7.manifest.json can't be read"


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_pipe_is_no_file_of_a_checkpoint(tmp_path, suffix, manifest):
    prefix = written(tmp_path, manifest=manifest)
    os.unlink(prefix + suffix)
    os.mkfifo(prefix + suffix)
    assert integrity.problem(prefix) == f"ckpt-7{suffix} is no regular file"


def test_a_renamed_checkpoint_keeps_its_manifest(tmp_path):
    written(tmp_path / "[a] *b", "ckpt-7")  # characters that mean something to glob
    for path in list((tmp_path / "[a] *b").iterdir()):
        path.rename(path.with_name(path.name.replace("ckpt-7", "best")))
    prefix = str(tmp_path / "[a] *b" / "best")
    assert integrity.problem(prefix) is None
    flip(tmp_path / "[a] *b" / "best.index", 3)
    assert integrity.problem(prefix) == "best.index has changed since it was written"


def test_files_belong_to_one_checkpoint_alone(tmp_path):
    names = ["ckpt-1.index", "ckpt-1.data-00000-of-00002", "ckpt-1.data-00001-of-00002",
             "ckpt-1.manifest.json", "ckpt-10.index", "ckpt-1.notes"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    found = [os.path.basename(path) for path in integrity.files_of(str(tmp_path / "ckpt-1"))]
    assert found == [names[1], names[2], names[0]]
    assert integrity.any_manifest(str(tmp_path))
    assert integrity.has_manifest(str(tmp_path / "ckpt-1"))
    assert not integrity.has_manifest(str(tmp_path / "ckpt-10"))
    assert not integrity.any_manifest(str(tmp_path / "absent"))
