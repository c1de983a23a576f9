"""Table 1: strengths of colour distortion for two ways to learn."""

from __future__ import annotations

from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import HEAD, PROBE, with_settings
from tests.studies import made_up


def _as_in_the_paper(cell):
    return cell.paper / 100


def _autoaugment_wins(cell):
    return 0.9 if cell.factors["augmentation"] == "AutoAugment" else cell.paper / 100


def test_the_grid():
    cells = catalogue.study("color_strength").grid(made_up.base(), "small")
    assert len({cell.key for cell in cells}) == 12
    for cell in cells:
        # Whatever the base's policy is, the column's counts.
        run = with_settings(made_up.base(transforms="sobel"), cell.settings)
        name = "autoaugment" if cell.factors["augmentation"] == "AutoAugment" else "simclr"
        assert (run.augment.augmentation, run.augment.transforms) == (name, "")
        supervised = cell.factors["method"] == "supervised"
        assert run.model.train_mode == ("supervised" if supervised else "pretrain")
        assert cell.metric == (HEAD if supervised else PROBE)
    strengths = {cell.factors["augmentation"]: cell.settings.get("color_jitter_strength")
                 for cell in cells}  # fmt: skip
    assert strengths["1/8"] == 0.125 and strengths["AutoAugment"] is None


def test_the_papers_own_figures_support_it():
    assert made_up.answers("color_strength", _as_in_the_paper) == ["supports"] * 3
    flipped = made_up.answers("color_strength", made_up.mirrored(_as_in_the_paper))
    assert flipped[:2] == ["contradicts"] * 2
    auto_is_best = made_up.answers("color_strength", _autoaugment_wins)
    assert auto_is_best == ["supports", "supports", "contradicts"]
    results = made_up.results("color_strength", _as_in_the_paper)
    assert catalogue.study("color_strength").draw(results).axes
