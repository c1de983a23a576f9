"""Folders appear whole; only exports are replaced."""

from __future__ import annotations

import os

import pytest

from export import folders
from export.folders import appearing, check_target
from simclr_tf.errors import InputError


def _names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _write(folder, name: str = "saved_model.pb", text: str = "network") -> None:
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


def test_the_folder_appears_at_the_end(tmp_path):
    target = tmp_path / "deep" / "module"
    with appearing(str(target) + "/") as partial:
        _write(partial)
        assert not target.exists()
    assert _names(target) == ["saved_model.pb"]
    assert _names(target.parent) == ["module"]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="disk full"), appearing(str(tmp_path / "m")) as partial:
        _write(partial)
        raise OSError("disk full")
    assert _names(tmp_path) == []


def test_a_failed_replacement_keeps_the_old_folder(tmp_path, monkeypatch):
    target = tmp_path / "module"
    target.mkdir()
    _write(target, text="old")
    rename = folders.tf.io.gfile.rename

    def fail_on_new(source, destination):
        if destination == str(target) and not source.endswith(".old"):
            raise OSError("disk full")
        rename(source, destination)

    monkeypatch.setattr(folders.tf.io.gfile, "rename", fail_on_new)
    with (
        pytest.raises(OSError, match="disk full"),
        appearing(str(target), overwrite=True) as partial,
    ):
        _write(partial, text="new")
    assert (target / "saved_model.pb").read_text() == "old"
    assert _names(tmp_path) == ["module"]


def test_an_existing_export_needs_overwrite(tmp_path):
    target = tmp_path / "module"
    target.mkdir()
    for name in ("saved_model.pb", "README.md", "encoder.tar.gz", "ckpt-3.index", "config.json"):
        _write(target, name)
    with pytest.raises(InputError, match="must not exist yet"), appearing(str(target)):
        pass
    with appearing(str(target), overwrite=True) as partial:
        _write(partial, "encoder.keras")
    assert _names(target) == ["encoder.keras"]


@pytest.mark.parametrize("name", ["thesis.tex", "flags.json", "ckpt-best.index"])
def test_a_folder_with_anything_else_is_never_replaced(tmp_path, name):
    _write(tmp_path)
    _write(tmp_path, name)
    with pytest.raises(InputError, match=f"holds {name}"):
        check_target(str(tmp_path), overwrite=True)


def test_a_file_or_nothing_is_no_folder(tmp_path):
    _write(tmp_path, "file")
    for path in (str(tmp_path / "file"), ""):
        with pytest.raises(InputError, match="output must name a folder"):
            check_target(path, overwrite=True)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    _write(tmp_path, "file")
    target = str(tmp_path / "file" / "module")
    with pytest.raises(InputError, match="can be written"), appearing(target):
        pass
