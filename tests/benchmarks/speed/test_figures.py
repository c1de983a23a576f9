from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.speed.figures import Comparison, Series, as_json, markdown, number

FAST = Series("step", "net", "ours", "pairs/s", rounds=[[20, 22, 90], [10, 11, 12]])
SLOW = Series("step", "net", "theirs", "pairs/s", rounds=[[11, 11, 11], [5, 5, 6]])
RATIO = Comparison("step", "net", "pairs/s", "ours", "theirs", at_least=2.1)


def test_ratios_are_of_the_medians_of_each_round():
    # The machine was half as fast in the second round, which the ratios do not show.
    assert RATIO.ratios([FAST, SLOW]) == [pytest.approx(2.0), pytest.approx(2.2)]


def test_rounds_that_one_side_lacks_give_no_ratio():
    short = dataclasses.replace(SLOW, rounds=SLOW.rounds[:1])
    assert RATIO.ratios([FAST, short]) == [pytest.approx(2.0)]
    assert RATIO.ratios([FAST]) == []


def test_a_failed_side_gives_no_ratio_even_of_its_good_rounds():
    failed = dataclasses.replace(SLOW, problem="broke", failed=True)
    assert RATIO.ratios([FAST, failed]) == []


def test_series_of_other_settings_cases_and_units_are_left_alone():
    others = [dataclasses.replace(SLOW, **{name: "other"}) for name in ("case", "setting", "unit")]
    assert RATIO.ratios([FAST, *others]) == []


def test_a_ratio_of_different_units_is_scaled():
    peak = Series("step", "net", "matmul", "GFLOP/s", rounds=[[110], [55]])
    share = Comparison("step", "net", "pairs/s", "ours", "matmul", scale=2.5,
                       anchor_unit="GFLOP/s")  # fmt: skip
    assert share.ratios([FAST, peak]) == [pytest.approx(0.5), pytest.approx(0.5)]


@pytest.mark.parametrize(
    ("at_least", "at_most", "ratios", "met"),
    [
        (2.0, None, [1.0, 2.0, 9.0], True),
        (2.0, None, [1.0, 1.9, 9.0], False),
        (None, 0.5, [0.5], True),
        (None, 0.5, [0.51], False),
        (None, None, [1.0], None),
        (2.0, None, [], None),
    ],
)
def test_the_median_ratio_decides_whether_a_target_is_met(at_least, at_most, ratios, met):
    comparison = dataclasses.replace(RATIO, at_least=at_least, at_most=at_most)
    assert comparison.is_met(ratios) is met


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.01234, "0.012"), (0.5, "0.500"), (1.234, "1.23"), (12.34, "12.3"),
        (123.4, "123"), (999.4, "999"), (1234.5, "1,234"), (13579.0, "13,579"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_the_tables_hold_figures_ratios_targets_and_failures():
    failed = Series("lars", "update", "theirs", "ms", problem="ValueError: a | b", failed=True)
    absent = Series("lars", "update", "ours", "ms", problem="there is no such setting")
    assert markdown([FAST, SLOW, failed, absent], [RATIO]).splitlines() == [
        "| case | setting | side | median | min to max | samples |",
        "|---|---|---|---|---|---|",
        "| step | net | ours | 16.0 pairs/s | 10.0 to 90.0 | 6 |",
        "| step | net | theirs | 8.50 pairs/s | 5.00 to 11.0 | 6 |",
        "| lars | update | theirs | failed: ValueError: a / b |  |  |",
        "| lars | update | ours | not measured: there is no such setting |  |  |",
        "",
        "| case | setting | ratio | median | min to max | target | met |",
        "|---|---|---|---|---|---|---|",
        "| step | net, pairs/s | ours / theirs | 2.10 | 2.00 to 2.20 | >= 2.1 | yes |",
    ]


def test_a_missed_target_is_marked():
    missed = dataclasses.replace(RATIO, at_least=None, at_most=1 / 8)
    assert markdown([FAST, SLOW], [missed]).endswith("| <= 0.125 | **no** |")


def test_json_holds_every_sample_and_ratio():
    failed = dataclasses.replace(SLOW, side="third", rounds=[], problem="broke", failed=True)
    missing = dataclasses.replace(RATIO, anchor="third")
    written = json.loads(json.dumps(as_json([FAST, SLOW, failed], [RATIO, missing])))
    ours, theirs, third = written["series"]
    assert ours["rounds"] == [[20, 22, 90], [10, 11, 12]]
    assert (ours["median"], ours["min"], ours["max"]) == (16, 10, 90)
    assert (theirs["side"], theirs["unit"], theirs["problem"]) == ("theirs", "pairs/s", None)
    assert third["failed"] and third["problem"] == "broke" and "median" not in third
    (ratio,) = written["comparisons"]
    assert ratio["ratios"] == [pytest.approx(2.0), pytest.approx(2.2)]
    assert ratio["met"] is True and ratio["at_least"] == 2.1
