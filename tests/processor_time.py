"""What the tests cost: processor time, not wall time, so that a busy machine does not matter.

Every test is measured with its fixtures and the processes that it starts and waits for. At the end
the total, the slowest tests and the number of processes are shown; a whole run (`make test`) fails
beyond `LIMIT` times the budget that the Makefile records. Functions that cost more than `SLOW` are
marked `slow`, which `make test-fast` leaves out: `--record` writes to `slow.txt` which they are.

A minute of one machine is not that of another: the same tests took 45 minutes of a processor and
124 of one that is older and shared. So a fixed piece of work, the yardstick, is measured all
through the run, and the total is compared with the budget as that of the machine where the
yardstick takes `YARDSTICK` seconds.
"""

from __future__ import annotations

import argparse
import collections
import gc
import inspect
import pathlib
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import warm

LIMIT = 1.5
SHOWN = 10
# Seconds on the machine of the budget, of a test function with all its cases and what it shares.
SLOW = 0.6
RECORD = pathlib.Path(__file__).with_name("slow.txt")
YARDSTICK = 0.0115  # seconds, while two processes ran tests on the machine of the budget
_BETWEEN = 25  # tests from one measurement to the next
_STARTS = {"subprocess.Popen", "os.fork", "os.posix_spawn"}
_COST, _STARTED, _PACE = "processor_seconds", "processes", "yardstick_seconds"
_OWN, _SHARED = "seconds_of_its_own", "seconds_of_what_it_shares"
_TEXT = inspect.getsource(argparse)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("processor time")
    group.addoption(
        "--budget", type=float, metavar="MINUTES",
        help=f"fail where the tests take over {LIMIT} times as much processor time",
    )  # fmt: skip
    group.addoption("--slowest", type=int, default=SHOWN, metavar="N",
                    help=f"show the N tests that cost most [{SHOWN}]")  # fmt: skip
    group.addoption("--record", action="store_true",
                    help=f"write to {RECORD.name} which tests of this run are slow")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Meter(config), "processor_time_meter")
    warm.listen()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = set(RECORD.read_text().splitlines())
    for item in items:
        if _function(item.nodeid) in slow:
            item.add_marker("slow")


def _function(test: str) -> str:
    return test.partition("[")[0]


def processor_seconds() -> float:
    """Of this process and of its children that have ended and were waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure_yardstick() -> float:
    """Processor seconds of compiling a long module: Python at work, as most of a test is."""
    gc.disable()  # else a collection of all that the tests have loaded is a part of it
    try:
        started = time.process_time()
        compile(_TEXT, "argparse.py", "exec")
        return time.process_time() - started
    finally:
        gc.enable()


class _Meter:
    """Measures in the processes that run tests; adds up in the one that reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started = 0
        self._costs: dict[str, float] = collections.defaultdict(float)
        self._own: dict[str, float] = collections.defaultdict(float)
        self._shared: dict[str, float] = collections.defaultdict(float)
        self._fixtures: dict[Any, float] = {}  # of a module, as what they cost
        self._made = 0.0  # seconds of them since the last report
        self._processes: dict[str, int] = collections.defaultdict(int)
        self._workers = self._server = 0.0
        self._tests = 0
        self._yardsticks: list[float] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: Any) -> None:
        if event in _STARTS:
            self._started += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> None:
        if self._tests % _BETWEEN == 0:
            self._yardsticks.append(measure_yardstick())
        self._tests += 1
        self._before = self._spent()

    def _spent(self) -> tuple[float, int]:
        """Seconds and processes so far, warm ones too: in the total, they are their server's."""
        return (processor_seconds() + warm.seconds_of_programs,
                self._started + warm.programs_started)  # fmt: skip

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        """What several tests share is charged to each of them in the record of slow ones."""
        before = self._spent()[0]
        result = yield
        if fixturedef.scope not in ("function", "session"):
            self._fixtures[fixturedef] = self._spent()[0] - before
            self._made += self._fixtures[fixturedef]
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[Any]:
        report = yield
        seconds, started = self._before
        self._before = self._spent()
        cost = self._before[0] - seconds, self._before[1] - started
        defined = item._fixtureinfo.name2fixturedefs.values()
        shared = sum(self._fixtures.get(one, 0.0) for several in defined for one in several)
        report.user_properties = [
            *report.user_properties, (_COST, cost[0]), (_STARTED, cost[1]),
            (_OWN, cost[0] - self._made), (_SHARED, shared),
        ]  # fmt: skip
        self._made = 0.0
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = dict(report.user_properties)
        self._costs[report.nodeid] += found.get(_COST, 0.0)
        self._processes[report.nodeid] += found.get(_STARTED, 0)
        function = _function(report.nodeid)
        self._own[function] += found.get(_OWN, 0.0)
        self._shared[function] = max(self._shared[function], found.get(_SHARED, 0.0))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        output = getattr(node, "workeroutput", {})
        self._workers += output.get(_COST, 0.0)
        self._yardsticks += output.get(_PACE, [])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._server = warm.stop()
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_COST] = processor_seconds()
            output[_PACE] = self._yardsticks
            return
        if self._is_over_budget() and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _is_over_budget(self) -> bool:
        budget = self._config.getoption("--budget")
        return budget is not None and self._total() / self._slowness() > LIMIT * 60 * budget

    def _slowness(self) -> float:
        """How much longer the yardstick takes here than on the machine of the budget."""
        return statistics.mean(self._yardsticks) / YARDSTICK if self._yardsticks else 1.0

    def _total(self) -> float:
        # Workers of xdist are children that it may not have waited for.
        own = resource.getrusage(resource.RUSAGE_SELF)
        if not self._workers:
            return processor_seconds()
        return self._workers + self._server + own.ru_utime + own.ru_stime

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        total, write = self._total(), terminalreporter.write_line
        terminalreporter.section("processor time")
        slowest = sorted(self._costs.items(), key=lambda one: -one[1])
        for name, seconds in slowest[: self._config.getoption("--slowest")]:
            started = self._processes[name]
            write(f"{seconds:8.1f} s  {name}" + (f" ({started} processes)" if started else ""))
        within, started = sum(self._costs.values()), sum(self._processes.values())
        write(f"{total / 60:.1f} minutes of processor time in all, {within / 60:.1f} within tests, "
              f"{started} processes started")  # fmt: skip
        write(f"{total / 60 / self._slowness():.1f} minutes on the machine of the budget, by the "
              f"yardstick: {self._slowness():.2f} times as long here")  # fmt: skip
        if self._is_over_budget():
            budget = self._config.getoption("--budget")
            text = f"FAILED: over {LIMIT} times the budget of {budget:g} minutes: make what grew "
            write(f"{text}cheaper, or record another budget and say why", red=True)
        if self._config.getoption("--record"):
            self._record()

    def _record(self) -> None:
        """What did not run this time stays as it was."""
        alone = {name: own + self._shared[name] for name, own in self._own.items()}
        limit = SLOW * self._slowness()
        known = set(RECORD.read_text().splitlines()) - alone.keys()
        slow = known | {name for name, seconds in alone.items() if seconds > limit}
        RECORD.write_text("".join(f"{name}\n" for name in sorted(slow)))
