"""The figures without labels in words, for tables and pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from simclr_tf.evaluation import verdict
from simclr_tf.evaluation.quality import AMONG, Quality
from simclr_tf.units import format_percent


class Figure(NamedTuple):
    """One figure of h.

    Attributes:
        title: What it is.
        now: Its value as text.
        before: Of the untrained encoder.
    """

    title: str
    now: str
    before: str


# Name -> title and form; those that go with accuracy come first (docs/unlabelled.md).
_SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "retrieval": ("Finds the other view among {}, colours changed", format_percent),
    "crop_retrieval": ("The same, colours as they are", format_percent),
    "effective_rank": ("Effective dimensions", "{:.1f}".format),
    "spread": ("Spread, 1 fills the sphere", "{:.2f}".format),
    "uniformity": ("Uniformity, low is spread out", "{:.2f}".format),
    "alignment": ("Squared distance of two views", "{:.2f}".format),
    "mean_cosine": ("Mean cosine between images", "{:.2f}".format),
    "dead_share": ("Dead dimensions", format_percent),
}
_IN_TABLE = ("retrieval", "effective_rank")


def shown(metrics: Mapping[str, float]) -> list[Figure]:
    """All figures among metrics, in the order of their worth."""
    found = verdict.measured(metrics)
    if "h" not in found or "untrained" not in found:
        return []
    return [_figure(name, found["h"], found["untrained"]) for name in _SHOWN]


def table_rows(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """What the table at the end of a run says."""
    found, judged = verdict.measured(metrics), verdict.of_metrics(metrics)
    if judged is None:
        return []
    rows = [("Without labels", judged.kind)]
    for name in _IN_TABLE:
        title, now, before = _figure(name, found["h"], found["untrained"])
        rows.append((title, f"{now} (untrained {before})"))
    return rows


def _figure(name: str, now: Quality, before: Quality) -> Figure:
    title, form = _SHOWN[name]
    title = title.format(min(AMONG, int(now.num_images)))
    return Figure(title, form(getattr(now, name)), form(getattr(before, name)))
