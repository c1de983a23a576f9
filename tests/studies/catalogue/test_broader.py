"""Appendix B.2: four more transformations."""

from __future__ import annotations

from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import with_settings
from tests.studies import made_up


def _as_in_the_paper(cell):
    return {"all four": 0.75}.get(cell.factors["added"], 0.7)


def test_the_grid():
    cells = catalogue.study("broader").grid(made_up.base(), "small")
    names = [with_settings(made_up.base(), cell.settings).augment.transform_names for cell in cells]
    assert names[0] == () and len(names) == 6
    assert names[-1] == ("sobel", "equalize", "solarize", "motion_blur")


def test_conclusions():
    assert made_up.answers("broader", _as_in_the_paper) == ["supports"]
    assert made_up.answers("broader", made_up.mirrored(_as_in_the_paper)) == ["contradicts"]
    results = made_up.results("broader", _as_in_the_paper)
    assert catalogue.study("broader").draw(results).axes
