"""The files of a study: CSV, JSON, the figure, and a page of text."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import Any

from simclr_tf import run_folder
from simclr_tf.files import write_bytes_atomically, write_json, write_text_atomically
from simclr_tf.report import charts, page
from simclr_tf.studies.grid import PROBE_Z, Cell, Picture
from simclr_tf.studies.plan import Plan, run_name
from simclr_tf.studies.results import Results
from simclr_tf.studies.verdicts import Verdict

_SHORT = {
    "eval/linear_probe_accuracy": "probe",
    PROBE_Z: "probe on z",
    "eval/label_top_1_accuracy": "head",
    "eval/knn_20_accuracy": "kNN 20",
    "train/contrast_acc": "contrastive accuracy",
    "train/contrast_entropy": "entropy",
}
_IMAGES = ("png", "svg")
_PERCENT = ("eval/", "train/contrast_acc")


def main_picture(plan: Plan, results: Results, verdicts: Sequence[Verdict]) -> Picture:
    """The figure that the study is about."""
    conclusions = "; ".join(one.conclusion for one in verdicts)
    words = f"{plan.study.title}: {conclusions}"
    return Picture(plan.study.name, plan.study.draw(results), words)


def write(
    folder: str,
    plan: Plan,
    results: Results,
    verdicts: Sequence[Verdict],
    pictures: Sequence[Picture],
) -> None:
    """Writes everything at the end of a study."""
    write_tables(folder, plan, results)
    stem = os.path.join(folder, plan.study.name)
    for picture in pictures:
        _save_figure(picture.figure, os.path.join(folder, picture.name))
    lines = [f"# {plan.study.title}", "", f"{plan.study.source}. {_what_ran(plan, results)}", ""]
    lines += [f"- {verdict.sentence}" for verdict in verdicts]
    for picture in pictures:
        lines += ["", f"![{picture.words}]({picture.name}.svg)"]
    lines += ["", markdown_table(plan, results)]
    write_text_atomically(f"{stem}.md", "\n".join(lines) + "\n")
    write_json(os.path.join(folder, "verdicts.json"), [verdict._asdict() for verdict in verdicts])
    text = html(plan, results, verdicts, pictures)
    write_text_atomically(os.path.join(folder, run_folder.REPORT), text)


def html(
    plan: Plan, results: Results, verdicts: Sequence[Verdict], pictures: Sequence[Picture]
) -> str:
    """The same as a page; its links lead to the pages of the cells' runs."""
    head, *rows = _rows(plan, results)
    name = plan.study.name
    drawn = [f"{picture.name}.{kind}" for picture in pictures for kind in _IMAGES]
    pages = [_pages(plan, results, cell) for cell in plan.cells]
    return page.render(
        "study.html.j2",
        title=plan.study.title,
        source_of_study=plan.study.source,
        what=_what_ran(plan, results),
        verdicts=verdicts,
        charts=[
            charts.inline(picture.figure, f"figure-{index}", picture.words)
            for index, picture in enumerate(pictures)
        ],
        head=head,
        rows=list(zip(rows, pages, strict=True)),
        has_pages=any(pages),
        files=[*(f"{name}.{kind}" for kind in ("csv", "json", "md")), *drawn],
    )


def _pages(plan: Plan, results: Results, cell: Cell) -> list[tuple[int, str]]:
    """Seeds of a cell and the pages of their runs, as far as there are any."""
    seeds = [one.seed for one in results.outcomes.get(cell.key, ())]
    paths = [(seed, f"cells/{run_name(cell, seed)}/{run_folder.REPORT}") for seed in seeds]
    return [(seed, path) for seed, path in paths
            if os.path.isfile(os.path.join(plan.base.model_dir, path))]  # fmt: skip


