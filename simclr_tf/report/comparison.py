"""A page that shows several runs side by side."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simclr_tf import run_folder
from simclr_tf.errors import require
from simclr_tf.files import write_text_atomically
from simclr_tf.report import accuracies, command, curves, kept, page, run_page, sections
from simclr_tf.report.run_record import RunRecord, read_run
from simclr_tf.units import format_percent

_NOT_COMPARED = ("model_dir", "data_dir", "class_names", "report", "report_examples",
                 "quality_images")  # fmt: skip
_MOST_CLASSES = 40


def write_comparison(folders: Sequence[str | os.PathLike[str]], output: str) -> None:
    """Writes the page.

    Args:
        folders: Of runs, at least two.
        output: The page; its links lead from its folder to the runs.

    Raises:
        InputError: A folder is none of a run, or there are fewer than two.
    """
    require(len(folders) >= 2, "run", "must be at least two folders to compare", list(folders))
    runs = [read_run(folder) for folder in folders]
    write_text_atomically(output, comparison_html(runs, os.path.dirname(os.path.abspath(output))))


def comparison_html(runs: Sequence[RunRecord], folder: str) -> str:
    """The page, for a reader in `folder`."""
    names = unique_names([run.folder for run in runs])
    return page.render(
        "comparison.html.j2",
        title="Comparison of runs",
        names=names,
        runs=runs,
        links=[_link(run, folder) for run in runs],
        figures=figures(runs),
        settings=different_settings(runs),
        charts=run_page.curve_charts(curves.draw_comparison(_series(runs, names))),
        per_class=per_class(runs),
        maps=[run.shown("The map", functools.partial(_map, run), None) for run in runs],
        map_size=sections.map_size(),
    )


def unique_names(folders: Sequence[str]) -> list[str]:
    """The shortest ends of paths that tell them apart."""
    parts = [os.path.abspath(folder).split(os.sep)[1:] for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(set(map(tuple, parts))):
            break
    counts: dict[str, int] = {}
    for i, name in enumerate(names):  # the same folder twice
        counts[name] = counts.get(name, 0) + 1
        names[i] = name if counts[name] == 1 else f"{name} ({counts[name]})"
    return names


def figures(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Rows of figures with a value per run, the best of each accuracy marked."""
    rows: list[dict[str, Any]] = [{"title": "status", "cells": [
        {"text": run_page.status(run), "best": False} for run in runs]}]  # fmt: skip
    for name in dict.fromkeys(name for run in runs for name in run.metrics):
        if name.startswith("eval/") and name.endswith("accuracy"):
            rows.append(_accuracies(accuracies.title(name),
                                    [run.metrics.get(name) for run in runs]))  # fmt: skip
    found = [run.shown("Neighbours", functools.partial(_neighbors, run), None) for run in runs]
    if any(one is not None for one in found):
        rows.append(_accuracies("Neighbours of the same class", found))
    speeds = [dict(run_page.throughput(run)) for run in runs]
    for title in dict.fromkeys(title for one in speeds for title in one):
        rows.append({"title": title, "cells": [{"text": one.get(title, "–"), "best": False}
                                               for one in speeds]})  # fmt: skip
    return rows


def different_settings(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """The settings in which runs differ, with the value of each."""
    known = dict.fromkeys(name for run in runs for name in run.config)
    rows = []
    for name in known:
        values = [run.config.get(name, "–") for run in runs]
        if name not in _NOT_COMPARED and any(value != values[0] for value in values):
            rows.append((name, [command.plain(value) for value in values]))
    return rows


def per_class(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """The accuracy of every class in every run, where there are not too many."""
    tables = []
    for run in runs:
        rows = run.shown(
            kept.PREDICTIONS, functools.partial(_class_rows, run), list[dict[str, Any]]()
        )
        tables.append({row["name"]: row["share"] for row in rows})
    classes = list(dict.fromkeys(name for table in tables for name in table))
    if len(classes) > _MOST_CLASSES:
        return []
    return [_accuracies(name, [table.get(name) for table in tables]) for name in classes]


def _neighbors(run: RunRecord) -> float | None:
    if run.examples is None:
        return None
    return sections.neighborhoods(run.examples, run.class_names).now


def _class_rows(run: RunRecord) -> list[dict[str, Any]]:
    chosen = run_page.preferred(run.predictions)
    if chosen is None or run.predictions is None:
        return []
    return sections.per_class(run.predictions, chosen[1], run.class_names)["rows"]


def _accuracies(title: str, values: Sequence[float | None]) -> dict[str, Any]:
    best = max((value for value in values if value is not None), default=None)
    return {"title": title, "cells": [
        {"text": "–" if value is None else format_percent(value), "best": value == best}
        for value in values]}  # fmt: skip


def _series(runs: Sequence[RunRecord], names: Sequence[str]) -> list[curves.ScalarSeries]:
    """The scalars of all runs, each under the name of its run."""
    return [one._replace(folder=name) for run, name in zip(runs, names, strict=True)
            for one in run.scalars
            if one.folder == curves.OWN_EVENTS and np.isfinite(one.values).any()]  # fmt: skip


def _link(run: RunRecord, folder: str) -> str | None:
    if not os.path.isfile(os.path.join(run.folder, run_folder.REPORT)):
        return None
    return run_page.address(run.folder, run_folder.REPORT, folder)


def _map(run: RunRecord) -> Mapping[str, Any] | None:
    if run.examples is None:
        return None
    return {"points": sections.embedding_points(run.examples, run.class_names),
            "step": run.examples.step}  # fmt: skip
