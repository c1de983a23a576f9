"""The turns of small programs that stand in for the measuring processes."""

from __future__ import annotations

import os
import time

import pytest

from benchmarks.speed.figures import Series
from benchmarks.speed.sides import Side, measure, worker_side

TIMEOUT = 60.0

# What stands in a program must not rest on how this process was started.
_PROGRAM = """
import os, pathlib, signal, subprocess, sys, time
from benchmarks.speed.protocol import UnavailableError, serve
log = pathlib.Path({log!r})
def note(text):
    with log.open("a") as file:
        file.write(text + "\\n")
def prepare():
    {prepare}
    def measure():
        note({name!r} + " " + str(os.getpid()))
        {measure}
        return {{"s": [1.0, 2.0]}}
    return measure
serve(prepare)
"""


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log.txt"


@pytest.fixture
def program(log):
    """Builds a side: `program(name, prepare=STATEMENT, measure=STATEMENT)`."""

    def build(name: str, prepare: str = "pass", measure: str = "pass", fresh: bool = False) -> Side:
        code = _PROGRAM.format(log=str(log), name=name, prepare=prepare, measure=measure)
        return Side(["-c", code], {"s": Series("case", "setting", name, "s")}, fresh)

    return build


def _nothing(line: str) -> None:
    del line


def _noted(log) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()]


def _is_gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:  # killed, but not yet collected by its parent
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_sides_take_turns_in_processes_of_their_own(program, log):
    said: list[str] = []
    found = measure([program("a"), program("b")], 2, TIMEOUT, said.append)
    names, pids = zip(*_noted(log), strict=True)
    assert names == ("a", "b", "a", "b")
    assert pids[0] == pids[2] != pids[1] == pids[3]
    assert [one.rounds for one in found] == [[[1.0, 2.0]] * 2] * 2
    assert all(one.problem is None and not one.failed for one in found)
    assert said[2] == "case, setting: a, round 2 of 2"
    assert all(_is_gone(int(pid)) for pid in pids)


def test_a_fresh_side_has_a_process_for_each_round(program, log):
    measure([program("a", fresh=True)], 3, TIMEOUT, _nothing)
    assert len({pid for _, pid in _noted(log)}) == 3


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    ("statement", "problem", "failed"),
    [
        ("raise ValueError('first line\\\\nsecond')", "ValueError: first line", True),
        ("raise UnavailableError('no such setting')", "no such setting", False),
        ("os.kill(os.getpid(), signal.SIGABRT)", "ended by SIGABRT", True),
        ("os.write(2, b'some\\\\nlast\\\\n'); os._exit(3)", "exit status 3: last", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["prepare", "measure"])
def test_a_side_that_fails_says_why_and_the_others_go_on(
    program, where, statement, problem, failed, fresh
):
    statement = statement.replace("\\\\", "\\")
    bad = program("bad", **{where: statement}, fresh=fresh)
    wrong, right = measure([bad, program("good")], 2, TIMEOUT, _nothing)
    assert (wrong.problem, wrong.failed) == (problem, failed)
    assert right.rounds == [[1.0, 2.0]] * 2


def test_a_side_that_takes_too_long_is_ended(program, log):
    (found,) = measure([program("slow", measure="time.sleep(60)")], 2, 3.0, _nothing)
    assert found.failed and found.problem == "no answer within 3 s"
    assert [name for name, _ in _noted(log)] == ["slow"]
    assert _is_gone(int(_noted(log)[0][1]))


def test_an_interpreter_that_is_not_there_fails_its_side_alone(program):
    absent = Side(["-c", ""], {"s": Series("case", "setting", "x", "s")}, interpreter="/no/python")
    wrong, right = measure([absent, program("good")], 1, TIMEOUT, _nothing)
    assert wrong.failed and "/no/python" in wrong.problem
    assert right.problem is None


def test_an_interrupt_leaves_no_process_behind(program, log):
    child = "note('child ' + str(subprocess.Popen(['sleep', '600']).pid))"
    sides = [program("a", prepare=child), program("b", prepare=child)]

    def interrupt(line: str) -> None:
        if "b, round 1" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(sides, 2, TIMEOUT, interrupt)
    noted = _noted(log)
    assert sorted(name for name, _ in noted) == ["a", "child", "child"]
    assert all(_is_gone(int(pid)) for _, pid in noted)


def test_what_libraries_print_does_not_disturb_the_answers(program):
    noise = "print('hello'); os.write(1, b'native\\n')"
    (found,) = measure([program("a", prepare=noise, measure=noise)], 1, TIMEOUT, _nothing)
    assert found.rounds == [[1.0, 2.0]]


def test_a_worker_measures_with_its_settings(tmp_path):
    script = tmp_path / "program.py"
    script.write_text("import sys\nsys.exit('--wrong' in sys.argv)\n")
    series = {"GiB": Series("memory", "run", "ours", "GiB")}
    side = worker_side("programs", "run_memory", series, script=str(script), flags=["--right"])
    (found,) = measure([side], 1, TIMEOUT, _nothing)
    assert 0.001 < found.rounds[0][0] < 1
    side = worker_side("programs", "run_memory", series, script=str(script), flags=["--wrong"])
    (found,) = measure([side], 1, TIMEOUT, _nothing)
    assert found.failed and "exit status 1" in found.problem
