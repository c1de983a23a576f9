"""Normalised embeddings and the temperature (section 5.1, Table 5)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures
from simclr_tf.studies.grid import CONTRAST_ACC, ENTROPY, PROBE, Cell, Study
from simclr_tf.studies.results import Results
from simclr_tf.studies.verdicts import Verdict, compare

# (normalised, tau) -> the paper's entropy, contrastive accuracy and top-1 accuracy.
_PAPER = {
    (True, 0.05): (1.0, 90.5, 59.7), (True, 0.1): (4.5, 87.8, 64.4),
    (True, 0.5): (8.2, 68.2, 60.7), (True, 1.0): (8.3, 59.1, 58.0),
    (False, 10.0): (0.5, 91.7, 57.2), (False, 100.0): (0.5, 92.1, 57.0),
}  # fmt: skip


def _grid(base: RunConfig, grid: str) -> list[Cell]:
    return [
        Cell({"normalised": normalised, "temperature": tau},
             {"objective": "nt_xent", "semi_hard": False, "hidden_norm": normalised,
              "temperature": tau},
             paper=top_1, paper_also={ENTROPY: entropy, CONTRAST_ACC: contrastive})
        for (normalised, tau), (entropy, contrastive, top_1) in _PAPER.items()
    ]  # fmt: skip


def _draw(results: Results) -> Figure:
    figure, axes = figures.new_figure(13, 4, panels=3)
    for panel, metric, scale, title, unit in (
        (axes[0], PROBE, 100.0, "Representation h", "top-1 accuracy, %"),
        (axes[1], CONTRAST_ACC, 100.0, "Contrastive accuracy", "%"),
        (axes[2], ENTROPY, 1.0, "Entropy of the softmax", "nats"),
    ):
        groups = figures.grouped(results.cells, by="normalised", x="temperature")
        named = [
            group._replace(name="normalised" if group.name == "True" else "not normalised")
            for group in groups
        ]
        figures.lines(panel, named, results, metric, scale)
        figures.logarithmic(panel, named)
        figures.finish(panel, title, "temperature", unit)
    return figure


def _conclude(results: Results) -> Sequence[Verdict]:
    temperatures = sorted(tau for normalised, tau in _PAPER if normalised)
    inner = {tau: results.mean(results.find(normalised=True, temperature=tau))
             for tau in temperatures}  # fmt: skip
    between = {tau: one for tau, one in inner.items() if tau in temperatures[1:-1] and one}
    best = max(between, key=lambda tau: between[tau].value, default=None)
    optimum = (f"temperature {best:g}", between[best]) if best else ("an inner temperature", None)
    return [
        compare("a temperature between the extremes is better than the lowest", optimum,
                (f"{temperatures[0]:g}", inner[temperatures[0]])),
        compare("a temperature between the extremes is better than the highest", optimum,
                (f"{temperatures[-1]:g}", inner[temperatures[-1]])),
        compare("normalised embeddings are better",
                ("normalised", results.highest(normalised=True)),
                ("not normalised", results.highest(normalised=False))),
    ]  # fmt: skip


STUDY = Study(
    name="temperature",
    title="Normalisation and temperature",
    source="Table 5",
    grid=_grid,
    conclude=_conclude,
    draw=_draw,
)
