"""Samples, ratios and targets, and how they are written down."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

MIB, GIB = 2**20, 2**30


@dataclasses.dataclass(frozen=True)
class Series:
    """What one side reached in one setting.

    Attributes:
        case: The case's name.
        setting: What was computed.
        side: Who computed it.
        unit: Of the samples.
        rounds: The samples of each round; empty where there are none.
        problem: Why there are none, in one line.
        failed: Whether that is a fault, and not only something that is absent here.
    """

    case: str
    setting: str
    side: str
    unit: str
    rounds: Sequence[Sequence[float]] = ()
    problem: str | None = None
    failed: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a comparison calls it by."""
        return self.case, self.setting, self.side, self.unit

    @property
    def samples(self) -> list[float]:
        """Those of all rounds."""
        return [sample for samples in self.rounds for sample in samples]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two series of the same setting, divided round by round.

    Attributes:
        case: The case's name.
        setting: As in the series.
        unit: As in the series.
        side: Whose median stands above the line.
        anchor: Whose median stands below it.
        at_least: The ratio to reach.
        at_most: The ratio not to pass. Without either nothing is asked for.
        scale: Multiplies the ratio, where the two units differ.
        anchor_unit: The anchor's unit where it differs.
        label: What the ratio means, where that is not `side / anchor`.
    """

    case: str
    setting: str
    unit: str
    side: str
    anchor: str
    at_least: float | None = None
    at_most: float | None = None
    scale: float = 1.0
    anchor_unit: str | None = None
    label: str | None = None

    def ratios(self, series: Sequence[Series]) -> list[float]:
        """One ratio for each round that both sides have."""
        found = {one.key: one.rounds for one in series if one.problem is None}
        ours = found.get((self.case, self.setting, self.side, self.unit), ())
        anchor_unit = self.anchor_unit or self.unit
        theirs = found.get((self.case, self.setting, self.anchor, anchor_unit), ())
        return [
            self.scale * statistics.median(one) / statistics.median(other)
            for one, other in zip(ours, theirs, strict=False)
            if one and other
        ]

    def is_met(self, ratios: Sequence[float]) -> bool | None:
        """Whether the median ratio reaches the target; None without target or ratios."""
        if not ratios or (self.at_least is None and self.at_most is None):
            return None
        middle = statistics.median(ratios)
        return (self.at_least is None or middle >= self.at_least) and (
            self.at_most is None or middle <= self.at_most
        )

    @property
    def target(self) -> str:
        """The target in words."""
        words = [f"{sign} {limit:.3g}" for sign, limit in
                 ((">=", self.at_least), ("<=", self.at_most)) if limit is not None]  # fmt: skip
        return ", ".join(words)


def number(value: float) -> str:
    """Three significant digits; all of them from 1,000 on."""
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    digits = 3 - len(f"{int(abs(value))}") if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def spread(values: Sequence[float]) -> tuple[str, str, str]:
    """Median, smallest and largest, in words."""
    return number(statistics.median(values)), number(min(values)), number(max(values))


def markdown(series: Sequence[Series], comparisons: Sequence[Comparison]) -> str:
    """Two tables: what was measured, and the ratios beside their targets."""
    lines = ["| case | setting | side | median | min to max | samples |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for one in series:
        cells = [one.case, one.setting, one.side]
        if one.problem is None:
            middle, low, high = spread(one.samples)
            cells += [f"{middle} {one.unit}", f"{low} to {high}", str(len(one.samples))]
        else:
            cells += [f"{'failed' if one.failed else 'not measured'}: {one.problem}", "", ""]
        lines.append(_row(cells))
    lines += ["", "| case | setting | ratio | median | min to max | target | met |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for comparison in comparisons:
        ratios = comparison.ratios(series)
        if ratios:
            middle, low, high = spread(ratios)
            met = {True: "yes", False: "**no**", None: ""}[comparison.is_met(ratios)]
            label = comparison.label or f"{comparison.side} / {comparison.anchor}"
            lines.append(_row([comparison.case, f"{comparison.setting}, {comparison.unit}", label,
                               middle, f"{low} to {high}", comparison.target, met]))  # fmt: skip
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def as_json(series: Sequence[Series], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """All samples, and the ratios of all rounds."""
    return {
        "series": [dataclasses.asdict(one) | _spread_of(one.samples) for one in series],
        "comparisons": [
            dataclasses.asdict(comparison)
            | {"ratios": ratios, "met": comparison.is_met(ratios)}
            | _spread_of(ratios)
            for comparison in comparisons
            if (ratios := comparison.ratios(series))
        ],
    }


def _spread_of(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
