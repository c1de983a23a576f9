"""What counts as a finding."""

from __future__ import annotations

import pytest

from fuzz.case import Case
from fuzz.judge import Finding, judge
from fuzz.process import Outcome

CASE = Case("flags", "run.py", ("--mode=train",))
LINE = "run.py: error: --seed must be at least 0. Received: -1\n"
TRACEBACK = (
    'Traceback (most recent call last):\n  File "/x/simclr_tf/files.py", line 3, in write\n'
    "    raise ValueError\nValueError: no\n"
)
GOOD = {
    "well done": Outcome(0, out="simclr_tf: train in runs/a\nnote: something\n"),
    "refused": Outcome(2, err=LINE),
    "refused after a note": Outcome(2, err="note: --tpu_name is not used\n" + LINE),
    "refused after a warning": Outcome(
        2, err="/x/locate.py:9: UserWarning: ckpt-3 is damaged\n  prefix = newest(folder)\n" + LINE
    ),
    "stopped by SIGTERM while it works": Outcome(143, "cpu", out="step 1\n"),
}
WRONG = {
    "traceback": Outcome(1, err=TRACEBACK),
    "raw error": Outcome(1, err="run.py: error: TypeError: no (--debug: traceback)\n"),
    "raw words": Outcome(2, err="run.py: error: a.jpg must be an image ({{node DecodeJpeg}})\n"),
    "log of TensorFlow": Outcome(2, err="2026-11-28 18:00:00.123456: E a/b.cc:3] no\n" + LINE),
    "several lines": Outcome(2, err=LINE + "Aborted\n"),
    "no error line": Outcome(2),
    "error with status 0": Outcome(0, err=LINE),
    "control characters": Outcome(0, out="id \x1b[31m\n"),
    "signal": Outcome(-11),
    "status": Outcome(3, err=LINE),
    "memory": Outcome(-9, "memory"),
    "hang": Outcome(-9, "cpu", heeded=False),
    "deed": Outcome(0, deeds=("starts a program: os.system 'x'",)),
}
SILENT = {
    "waits": Outcome(143, "idle"),
    "works without a word": Outcome(143, "cpu", spoke=False),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_proper_end_is_no_finding(name):
    assert judge(CASE, GOOD[name], {}) == []


@pytest.mark.parametrize("what", WRONG)
def test_each_class_is_found(what):
    assert [finding.what for finding in judge(CASE, WRONG[what], {})] == [what]


@pytest.mark.parametrize("name", SILENT)
def test_silence_is_a_hang_although_sigterm_ends_it(name):
    assert [finding.what for finding in judge(CASE, SILENT[name], {})] == ["hang"]


@pytest.mark.parametrize(
    ("path", "how", "status", "what"),
    [
        ("outside/docs/thesis.txt", "gone", 0, "SENTINEL"),
        ("outside/executed", "new", 0, "SENTINEL"),
        ("work/photos/a.jpg", "changed", 0, "changed what it only reads"),
        ("work/.new.tmp", "new", 0, "left behind"),
        ("tmp/tmpabc", "new", 0, "left behind"),
    ],
)
def test_changes_are_findings(path, how, status, what):
    found = judge(CASE, Outcome(status), {path: how})
    assert [finding.what for finding in found] == [what]


def test_what_differs_between_cases_is_not_in_the_signature():
    first = Finding("raw error", "ValueError: 'a/b.jpg' has 3 parts in /tmp/x1/run")
    second = Finding("raw error", "ValueError: 'c' has 17 parts in /var/y/run")
    assert first.signature == second.signature
    assert first.signature != Finding("raw error", "ValueError: other").signature