def write_tables(folder: str, plan: Plan, results: Results) -> None:
    """Writes the results so far: a line per cell and seed, and means over seeds."""
    stem = os.path.join(folder, plan.study.name)
    write_text_atomically(f"{stem}.csv", csv_table(plan, results))
    write_json(f"{stem}.json", {
        "study": plan.study.name,
        "title": plan.study.title,
        "source": plan.study.source,
        "test_images": results.test_images,
        "cells": [_cell(cell, results) for cell in plan.cells],
    })  # fmt: skip


def _save_figure(figure: Any, stem: str) -> None:
    for kind in _IMAGES:
        picture = io.BytesIO()
        figure.savefig(picture, format=kind)
        write_bytes_atomically(f"{stem}.{kind}", picture.getvalue())


def csv_table(plan: Plan, results: Results) -> str:
    """One line per cell and seed: factors, seed, figures as fractions, steps, seconds."""
    factors = list(plan.cells[0].factors)
    names = _metric_names(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*factors, "seed", *names, "steps", "seconds", "failed"])
    for cell in plan.cells:
        for one in results.outcomes.get(cell.key, ()):
            figures = [one.metrics.get(name, "") for name in names]
            record = [one.record.get(name, "") for name in ("steps", "seconds")]
            values = [cell.factors[name] for name in factors]
            writer.writerow([*values, one.seed, *figures, *record, one.failed or ""])
    return text.getvalue()


def text_table(plan: Plan, results: Results) -> str:
    """Means and standard errors for a terminal."""
    rows = _rows(plan, results)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(plan: Plan, results: Results) -> str:
    """The same as Markdown."""
    head, *rows = _rows(plan, results)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(value: Any) -> str:
    """A factor for a reader."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(plan: Plan, results: Results) -> list[list[str]]:
    names = [name for name in _SHORT if name in _metric_names(results)]
    has_paper = any(cell.paper is not None for cell in plan.cells)
    head = [*(name.replace("_", " ") for name in plan.cells[0].factors), *map(_SHORT.get, names)]
    rows = [[*map(str, head), *(["paper"] if has_paper else [])]]
    for cell in plan.cells:
        row = [plain(value) for value in cell.factors.values()]
        row += [_estimate(results, cell, name) for name in names]
        if has_paper:
            row.append("" if cell.paper is None else f"{cell.paper:.1f}")
        rows.append(row)
    return rows


def _estimate(results: Results, cell: Cell, name: str) -> str:
    found = results.estimate(cell, name)
    if found is None:
        return "-"
    scale = 100 if name.startswith(_PERCENT) else 1
    text = f"{scale * found.value:.1f}"
    return f"{text} ± {scale * found.error:.1f}" if found.error else text


def _cell(cell: Cell, results: Results) -> dict[str, Any]:
    means = {}
    for name in _metric_names(results):
        found = results.estimate(cell, name)
        if found is not None:
            means[name] = {"mean": found.value, "standard_error": found.error}
    return {
        "factors": dict(cell.factors),
        "metric": cell.metric,
        "paper": cell.paper,
        "means": means,
        "seeds": {
            str(one.seed): {"metrics": dict(one.metrics), "failed": one.failed}
            for one in results.outcomes.get(cell.key, ())
        },
    }


def _metric_names(results: Results) -> list[str]:
    names = {name for ran in results.outcomes.values() for one in ran for name in one.metrics}
    return sorted(names)


def _what_ran(plan: Plan, results: Results) -> str:
    base = plan.base
    seeds = sorted({len(ran) for ran in results.outcomes.values()}) or [0]
    count = f"{seeds[0]}" if seeds[0] == seeds[-1] else f"{seeds[0]} to {seeds[-1]}"
    return (
        f"{base.data.dataset}, ResNet-{base.model.encoder.resnet_depth} of width "
        f"{base.model.encoder.width_multiplier:g} unless the table says otherwise, "
        f"{base.train.train_steps} steps of {base.train.train_batch_size} images, "
        f"{count} seed(s), {plan.test_images} test images. Figures with their standard "
        "errors; probe: logistic regression on the frozen representation h."
    )
