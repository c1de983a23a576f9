"""Fig. 8: kinds and widths of the projection head, and h against z."""

from __future__ import annotations

from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import PROBE, PROBE_Z, with_settings
from tests.studies import made_up


def _as_in_the_paper(cell):
    on_h = {"none": 0.5, "linear": 0.6, "nonlinear": 0.64}[cell.factors["head"]]
    return {PROBE: on_h} if cell.factors["head"] == "none" else {PROBE: on_h, PROBE_Z: on_h - 0.1}


def test_the_grids():
    study = catalogue.study("projection_head")
    assert len(study.grid(made_up.base(), "small")) == 7
    cells = study.grid(made_up.base(), "paper")
    assert len({cell.key for cell in cells}) == 15
    for cell in cells:
        projection = with_settings(made_up.base(), cell.settings).model.projection
        assert projection.proj_head_mode == cell.factors["head"]
        assert cell.factors["dimension"] in (projection.proj_out_dim, "of h")


def test_conclusions():
    assert made_up.answers("projection_head", _as_in_the_paper) == ["supports"] * 3
    flipped = made_up.answers("projection_head", made_up.mirrored(_as_in_the_paper))
    assert flipped == ["contradicts"] * 3


def test_both_panels_have_one_scale():
    results = made_up.results("projection_head", _as_in_the_paper)
    h, z = catalogue.study("projection_head").draw(results).axes
    assert h.get_ylim() == z.get_ylim()
