"""Which projection head, how wide, and whether to use h or z (section 4.2, Fig. 8)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures, projections
from simclr_tf.studies.grid import PROBE, PROBE_Z, Cell, Extras, Picture, Study
from simclr_tf.studies.results import Results
from simclr_tf.studies.verdicts import Verdict, compare

_DIMENSIONS = {"small": (32, 128, 512), "paper": (32, 64, 128, 256, 512, 1024, 2048)}
_EXAMPLE = 128  # dimensions of the heads that are looked into, in both grids


def _grid(base: RunConfig, grid: str) -> list[Cell]:
    """Without a head z is h, so that the dimension is the encoder's."""
    cells = [Cell({"head": "none", "dimension": "of h"}, {"proj_head_mode": "none"})]
    for head in ("linear", "nonlinear"):
        for dimension in _DIMENSIONS[grid]:
            factors = {"head": head, "dimension": dimension}
            settings = {"proj_head_mode": head, "proj_out_dim": dimension}
            cells.append(Cell(factors, settings))
    return cells


def _draw(results: Results) -> Figure:
    figure, axes = figures.new_figure(10, 4.2, panels=2)
    with_head = [cell for cell in results.cells if cell.factors["head"] != "none"]
    none = results.mean(results.find(head="none"))
    for panel, metric, title in (
        (axes[0], PROBE, "Representation h, before the head"),
        (axes[1], PROBE_Z, "Output z of the head"),
    ):
        groups = figures.grouped(with_head, by="head", x="dimension")
        figures.lines(panel, groups, results, metric)
        if none is not None:
            panel.axhline(100 * none.value, color="#555555", linestyle="--", label="no head (h)")
        figures.logarithmic(panel, groups)
        figures.finish(panel, title, "dimensions of z")
    figures.on_one_scale(axes)
    return figure


def _conclude(results: Results) -> Sequence[Verdict]:
    none, linear, nonlinear = (results.find(head=head) for head in ("none", "linear", "nonlinear"))
    by_linear, by_nonlinear, by_z = (
        [results.estimate(cell, metric) for cell in cells]
        for cells, metric in ((linear, PROBE), (nonlinear, PROBE), (nonlinear, PROBE_Z))
    )
    return [
        compare("a nonlinear head is better than a linear one (by 3 points on ImageNet)",
                ("nonlinear", results.mean(nonlinear)), ("linear", results.mean(linear)),
                pairs=zip(by_nonlinear, by_linear, strict=True)),
        compare("a linear head is better than none",
                ("linear", results.mean(linear)), ("none", results.mean(none)),
                pairs=[(one, results.mean(none)) for one in by_linear]),
        compare("h is better than z (by over 10 points on ImageNet)",
                ("h", results.mean(nonlinear)), ("z", results.mean(nonlinear, PROBE_Z)),
                pairs=zip(by_nonlinear, by_z, strict=True)),
    ]  # fmt: skip


def _extras(extras: Extras) -> Sequence[Picture]:
    """Eigenvalues of a linear head (B.4), and h and z of a nonlinear one on a plane."""
    pictures = []
    linear = extras.run_of({"head": "linear", "dimension": _EXAMPLE})
    if linear is not None:
        pictures.append(Picture("head_eigenvalues", projections.head_spectrum(linear),
                                "Squared singular values of a linear head by rank"))  # fmt: skip
    nonlinear = extras.run_of({"head": "nonlinear", "dimension": _EXAMPLE})
    if nonlinear is not None:
        pictures.append(Picture("maps_of_h_and_z", projections.maps_of_h_and_z(nonlinear),
                                "Maps of h and of z of test images, by class"))  # fmt: skip
    return pictures


STUDY = Study(
    name="projection_head",
    title="Projection heads",
    source="Fig. 8",
    grid=_grid,
    conclude=_conclude,
    draw=_draw,
    extras=_extras,
)
