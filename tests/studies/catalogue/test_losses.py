"""Table 4: contrastive losses with small grids of their own."""

from __future__ import annotations

from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import with_settings
from tests.studies import made_up

PAPER = {"margin": 0.509, "NT-Logistic": 0.516, "margin, semi-hard": 0.575,
         "NT-Logistic, semi-hard": 0.579, "NT-Xent": 0.639}  # fmt: skip


def _as_in_the_paper(cell):
    """Only one value of the loss's own parameter is any good."""
    value = cell.factors["margin or temperature"]
    return PAPER[cell.factors["loss"]] - (0 if value in (0.1, 0.8) else 0.2)


def test_the_grids():
    study = catalogue.study("losses")
    small, paper = (study.grid(made_up.base(), grid) for grid in ("small", "paper"))
    assert len({cell.key for cell in small}) == 20
    assert len({cell.key for cell in paper}) == 100
    for cell in small:
        objective = with_settings(made_up.base(), cell.settings).objective
        assert objective.negatives == "other_view"
        assert objective.semi_hard is ("semi-hard" in cell.factors["loss"])
    rates = {with_settings(made_up.base(), cell.settings).optimizer.learning_rate for cell in paper}
    assert len(rates) == 5 and made_up.base().optimizer.learning_rate in rates


def test_conclusions_compare_the_best_of_each():
    for grid in ("small", "paper"):
        found = made_up.answers("losses", _as_in_the_paper, grid=grid)
        assert found == ["supports"] * 3
    worse = made_up.answers("losses", lambda cell: 0.9 - PAPER[cell.factors["loss"]])
    assert worse == ["contradicts"] * 3


def test_the_figure_shows_the_papers_values():
    figure = catalogue.study("losses").draw(made_up.results("losses", _as_in_the_paper))
    diamonds = [y for line in figure.axes[0].lines for y in line.get_ydata()]
    assert {51.6, 63.9} <= set(diamonds)
