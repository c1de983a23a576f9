from __future__ import annotations

import pathlib
import re
import sys

import pytest

from benchmarks import profile
from tests import warm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

EVENTS = [
    ("model/conv_1/Conv2D:_MklNativeConv2D", 0.2),
    ("gradient_tape/conv_1:Mul", 0.1),
    ("while/body/_1/conv_2/Conv2D:_MklNativeConv2D", 0.4),
    ("ExecutorState::Process", 5.0),  # the runtime, not a kernel
    ("EagerLocalExecute: AddV2", 3.0),
    ("Iterator::Root::Prefetch", 2.0),
    ("run_steps", 9.0),
    ("while:While", 7.0),  # waits for what is in it
    ("add:AddV2", 0.3),
]


def test_kernels_are_added_up_by_type():
    found = profile.totals(EVENTS)
    assert [(one.kind, pytest.approx(one.seconds), one.calls) for one in found] == [
        ("_MklNativeConv2D", 0.6, 2), ("AddV2", 0.3, 1), ("Mul", 0.1, 1)
    ]  # fmt: skip


def test_the_table_counts_per_step_and_sums_up_the_rest():
    assert profile.table(profile.totals(EVENTS), steps=2, rows=1).splitlines() == [
        "| operation | ms per step | share | calls per step |",
        "|---|---|---|---|",
        "| _MklNativeConv2D | 300.0 | 60.0% | 1 |",
        "| 2 other types | 200.0 | 40.0% | 1 |",
    ]


def test_a_step_is_profiled():
    words = ["--width=0.25", "--pairs=2", "--steps=1"]
    done = warm.run([sys.executable, "-m", "benchmarks.profile", *words], cwd=REPOSITORY,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (\w[^|]*) \| ([\d.]+) \|", done.stdout, flags=re.MULTILINE)
    assert any("Conv2D" in kind for kind, _ in rows)
    assert all(float(spent) >= 0 for _, spent in rows)
