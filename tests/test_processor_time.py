import dataclasses
import os
import re
import subprocess
import sys
import time
import types

import pytest

from tests import processor_time

TESTS = """
import subprocess, sys, time

def test_works():
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass

def test_starts():
    subprocess.run([sys.executable, "-c", "for _ in range(6 * 10**6): pass"])

def test_idles():
    time.sleep(0.1)
"""


@pytest.mark.parametrize(("workers", "budget", "status"), [(0, 9, 0), (0, 0.005, 1), (1, 0.005, 1)])
def test_costs_of_a_test_and_its_processes_are_added_up(workers, budget, status, tmp_path):
    (tmp_path / "test_some.py").write_text(TESTS)
    root = os.path.dirname(os.path.dirname(processor_time.__file__))
    words = [
        "-p",
        "tests.processor_time",
        f"-n{workers}",
        f"--budget={budget}",
        "--slowest=2",
        "-q",
    ]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=tmp_path, text=True,
                          env={**os.environ, "PYTHONPATH": root}, capture_output=True)  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stdout[done.stdout.index("processor time =") :].splitlines()
    costs = {line.split()[2].partition("::")[2]: float(line.split()[0]) for line in lines[1:3]}
    assert set(costs) == {"test_works", "test_starts"} and 0.3 <= costs["test_works"] < 3
    assert "(1 processes)" in "".join(lines) and "1 processes started" in lines[3]
    slowness = float(re.search(r"yardstick: ([\d.]+) times as long", done.stdout)[1])
    assert 0.2 < slowness < 20
    assert ("FAILED: over 1.5 times the budget" in done.stdout) == bool(status)


def test_a_slower_machine_has_as_much_more_time(pytestconfig, monkeypatch):
    monkeypatch.setattr(processor_time, "measure_yardstick", lambda: 3 * processor_time.YARDSTICK)
    meter = processor_time._Meter(pytestconfig)
    meter.pytest_runtest_protocol()
    assert meter._slowness() == pytest.approx(3)
    monkeypatch.setattr(meter, "_total", lambda: 100.0 * 60)
    budgets = {"--budget": 30}
    monkeypatch.setattr(meter, "_config", types.SimpleNamespace(getoption=budgets.get))
    assert not meter._is_over_budget()
    budgets["--budget"] = 20
    assert meter._is_over_budget()


def test_what_is_slow_is_recorded_function_by_function(pytestconfig, monkeypatch, tmp_path):
    record = tmp_path / "slow.txt"
    record.write_text("a.py::test_elsewhere\na.py::test_was_slow\n")
    monkeypatch.setattr(processor_time, "RECORD", record)
    meter = processor_time._Meter(pytestconfig)
    meter._yardsticks = [2 * processor_time.YARDSTICK]  # half of it on the machine of the budget
    for name, own, shared in [("a.py::test_was_slow", 1.1, 0), ("a.py::test_once", 1.3, 0),
                              ("a.py::test_cases[1]", 0.7, 0), ("a.py::test_cases[2]", 0.6, 0),
                              ("a.py::test_shares", 0.1, 1.2)]:  # fmt: skip
        found = [(processor_time._OWN, own), (processor_time._SHARED, shared)]
        meter.pytest_runtest_logreport(types.SimpleNamespace(nodeid=name, user_properties=found))
    meter._record()
    expected = [f"a.py::test_{name}" for name in ("cases", "elsewhere", "once", "shares")]
    assert record.read_text().splitlines() == expected

    marked = []
    items = [types.SimpleNamespace(nodeid=name, add_marker=lambda mark, name=name: marked.append(
        (name, mark))) for name in ("a.py::test_cases[3]", "a.py::test_fast")]  # fmt: skip
    processor_time.pytest_collection_modifyitems(items)
    assert marked == [("a.py::test_cases[3]", "slow")]


@dataclasses.dataclass(frozen=True)
class _Fixture:
    scope: str


@pytest.mark.parametrize(("scope", "is_shared"), [("module", True), ("function", False)])
def test_what_tests_share_is_charged_to_each(pytestconfig, scope, is_shared):
    meter, fixture = processor_time._Meter(pytestconfig), _Fixture(scope)
    making = meter.pytest_fixture_setup(fixture)
    next(making)
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    with pytest.raises(StopIteration):
        making.send("made")
    assert (meter._fixtures.get(fixture, 0.0) >= 0.1) == (meter._made >= 0.1) == is_shared


def test_what_is_recorded_as_slow_is_there():
    root = processor_time.RECORD.parents[1]
    for line in processor_time.RECORD.read_text().splitlines():
        path, name = line.split("::")
        assert f"def {name}(" in (root / path).read_text(), line
