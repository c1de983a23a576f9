"""NT-Xent against other contrastive losses (section 5.1, Tables 2 and 4, appendix B.10)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures
from simclr_tf.studies.grid import Cell, Study
from simclr_tf.studies.results import Estimate, Results
from simclr_tf.studies.verdicts import Verdict, compare

_TITLES = {
    ("margin_triplet", False): ("margin", 50.9),
    ("nt_logistic", False): ("NT-Logistic", 51.6),
    ("margin_triplet", True): ("margin, semi-hard", 57.5),
    ("nt_logistic", True): ("NT-Logistic, semi-hard", 57.9),
    ("nt_xent", False): ("NT-Xent", 63.9),
}
_MARGINS = (0.0, 0.4, 0.8, 1.6)
_TEMPERATURES = (0.1, 0.2, 0.5, 1.0)
_RATES = (0.01, 0.1, 0.3, 0.5, 1.0)
_PAPER_RATE = 0.3  # of the paper's runs with NT-Xent


def _grid(base: RunConfig, grid: str) -> list[Cell]:
    """Margins and temperatures of B.10; its learning rates too in the paper's grid.

    Rates are multiples of the base's, which stands where the paper has 0.3. As in Table 4 the
    negatives are those of the other view, and embeddings are normalised.
    """
    rates = [rate / _PAPER_RATE for rate in _RATES] if grid == "paper" else [1.0]
    cells = []
    for (objective, semi_hard), (title, _) in _TITLES.items():
        name, values = "temperature", _TEMPERATURES
        if objective == "margin_triplet":
            name, values = "margin", _MARGINS
        for value in values:
            for rate in rates:
                factors: dict[str, Any] = {"loss": title, "margin or temperature": value}
                if grid == "paper":
                    factors["rate"] = round(rate, 3)
                settings = {
                    "objective": objective,
                    "semi_hard": semi_hard,
                    name: value,
                    "negatives": "other_view",
                    "hidden_norm": True,
                    "loss_block_size": 0,
                    "learning_rate": base.optimizer.learning_rate * rate,
                }
                cells.append(Cell(factors, settings))
    return cells


def _best(results: Results, title: str) -> tuple[str, Estimate | None]:
    return title, results.highest(loss=title)


def _draw(results: Results) -> Figure:
    """The best cell of every loss, beside the paper's values."""
    best = []
    for title, paper in _TITLES.values():
        found = results.best(loss=title)
        if found is not None:
            cell = found[0]
            best.append((title, dataclasses.replace(cell, paper=paper)))
    return figures.bars("Contrastive losses, each at its best", [figures.Group("", best)], results)


def _conclude(results: Results) -> Sequence[Verdict]:
    titles = [title for title, _ in _TITLES.values()]
    others = [_best(results, title) for title in titles if title != "NT-Xent"]
    known = [pair for pair in others if pair[1] is not None]
    second = max(known, key=lambda pair: pair[1].value if pair[1] else 0, default=others[0])
    return [
        compare("NT-Xent is the best loss (on ImageNet 63.9 %, the next 57.9 %)",
                _best(results, "NT-Xent"), second),
        compare("semi-hard negatives help the margin loss (by 6.6 points on ImageNet)",
                _best(results, "margin, semi-hard"), _best(results, "margin")),
        compare("semi-hard negatives help NT-Logistic (by 6.3 points on ImageNet)",
                _best(results, "NT-Logistic, semi-hard"), _best(results, "NT-Logistic")),
    ]  # fmt: skip


STUDY = Study(
    name="losses",
    title="Contrastive losses",
    source="Table 4",
    grid=_grid,
    conclude=_conclude,
    draw=_draw,
)
