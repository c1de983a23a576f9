"""The child of a case: its limits, its folder, its streams."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from fuzz import guard
from fuzz.case import Case
from fuzz.process import Limits, run_forked
from fuzz.sandbox import Sandbox

QUICK = Limits(cpu_seconds=0.5, idle_seconds=1, memory_bytes=2**29, grace_seconds=1)


def _quick(**changes: float) -> Limits:
    """`QUICK` beside what this process holds of its own, which its children start with."""
    resident, mapped = map(int, pathlib.Path("/proc/self/statm").read_text().split()[1:3])
    held = (resident - mapped) * os.sysconf("SC_PAGE_SIZE")  # a child starts without mapped files
    return dataclasses.replace(QUICK, memory_bytes=QUICK.memory_bytes + held, **changes)


def _spin():
    until = time.process_time() + 60
    while time.process_time() < until:
        pass


def _spin_deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _spin()


def _print_and_fail():
    print("said", pathlib.Path.cwd().name, os.environ["HOME"].rpartition("/")[2])
    raise ValueError("wrong")


def _flush_at_the_end():
    print("lost")


ENDS = {
    "well": (lambda: None, {"status": 0, "out": "", "err": ""}),
    "status": (lambda: sys.exit(2), {"status": 2}),
    "text": (lambda: sys.exit("text"), {"status": 1, "err": "text\n"}),
    "raised": (_print_and_fail, {"status": 1, "out": "said work home\n"}),
    "crashed": (lambda: os.kill(os.getpid(), 11), {"status": -11}),
    "waits": (lambda: time.sleep(60), {"stopped": "idle", "heeded": True}),
    "works": (_spin, {"stopped": "cpu", "heeded": True, "spoke": False}),
    "deaf": (_spin_deaf, {"stopped": "cpu", "heeded": False, "status": -9}),
    "memory": (lambda: (bytearray(2**30), time.sleep(9)), {"stopped": "memory", "status": -9}),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends_are_told_apart(name, tmp_path):
    act, expected = ENDS[name]
    limits = _quick(cpu_seconds=10) if name == "memory" else _quick()
    outcome = run_forked(act, Sandbox(tmp_path / "box", tmp_path), limits, Case("", "run.py", ()))
    assert {key: getattr(outcome, key) for key in expected} == expected
    if name == "raised":
        assert outcome.err.splitlines()[-1] == "ValueError: wrong"
    if name in ("crashed", "waits"):
        assert "run_forked" in outcome.faults  # where it was


def test_an_interrupted_session_leaves_no_child(tmp_path, monkeypatch):
    def interrupted(child, limits, stdout):
        children.append(child)
        raise KeyboardInterrupt

    children: list[int] = []
    monkeypatch.setattr("fuzz.process._attend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_forked(lambda: time.sleep(60), Sandbox(tmp_path / "box", tmp_path), _quick(),
                   Case("", "run.py", ()))  # fmt: skip
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)


@pytest.mark.parametrize(
    ("stdout", "status"), [("full", 120), ("lost", 120), ("closed", 0), ("file", 0)]
)
def test_streams_that_can_not_be_written(stdout, status, tmp_path):
    case = Case("", "run.py", (), stdout=stdout)
    box = Sandbox(tmp_path / "box", tmp_path)
    assert run_forked(_flush_at_the_end, box, _quick(), case).status == status


def _write(path):
    return lambda: pathlib.Path(path).write_text("x")


def test_a_child_can_not_write_elsewhere(tmp_path):
    if not guard.can_confine():
        pytest.skip("the kernel has no Landlock")
    box, elsewhere = Sandbox(tmp_path / "box", tmp_path), tmp_path / "elsewhere"
    outcome = run_forked(_write(elsewhere), box, _quick(), Case("", "run.py", ()))
    assert not elsewhere.exists()
    assert outcome.err.splitlines()[-1].startswith("PermissionError")
    assert outcome.deeds == (f"writes outside: open {elsewhere}",)
    assert run_forked(_write("here"), box, _quick(), Case("", "run.py", ())).deeds == ()
    assert (box.work / "here").is_file()


def _remove_through_a_link(folder):
    def act():
        os.symlink(folder, "link")
        os.unlink("link/a")

    return act


@pytest.mark.parametrize(
    ("act", "deed"),
    [
        (
            lambda: subprocess.run(["true"], check=False),
            "starts a program: subprocess.Popen 'true'",
        ),
        (lambda: os.system("true"), "starts a program: os.system b'true'"),
        (_remove_through_a_link("/usr"), "writes outside: os.remove /usr/a"),
        (lambda: os.rename("a", "/usr/a"), "writes outside: os.rename /usr/a"),
    ],
)
def test_deeds_are_noted(act, deed, tmp_path):
    box = Sandbox(tmp_path / "box", tmp_path)
    assert run_forked(act, box, _quick(), Case("", "run.py", ())).deeds[0] == deed
