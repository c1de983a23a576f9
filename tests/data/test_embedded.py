"""Preparing the embedded sets."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn import datasets

from simclr_tf.data import embedded, patterns
from simclr_tf.errors import InputError
from tests import warm

PREPARE_DIGITS = """
import sys
from simclr_tf.data import embedded

builder = embedded.prepare("digits", sys.argv[1])
print(len(list(builder.as_dataset(split="test"))))
"""


def test_patterns_hold_what_is_drawn(embedded_dir, capfd):
    builder = embedded.prepare("patterns", embedded_dir)
    assert builder.info.splits["train"].num_examples == 8_000
    assert builder.info.features["label"].names == list(patterns.CLASS_NAMES)
    images, labels = patterns.generate("test")
    stored = list(tfds.as_numpy(builder.as_dataset(split="test")))
    expected = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert {example["image"].tobytes(): example["label"] for example in stored} == expected
    assert "Generating" not in capfd.readouterr().out


def test_second_time_only_reads(embedded_dir, monkeypatch):
    embedded.prepare("patterns", embedded_dir)
    monkeypatch.setattr(patterns, "generate", lambda split: pytest.fail("drawn again"))
    embedded.prepare("patterns", embedded_dir)


def test_digits_are_split_by_class(embedded_dir):
    builder = embedded.prepare("digits", embedded_dir)
    sizes = {name: info.num_examples for name, info in builder.info.splits.items()}
    assert sum(sizes.values()) == 1_797 and sizes["test"] == pytest.approx(360, abs=10)
    bunch = datasets.load_digits()
    labels = np.array([e["label"] for e in tfds.as_numpy(builder.as_dataset(split="test"))])
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(bunch.target) // 5)
    image = next(iter(tfds.as_numpy(builder.as_dataset(split="train"))))["image"]
    assert image.shape == (8, 8, 3) and image.max() > 200
    scans = {np.round(scan * 255 / 16).astype(np.uint8).tobytes() for scan in bunch.images}
    assert image[..., 0].tobytes() in scans


def test_default_data_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert embedded.default_data_dir() == tmp_path
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert embedded.default_data_dir() == tmp_path / ".cache" / "simclr_tf" / "tfds"


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        embedded.prepare("digits", tmp_path / "file")
    assert caught.value.name == "data_dir"


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_digits", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embedded.prepare("digits", tmp_path)
    assert not list(tmp_path.rglob("*.json")) and not list(tmp_path.glob(".incomplete*"))


def test_two_processes_at_once(tmp_path):
    command = [sys.executable, "-c", PREPARE_DIGITS, tmp_path]
    both = [warm.Program(command, stdout=warm.PIPE, text=True) for _ in range(2)]
    found = [program.communicate(timeout=300)[0] for program in both]
    assert [text.split()[-1:] for text in found] == [["355"], ["355"]]
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_the_slower_process_uses_what_the_faster_wrote(tmp_path):
    embedded.prepare("digits", tmp_path)
    final = tmp_path / "digits" / "1.0.0"
    before = {path: path.stat().st_mtime_ns for path in final.iterdir()}
    embedded._write("digits", tmp_path, final)
    assert {path: path.stat().st_mtime_ns for path in final.iterdir()} == before
    assert not list(tmp_path.glob(".incomplete*"))


def test_a_part_of_a_set_is_not_written_over(tmp_path):
    (tmp_path / "digits" / "1.0.0").mkdir(parents=True)
    (tmp_path / "digits" / "1.0.0" / "features.json").write_text("{}")
    with pytest.raises(InputError, match="data_dir must not hold a part of digits"):
        embedded.prepare("digits", tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1.0.0", "digits", "features.json"]
