"""Folders appear whole; only exports are replaced."""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest
from simclr_tf.export.folders import appearing, check_apart, check_target

from simclr_tf.errors import InputError
from simclr_tf.export import folders
from tests import warm


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


def _module(folder, text="network"):
    """The files of an exported SavedModel."""
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/simclr_tf.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(folder, name, text)
    (folder / "assets").mkdir(exist_ok=True)


def test_a_failed_replacement_keeps_the_old_folder(tmp_path, monkeypatch):
    target = tmp_path / "module"
    _module(target, text="old")
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


def _bundle(folder):
    folder.mkdir()
    for name in ("README.md", "encoder.tar.gz"):
        _write(folder, name)
    _module(folder / "saved_model")


def _conversion(folder):
    folder.mkdir()
    _write(folder, "ckpt-3.index")
    _write(folder, "config.json", text='{"imported_from": "TF1 checkpoint"}')


@pytest.mark.parametrize("write", [_module, _bundle, _conversion])
def test_an_existing_export_needs_overwrite(tmp_path, write):
    target = tmp_path / "module"
    write(target)
    with pytest.raises(InputError, match="must not exist yet .--overwrite"), appearing(str(target)):
        pass
    with appearing(str(target), overwrite=True) as partial:
        _write(partial, "encoder.keras")
    assert _names(target) == ["encoder.keras"]


@pytest.mark.parametrize("name", ["thesis.tex", "flags.json", "ckpt-best.index", "assets/x.pdf"])
def test_a_folder_with_anything_else_is_never_replaced(tmp_path, name):
    _module(tmp_path)
    _write(tmp_path, name)
    with pytest.raises(InputError, match=f"holds {name}"):
        check_target(str(tmp_path), overwrite=True)


@pytest.mark.parametrize(
    "names",
    [["README.md"], ["saved_model.pb"], ["config.json", "ckpt-3.index"], ["ckpt-3.index"]],
    ids=str,
)
def test_names_alone_make_no_export(tmp_path, names):
    for name in names:
        _write(tmp_path, name, text="{}")
    with pytest.raises(InputError, match="must be an earlier export and nothing else"):
        check_target(str(tmp_path), overwrite=True)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    with appearing(str(tmp_path / "empty")) as partial:
        _write(partial)
    assert _names(tmp_path / "empty") == ["saved_model.pb"]


def test_a_link_leads_to_its_folder(tmp_path):
    _module(tmp_path / "real", text="old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with appearing(str(tmp_path / "link"), overwrite=True) as partial:
        _write(partial, text="new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "saved_model.pb").read_text() == "new"
    assert _names(tmp_path) == ["link", "real"]


def test_what_is_read_is_not_written_over(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for output in ("run", "run/.", "link", "."):
        with pytest.raises(InputError, match="output must be another folder"):
            check_apart(str(tmp_path / "run"), str(tmp_path / output))
    check_apart(str(tmp_path / "run"), str(tmp_path / "run" / "export"))
    check_apart(str(tmp_path / "run"), str(tmp_path / "run2"))


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


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path):
    program = (
        "import os, signal, sys; from export.folders import appearing\n"
        "with appearing(sys.argv[1]) as partial:\n"
        "    open(os.path.join(partial, 'half'), 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    target = tmp_path / "module"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    killed = warm.run([sys.executable, "-c", program, target], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists()
    # One that is under way, and one of another host, whose processes can't be asked for.
    running = tmp_path / left.name.replace(left.name.rpartition("-")[2], str(os.getppid()))
    elsewhere = tmp_path / f".module.partial-elsewhere-{left.name.rpartition('-')[2]}"
    running.mkdir()
    elsewhere.mkdir()
    with appearing(str(target)) as partial:
        _write(partial)
    assert not left.exists()
    assert running.exists() and elsewhere.exists() and target.exists()


def test_links_and_folders_of_others_under_our_names_cost_nothing(tmp_path):
    host = socket.gethostname()
    documents = tmp_path / "documents"
    foreign = tmp_path / f".module.partial-{host}-999999.old"
    for folder in (documents, foreign):
        folder.mkdir()
        _write(folder, "notes.txt", text="mine")
    for number in ("999999", "99999999999999999999"):  # no process has these numbers
        (tmp_path / f".module.partial-{host}-{number}").symlink_to(documents)
    with appearing(str(tmp_path / "module")) as partial:
        _write(partial)
    assert (documents / "notes.txt").read_text() == (foreign / "notes.txt").read_text() == "mine"
    assert not (tmp_path / f".module.partial-{host}-999999").is_symlink()


def test_a_link_in_an_export_makes_it_somebodys(tmp_path):
    target, documents = tmp_path / "module", tmp_path / "documents"
    _module(target)
    documents.mkdir()
    (target / "assets" / "more").symlink_to(documents)
    with pytest.raises(InputError, match="nothing else to be replaced .*assets/more .a link"):
        check_target(str(target), overwrite=True)
