"""Whole runs are timed by what they leave, whatever program it is that runs."""

from __future__ import annotations

import json
import os
import resource

import pytest

from benchmarks.speed import programs
from benchmarks.speed.cases import CASES, Options
from simclr_tf.flags import parsing

# Steps 4 and 12 are saved 2 s apart, the first of them 1 s after the start.
PROGRAM = """
import os, sys, time
folder = next(word.partition("=")[2] for word in sys.argv if word.startswith("--model_dir="))
os.makedirs(folder)
taken = b"1" * (300 << 20) if "--large" in sys.argv else None
if "--fail" in sys.argv:
    print("first line")
    sys.exit("last line")
for step, later in (4, 1), (12, 3):
    path = os.path.join(folder, f"ckpt-{step}.index")
    open(path, "w").close()
    os.utime(path, 2 * (STARTED + later,))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    started = 1_000_000.0
    monkeypatch.setattr(programs.time, "time", iter((started, started + 6)).__next__)
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.replace("STARTED", repr(started)))
    return str(path)


def test_a_run_is_timed_from_checkpoint_to_checkpoint_from_its_start_and_in_all(script):
    found = programs.whole_run(script=script, flags=[], pairs=8)()
    assert found == {
        "after start-up": [8 * (12 - 4) / (3 - 1)],
        "with start-up": [8 * 12 / 3],
        "whole process": [8 * 12 / 6],
    }


def test_the_largest_memory_of_a_run(script):
    (found,) = programs.run_memory(script=script, flags=["--large"])()["GiB"]
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # what a new process begins as
    assert 0.29 < found < max(0.45, own + 0.1)


def test_a_run_that_fails_says_why(script):
    with pytest.raises(RuntimeError, match="exit status 1: last line"):
        programs.run_memory(script=script, flags=["--fail"])()


@pytest.mark.parametrize("size", ["smoke", "full"])
def test_our_command_line_takes_the_flags_of_whole_runs(size, tmp_path):
    options = Options(size, "patterns", str(tmp_path), "/photographs", str(tmp_path))
    seen = 0
    for name in ("whole_run", "memory"):
        for side in CASES[name](options).sides:
            spec = json.loads(side.words[-1])
            if spec["module"] == "programs":
                words = [*spec["flags"], f"--model_dir={os.path.join(tmp_path, 'run')}"]
                assert parsing.parse_command_line(words).mode == "train"
                seen += 1
    assert seen >= 2
