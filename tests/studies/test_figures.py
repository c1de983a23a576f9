"""Figures are drawn from what there is."""

from __future__ import annotations

import numpy as np

from simclr_tf.studies import figures
from simclr_tf.studies.grid import PROBE, Cell
from simclr_tf.studies.results import Outcome, Results

CELLS = [Cell({"kind": kind, "x": x}, {}, paper=60.0) for kind in "ab" for x in (1.0, 2.0)]
RESULTS = Results(
    CELLS, {cell.key: [Outcome(0, {PROBE: 0.5}, None, {})] for cell in CELLS[:3]}, test_images=100
)


def test_a_heat_map_shows_values_row_means_and_gaps():
    values = np.array([[10.0, np.nan], [30.0, 50.0]])
    figure = figures.heat_map("T", ["r1", "r2"], ["c1", "c2"], values, ("rows", "columns"))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["10.0", "-", "10.0", "30.0", "50.0", "40.0"]
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["c1", "c2", "mean"]


def test_bars_stand_beside_the_papers_values():
    groups = figures.grouped(CELLS, by="kind", x="x")
    assert [group.name for group in groups] == ["a", "b"]
    axes = figures.bars("T", groups, RESULTS).axes[0]
    assert sorted(bar.get_height() for bar in axes.patches) == [0, 0, 50, 50, 50]
    assert "the paper (ImageNet)" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_papers_values_are_of_the_figure_that_is_drawn():
    _, (axes,) = figures.new_figure(4, 3)
    figures.lines(axes, figures.grouped(CELLS, by="kind", x="x"), RESULTS, "train/contrast_acc")
    assert not axes.get_lines()
    cell = Cell({"kind": "a", "x": 1.0}, {}, paper=60.0, paper_also={"train/contrast_acc": 90.0})
    figures.lines(axes, figures.grouped([cell], by="kind", x="x"), RESULTS, "train/contrast_acc")
    assert axes.get_lines()[-1].get_ydata().tolist() == [90.0]


def test_numbers_have_their_ticks_and_panels_one_scale():
    _, axes = figures.new_figure(4, 3, panels=2)
    groups = figures.grouped(CELLS, by="kind", x="x")
    for panel, metric in zip(axes, (None, "train/contrast_acc"), strict=True):
        figures.lines(panel, groups, RESULTS, metric)
        figures.logarithmic(panel, groups)
        assert [text.get_text() for text in panel.get_xticklabels()] == ["1", "2"]
    axes[1].set_ylim(10, 20)
    figures.on_one_scale(axes)
    assert axes[0].get_ylim() == axes[1].get_ylim() and axes[0].get_ylim()[0] <= 10


def test_lines_leave_out_what_is_missing():
    _, (axes,) = figures.new_figure(4, 3)
    figures.lines(axes, figures.grouped(CELLS, by="kind", x="x"), RESULTS)
    assert [len(container[0].get_xdata()) for container in axes.containers] == [2, 1]
    (paper,) = [line for line in axes.get_lines() if line.get_marker() == "D"]
    assert paper.get_xdata().tolist() == [1, 2, 1, 2] and set(paper.get_ydata()) == {60}
    figures.finish(axes, "T", "x")
    assert axes.get_title(loc="left") == "T"
    assert len(figures.new_figure(4, 3, panels=(2, 3))[1]) == 6
