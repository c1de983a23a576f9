"""Fig. 5: all compositions of seven transformations on one branch."""

from __future__ import annotations

import numpy as np

from simclr_tf.studies import catalogue
from simclr_tf.studies.catalogue import augmentation
from simclr_tf.studies.grid import with_settings
from simclr_tf.studies.verdicts import SUPPORTS
from tests.studies import made_up


def _as_in_the_paper(cell):
    pair = {cell.factors["first"], cell.factors["second"]}
    if pair == {"crop", "color"}:
        return 0.56
    return 0.4 if "crop" in pair and len(pair) == 2 else 0.2


def test_the_grids_and_their_settings():
    study = catalogue.study("augmentation")
    cells = study.grid(made_up.base(), "paper")
    assert len({cell.key for cell in cells}) == 49
    assert len(study.grid(made_up.base(), "small")) == 28
    for cell in cells:
        run = with_settings(made_up.base(), cell.settings)
        names = tuple(dict.fromkeys(cell.factors.values()))
        assert (run.augment.augmentation, run.augment.transform_names) == ("one_branch", names)


def test_conclusions():
    assert made_up.answers("augmentation", _as_in_the_paper) == [SUPPORTS, SUPPORTS]
    flipped = made_up.answers("augmentation", made_up.mirrored(_as_in_the_paper))
    assert flipped[0] == "contradicts"
    assert made_up.answers("augmentation", lambda cell: 0.3) == ["leaves open"] * 2


def test_the_matrix_is_full_in_both_grids():
    for grid in ("small", "paper"):
        results = made_up.results("augmentation", _as_in_the_paper, grid)
        matrix = augmentation.matrix(results)
        assert matrix.shape == (7, 7)
        np.testing.assert_allclose([matrix[0, 2], matrix[2, 0], matrix[3, 3]], [56, 56, 20])
        assert catalogue.study("augmentation").draw(results).axes[0].texts[0].get_text() == "20.0"
