from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.speed.cases import CASES, SIZES, Options


def _options(size: str, **others: str) -> Options:
    return Options(size, "cifar10", "/tfds", "/photographs", "/patterns", **others)


def _everything(size: str) -> Options:
    return _options(size, reference="/clone", torch="/python")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_every_comparison_is_of_series_that_are_measured(name, size):
    sides, comparisons = CASES[name](_everything(size))
    series = [one for side in sides for one in side.series.values()]
    assert len({one.key for one in series}) == len(series)
    measured = {one.key for one in series}
    for one in comparisons:
        assert (name, one.setting, one.side, one.unit) in measured
        assert (name, one.setting, one.anchor, one.anchor_unit or one.unit) in measured


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_without_the_reference_and_pytorch_only_ours_is_measured(name, size):
    sides, _ = CASES[name](_options(size))
    assert sides
    for side in sides:
        assert "/clone" not in side.words[-1]
        assert json.loads(side.words[-1])["module"] != "reference"


def test_a_precision_can_be_left_out():
    options = dataclasses.replace(_everything("full"), precisions=("float32",))
    for name in ("step", "whole_run", "memory"):
        sides, comparisons = CASES[name](options)
        assert not any("bfloat16" in word for side in sides for word in side.words)
        assert not any("bfloat16" in one.side for side in sides for one in side.series.values())
        measured = {one.key for side in sides for one in side.series.values()}
        kept = [one for one in comparisons if (name, one.setting, one.side, one.unit) in measured]
        assert {one.side.removesuffix(", remat") for one in kept} <= {"ours", "ours float32"}


@pytest.mark.parametrize("name", CASES)
def test_the_smoke_size_has_no_targets(name):
    _, comparisons = CASES[name](_everything("smoke"))
    assert not any(comparison.target for comparison in comparisons)


def test_the_targets_of_the_full_size():
    """The table of the targets, written by hand."""
    rows = {
        (one.case, one.side, one.anchor, one.unit, one.target)
        for case in CASES.values()
        for one in case(_everything("full")).comparisons
        if one.target
    }
    assert rows == {
        ("step", "ours float32", "reference", "pairs/s", ">= 1.25"),
        ("step", "ours bfloat16", "reference", "pairs/s", ">= 2"),
        ("step", "ours bfloat16", "PyTorch bfloat16", "pairs/s", ">= 1.1"),
        ("whole_run", "ours bfloat16", "reference", "pairs/s", ">= 1.9"),
        ("startup", "ours", "reference", "s", "<= 0.5"),
        ("pipeline", "ours", "reference", "pairs/s", ">= 3"),
        ("pipeline", "ours, all on the host", "reference", "pairs/s", ">= 1.6"),
        ("pipeline", "ours, host part", "reference", "pairs/s", ">= 2.2"),
        ("loss", "ours", "reference", "s", "<= 1"),
        ("loss", "ours", "reference", "GiB", "<= 0.125"),
        ("evaluate", "extraction", "bare forward pass", "images/s", ">= 0.95"),
    }


def test_both_command_lines_of_a_whole_run_get_the_same_flags():
    sides, _ = CASES["whole_run"](_everything("full"))
    flags = [json.loads(side.words[-1])["flags"] for side in sides]
    assert flags[0] == [*flags[2], "--precision=float32"]
    assert flags[1] == [*flags[2], "--precision=bfloat16"]
    assert "--dataset=cifar10" in flags[2]
