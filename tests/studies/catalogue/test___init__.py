"""The catalogue has every study that a flag can name."""

from __future__ import annotations

import pytest

from simclr_tf.settings.study import GRIDS, STUDIES
from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import key_of, with_settings
from tests.studies import made_up


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_complete(name):
    study = catalogue.study(name)
    assert study.name == name and study.title and study.source
    for grid in GRIDS:
        cells = study.grid(made_up.base(), grid)
        assert len({cell.key for cell in cells}) == len(cells)
        assert len({tuple(cell.factors) for cell in cells}) == 1
        for cell in cells:
            assert cell.key == key_of(cell.factors)
            with_settings(made_up.base(), cell.settings)


@pytest.mark.parametrize("name", STUDIES)
def test_without_results_nothing_is_concluded_and_the_figure_is_empty(name):
    study = catalogue.study(name)
    nothing = made_up.results(name, lambda cell: {})
    assert {verdict.answer for verdict in study.conclude(nothing)} == {"leaves open"}
    study.draw(nothing)
