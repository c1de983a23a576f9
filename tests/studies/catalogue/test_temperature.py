"""Table 5: normalised or not, at six temperatures."""

from __future__ import annotations

from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import CONTRAST_ACC, ENTROPY, PROBE, with_settings
from tests.studies import made_up


def _as_in_the_paper(cell):
    return {PROBE: cell.paper / 100, CONTRAST_ACC: 0.9, ENTROPY: 4.5}


def test_the_grid():
    cells = catalogue.study("temperature").grid(made_up.base(), "small")
    settings = [with_settings(made_up.base(), cell.settings).objective for cell in cells]
    assert [one.temperature for one in settings] == [0.05, 0.1, 0.5, 1.0, 10.0, 100.0]
    assert [one.hidden_norm for one in settings] == [True] * 4 + [False] * 2


def test_the_papers_own_figures_support_it():
    assert made_up.answers("temperature", _as_in_the_paper) == ["supports"] * 3
    flipped = made_up.answers("temperature", made_up.mirrored(_as_in_the_paper))
    assert "contradicts" in flipped
    results = made_up.results("temperature", _as_in_the_paper)
    axes = catalogue.study("temperature").draw(results).axes
    assert len(axes) == 3
    for panel, lowest in zip(axes, (59.7, 90.5, 1.0), strict=True):  # the paper's, at 0.05
        paper = next(line for line in panel.lines if "paper" in line.get_label())
        assert (paper.get_xdata()[0], paper.get_ydata()[0]) == (0.05, lowest)
