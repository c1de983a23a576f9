"""What a command has changed is seen; what it may change is not counted."""

from __future__ import annotations

import os

import pytest

from fuzz.sandbox import Sandbox, differences


@pytest.fixture
def box(tmp_path):
    (tmp_path / "fixtures" / "run").mkdir(parents=True)
    (tmp_path / "fixtures" / "run" / "a.txt").write_text("a")
    box = Sandbox(tmp_path / "box", tmp_path / "fixtures")
    box.add("run")
    return box


def _touch_nothing(box):
    (box.outside / "docs" / "thesis.txt").read_text()


def _same_size(box):
    path = box.outside / "docs" / "thesis.txt"
    before = path.stat()
    path.write_text("fears of work\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _made_and_removed(box):
    (box.outside / "docs" / "x").write_text("x")
    (box.outside / "docs" / "x").unlink()


def _retargeted(box):
    (box.outside / "link").unlink()
    (box.outside / "link").symlink_to("empty")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (_touch_nothing, {}),
        (_same_size, {"outside/docs/thesis.txt": "changed"}),
        (_made_and_removed, {"outside/docs": "changed"}),
        (_retargeted, {"outside": "changed", "outside/link": "changed"}),
        (lambda box: (box.outside / "private.txt").chmod(0o644),
         {"outside/private.txt": "changed"}),
        (lambda box: (box.outside / "notes.txt").unlink(),
         {"outside": "changed", "outside/notes.txt": "gone"}),
        (lambda box: (box.work / "run" / "b").mkdir(),
         {"work/run": "changed", "work/run/b": "new"}),
        (lambda box: (box.temporary / "t").write_text(""), {"tmp/t": "new"}),
    ],
)  # fmt: skip
def test_changes_are_seen(box, act, expected):
    before = box.state()
    act(box)
    assert differences(before, box.state()) == expected


def test_what_may_change_may_except_what_is_kept(box):
    before = box.state()
    (box.work / "run" / "new").mkdir()
    (box.work / "run" / "new" / "b.txt").write_text("b")
    after = box.state()
    assert differences(before, after, writes=["work/run"]) == {}
    assert set(differences(before, after, ["work/run"], kept=["work/run/new"])) == {
        "work/run/new", "work/run/new/b.txt"}  # fmt: skip
