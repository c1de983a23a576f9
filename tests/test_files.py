"""Files appear complete or not at all."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest

from simclr_tf import files
from simclr_tf.errors import InputError


def test_text_and_missing_folders(tmp_path):
    path = tmp_path / "a" / "b.txt"
    files.write_text_atomically(path, "größe\n")
    files.write_text_atomically(str(path), "neu\n")
    assert path.read_bytes() == b"neu\n"
    assert os.listdir(path.parent) == ["b.txt"]


def test_new_files_get_ordinary_permissions(tmp_path):
    files.write_text_atomically(tmp_path / "atomic", "x")
    (tmp_path / "ordinary").write_text("x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    files.write_json(path, {"old": 1})

    def broken_replace(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken_replace)
    with pytest.raises(OSError, match="disk full"):
        files.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["result.json"]


def test_failure_names_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "page.html").mkdir()
    for name in ("page.html", "n" * 300):  # a folder, and longer than file systems take
        with pytest.raises(OSError) as caught:
            files.write_text_atomically(tmp_path / name, "x")
        assert str(caught.value).endswith(f"'{tmp_path / name}'")
    assert os.listdir(tmp_path) == ["page.html"] and os.listdir(tmp_path / "page.html") == []


@pytest.mark.parametrize(
    ("name", "left", "goes"),
    [
        ("a[1].npz", b"PK\3\4half", True),
        ("a.npz", b"P", True),
        ("a.npz", b"", True),
        ("a.parquet", b"PAR1", True),
        ("a.html", b"<!doctype html><p>", True),
        ("a.json", b'{"a"', True),
        ("a.npz", b"of somebody", False),
        ("a.json", b"PK", False),
        ("a.txt", b"of somebody", False),
    ],
)
def test_leftovers_of_killed_writes_are_removed(name, left, goes, tmp_path):
    (tmp_path / name).write_text("kept")
    leftover = tmp_path / f".{name}.0123abcd.tmp"
    leftover.write_bytes(left)
    (tmp_path / ".b.npz.0123abcd.tmp").write_bytes(b"PK: another's")
    files.remove_leftovers(tmp_path / name)
    assert leftover.exists() == (not goes)
    assert len(os.listdir(tmp_path)) == 3 - goes
    files.remove_leftovers(tmp_path / "nowhere" / "a.npz")


def test_a_file_that_is_being_written_is_no_leftover(tmp_path):
    target = tmp_path / "x.npz"
    os.mkfifo(tmp_path / ".x.npz.0123abcd.tmp")
    (tmp_path / ".x.npz.0123abce.tmp").symlink_to(tmp_path / "x.npz")
    with files.open_temporary(target) as file:
        files.remove_leftovers(target)
        assert len(os.listdir(tmp_path)) == 3
    files.remove_leftovers(target)
    assert os.path.basename(file.name) not in os.listdir(tmp_path)


def test_a_private_file_stays_private(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    files.write_text_atomically(path, "old")
    replace, seen = os.replace, []

    def watched(temporary, target):
        seen.append(os.stat(temporary).st_mode & 0o777)
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", watched)
    for mode in (0o600, 0o640, 0o777):
        path.chmod(mode)
        files.write_text_atomically(path, "new")
        assert seen.pop() == path.stat().st_mode & 0o777 == mode


def test_a_file_is_on_disk_whole_before_it_takes_its_name(tmp_path, monkeypatch):
    """A machine that is switched off keeps a new name, and may lose what was not forced to disk."""
    files.write_text_atomically(tmp_path / "x.json", "old")
    fsync, replace, forced, named = os.fsync, os.replace, {}, []

    def force(descriptor):
        fsync(descriptor)
        found = os.fstat(descriptor)
        forced[found.st_ino] = found.st_size

    def rename(source, target):
        named.append(forced.get(os.stat(source).st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", force)
    monkeypatch.setattr(os, "replace", rename)
    files.write_text_atomically(tmp_path / "x.json", "new text")
    assert named == [len("new text")]
    assert (tmp_path / "x.json").read_text() == "new text"


def test_a_full_disk_names_the_file(tmp_path, small_files):
    files.write_text_atomically(tmp_path / "x.json", "old")
    with small_files(), pytest.raises(OSError) as caught:
        files.write_text_atomically(tmp_path / "x.json", "y" * 100_000)
    assert str(caught.value).endswith(f"'{tmp_path / 'x.json'}'")
    assert os.listdir(tmp_path) == ["x.json"] and (tmp_path / "x.json").read_text() == "old"


def test_arrays(tmp_path):
    files.write_npz(tmp_path / "a" / "x.npz", {"eval/one": np.arange(3), "two": [1.5]})
    with np.load(tmp_path / "a" / "x.npz") as read:
        assert read["eval/one"].tolist() == [0, 1, 2] and read["two"].tolist() == [1.5]


def test_json_of_everything_a_run_holds(tmp_path):
    @dataclasses.dataclass
    class Settings:
        steps: int
        folder: pathlib.PurePosixPath

    value = {
        "float": np.float32(0.5),
        "int": np.int64(3),
        "array": np.arange(4).reshape(2, 2),
        "tuple": (1, None, True, "ä"),
        "settings": Settings(7, pathlib.PurePosixPath("runs/a")),
    }
    files.write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "float": 0.5,
        "int": 3,
        "array": [[0, 1], [2, 3]],
        "tuple": [1, None, True, "ä"],
        "settings": {"steps": 7, "folder": "runs/a"},
    }


@pytest.mark.parametrize(
    "bad", [float("nan"), float("-inf"), np.float32("nan"), np.array([1, np.inf])]
)
def test_json_refuses_non_finite_numbers_and_says_where(tmp_path, bad):
    with pytest.raises(InputError, match=r"\$\.metrics\[1\].*must be finite"):
        files.write_json(tmp_path / "x.json", {"metrics": [0.0, bad]})
    assert os.listdir(tmp_path) == []


def test_remote_paths_go_through_gfile():
    import tensorflow as tf

    files.write_text_atomically("ram://folder/a.txt", "one")
    files.write_text_atomically("ram://folder/a.txt", "two")
    with tf.io.gfile.GFile("ram://folder/a.txt") as file:
        assert file.read() == "two"
    assert tf.io.gfile.listdir("ram://folder") == ["a.txt"]


def test_files_below_a_folder_here_and_elsewhere(tmp_path):
    for root in (os.fspath(tmp_path), "ram://listed/a"):
        for name in ("b/c/d.txt", "a.txt", "b/a.txt"):
            files.write_text_atomically(f"{root}/{name}", name)
        assert files.list_files(root) == ["a.txt", "b/a.txt", "b/c/d.txt"]
        assert files.list_files(f"{root}/b/") == ["a.txt", "c/d.txt"]
        assert files.list_files(f"{root}/nowhere") == []


def test_a_remote_folder_is_brought_here_as_far_as_it_is_wanted(tmp_path):
    for name in ("b/c.txt", "a.txt"):
        files.write_text_atomically(f"ram://far/a run/{name}", name)
    with files.on_local_disk("ram://far/a run/", lambda path: path != "a.txt") as place:
        assert os.path.basename(place) == "a run" and files.list_files(place) == ["b/c.txt"]
        with open(os.path.join(place, "b", "c.txt")) as file:
            assert file.read() == "b/c.txt"
    assert not os.path.exists(os.path.dirname(place))
    with files.on_local_disk(tmp_path, lambda path: False) as place:
        assert place == os.fspath(tmp_path)
    assert tmp_path.is_dir()


def test_leftovers_elsewhere_stay():
    files.remove_leftovers("ram://far/a.txt")


@pytest.mark.parametrize("path", ["gs://a/b", "s3://a", "http://a/b", "file:///a"])
def test_a_path_elsewhere_is_not_local(path):
    with pytest.raises(InputError, match="output must be a local path"):
        files.check_local(path, "output")


def test_lengths_are_those_that_the_file_system_takes(tmp_path):
    files.check_length(tmp_path / ("x" * 255), "model_dir")
    files.check_length(f"{tmp_path}/{'/'.join(['x' * 200] * 15)}", "model_dir")
    with pytest.raises(InputError, match="names of at most 255 bytes"):
        files.check_length(tmp_path / ("ü" * 128), "model_dir")
    with pytest.raises(InputError, match="model_dir must have at most 3841 bytes"):
        files.check_length(f"{tmp_path}/{'/'.join(['x' * 200] * 19)}", "model_dir")
