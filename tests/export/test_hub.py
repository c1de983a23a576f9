"""Archives: what is in them, the same bytes each time. Loading them: `test_loaders.py`."""

from __future__ import annotations

import hashlib
import os
import tarfile

import pytest
from simclr_tf.export.hub import write_archive

from simclr_tf.errors import InputError


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def test_the_model_lies_at_the_root_with_its_card(exported, tmp_path):
    path = write_archive(exported, str(tmp_path / "encoder.tar.gz"))
    with tarfile.open(path) as archive:
        entries = archive.getmembers()
        names = [entry.name for entry in entries]
        for entry in entries:
            if entry.isfile():
                with open(os.path.join(exported, entry.name), "rb") as file:
                    assert archive.extractfile(entry).read() == file.read()
    assert {"saved_model.pb", "variables/variables.index", "assets.extra/README.md"} <= set(names)
    assert names.index("variables") < names.index("variables/variables.index")
    assert all(entry.isfile() or entry.isdir() for entry in entries)


def test_the_same_folder_gives_the_same_bytes(exported, tmp_path):
    first = write_archive(exported, str(tmp_path / "a.tar.gz"))
    os.utime(os.path.join(exported, "saved_model.pb"))
    second = write_archive(exported, str(tmp_path / "b.tar.gz"))
    assert _digest(first) == _digest(second)


def test_a_failure_leaves_nothing(exported, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("simclr_tf.export.hub._add", fail)
    with pytest.raises(OSError, match="disk full"):
        write_archive(exported, str(tmp_path / "a.tar.gz"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="must be a SavedModel"):
        write_archive(str(tmp_path), str(tmp_path / "a.tar.gz"))
