"""Tables of a study: CSV for machines, text for people."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import markupsafe
import pytest
from PIL import Image

from simclr_tf.studies import catalogue, figures, output, plan
from simclr_tf.studies.grid import Picture
from simclr_tf.studies.results import Outcome
from tests.studies import made_up


@pytest.fixture
def temperature():
    study = catalogue.study("temperature")
    base = made_up.base()
    cells = tuple(study.grid(base, "small"))
    settled = plan.Plan(study, base, cells, (0, 1), 10_000)
    results = made_up.results(
        "temperature",
        lambda cell: {"eval/linear_probe_accuracy": cell.paper / 100, "train/contrast_entropy": 2},
    )
    results.outcomes[cells[0].key] = [Outcome(0, {}, "NaN, sadly", {"steps": 7})]
    del results.outcomes[cells[1].key]
    return settled, results


def test_the_csv_has_a_line_per_cell_and_seed(temperature):
    rows = list(csv.DictReader(io.StringIO(output.csv_table(*temperature))))
    assert len(rows) == 1 + 4 * 2
    assert rows[0]["failed"] == "NaN, sadly" and rows[0]["eval/linear_probe_accuracy"] == ""
    assert rows[1]["temperature"] == "0.5" and float(rows[1]["eval/linear_probe_accuracy"]) == 0.607


def test_the_text_has_means_errors_and_the_papers_values(temperature):
    head, *lines = output.text_table(*temperature).splitlines()
    assert head.split()[:3] == ["normalised", "temperature", "probe"] and head.endswith("paper")
    assert lines[0].split() == ["True", "0.05", "-", "-", "59.7"]
    assert lines[2].split() == ["True", "0.5", "60.7", "±", "0.3", "2.0", "60.7"]
    markdown = output.markdown_table(*temperature).splitlines()
    assert len(markdown) == 8 and all(line.startswith("| ") for line in markdown)


def _conclusions(settled, results):
    """Verdicts and pictures."""
    verdicts = settled.study.conclude(results)
    another, (axes,) = figures.new_figure(2, 2)
    axes.plot([1, 2])
    return verdicts, [
        output.main_picture(settled, results, verdicts),
        Picture("other", another, "Another figure"),
    ]


def test_everything_is_written(temperature, tmp_path):
    settled, results = temperature
    output.write(str(tmp_path), settled, results, *_conclusions(settled, results))
    written = {path.name for path in tmp_path.iterdir()}
    kinds = ("csv", "json", "png", "svg", "md")
    assert written == {*(f"temperature.{kind}" for kind in kinds), "verdicts.json",
                       "report.html", "other.png", "other.svg"}  # fmt: skip
    whole = json.loads((tmp_path / "temperature.json").read_text())
    assert whole["cells"][2]["means"]["eval/linear_probe_accuracy"]["mean"] == 0.607
    text = (tmp_path / "temperature.md").read_text()
    assert "This study" in text and "![Another figure](other.svg)" in text
    with Image.open(tmp_path / "temperature.png") as picture:  # the page's is see-through
        assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_the_page(temperature, tmp_path):
    settled, results = temperature
    base = dataclasses.replace(settled.base, model_dir=str(tmp_path))
    settled = dataclasses.replace(settled, base=base)
    none = output.html(settled, results, *_conclusions(settled, results))
    assert ">reports<" not in none  # a column of nothing
    page = tmp_path / "cells" / plan.run_name(settled.cells[2], 1) / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("x")
    text = output.html(settled, results, *_conclusions(settled, results))
    assert f'href="cells/{page.parent.name}/report.html"' in text and "seed 1" in text
    assert ">reports<" in text
    assert text.count('href="cells/') == 1
    for verdict in settled.study.conclude(results):
        assert str(markupsafe.escape(verdict.evidence)) in text
    assert text.count("<svg") == 2 and "60.7 ± 0.3" in text
    assert 'aria-label="Another figure"' in text and 'href="other.png"' in text
