"""Fig. 7: sizes of the encoder for two ways to learn."""

from __future__ import annotations

from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import with_settings
from tests.studies import made_up


def _as_in_the_paper(cell):
    grows = 0.02 if cell.factors["method"] == "supervised" else 0.1
    return 0.5 + grows * cell.factors["width"] + cell.factors["depth"] / 1000


def test_the_grids():
    base = made_up.base()
    for grid, count in (("small", 12), ("paper", 30)):
        cells = catalogue.study("width_depth").grid(base, grid)
        assert len({cell.key for cell in cells}) == count
        for cell in cells:
            encoder = with_settings(base, cell.settings).model.encoder
            assert encoder.resnet_depth == cell.factors["depth"]
            assert encoder.width_multiplier == cell.factors["width"]


def test_conclusions():
    assert made_up.answers("width_depth", _as_in_the_paper) == ["supports"] * 2
    flipped = made_up.answers("width_depth", made_up.mirrored(_as_in_the_paper))
    assert flipped == ["contradicts"] * 2
    results = made_up.results("width_depth", _as_in_the_paper)
    assert len(catalogue.study("width_depth").draw(results).axes) == 2
