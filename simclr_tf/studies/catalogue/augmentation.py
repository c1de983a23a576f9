"""Which compositions of augmentations make good representations (section 3.1, Fig. 5)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from simclr_tf.settings.augment import COMPOSED_TRANSFORMS
from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures, histograms
from simclr_tf.studies.grid import Cell, Extras, Picture, Study
from simclr_tf.studies.results import Estimate, Results
from simclr_tf.studies.verdicts import Verdict, compare


def _grid(base: RunConfig, grid: str) -> list[Cell]:
    """All ordered pairs; the small grid has each pair in one order."""
    pairs = list(itertools.product(COMPOSED_TRANSFORMS, repeat=2))
    if grid == "small":
        pairs = list(itertools.combinations_with_replacement(COMPOSED_TRANSFORMS, 2))
    return [
        Cell(
            {"first": first, "second": second},
            {
                "augmentation": "one_branch",
                "transforms": first if first == second else f"{first},{second}",
            },
        )
        for first, second in pairs
    ]


def pair(results: Results, first: str, second: str) -> Estimate | None:
    """The mean of both orders of a composition, of the one there is in the small grid."""
    orders = {(first, second), (second, first)}
    return results.mean([cell for one, other in sorted(orders)
                         for cell in results.find(first=one, second=other)])  # fmt: skip


def matrix(results: Results) -> np.ndarray:
    """Percentages by first and second transformation, (7, 7); NaN where there is none."""
    values = np.full((len(COMPOSED_TRANSFORMS),) * 2, np.nan)
    for (i, first), (j, second) in itertools.product(enumerate(COMPOSED_TRANSFORMS), repeat=2):
        found = results.find(first=first, second=second) or results.find(first=second, second=first)
        estimate = results.estimate(found[0]) if found else None
        if estimate is not None:
            values[i, j] = 100 * estimate.value
    return values


def _draw(results: Results) -> Figure:
    return figures.heat_map(
        "Composition of augmentations, applied to one branch",
        COMPOSED_TRANSFORMS,
        COMPOSED_TRANSFORMS,
        matrix(results),
        ("first transformation", "second transformation"),
    )


def _conclude(results: Results) -> Sequence[Verdict]:
    pairs = {
        f"{first} + {second}": pair(results, first, second)
        for first, second in itertools.combinations(COMPOSED_TRANSFORMS, 2)
    }
    singles = {name: pair(results, name, name) for name in COMPOSED_TRANSFORMS}
    others = {name: one for name, one in pairs.items() if name != "crop + color"}
    return [
        compare("crop + color is the best pair", ("crop + color", pairs["crop + color"]),
                _highest(others, "the best other pair")),
        compare("no single transformation is as good as the best composition",
                _highest(pairs, "the best pair"), _highest(singles, "the best single one")),
    ]  # fmt: skip


def _highest(estimates: dict[str, Estimate | None], title: str) -> tuple[str, Estimate | None]:
    known = {name: one for name, one in estimates.items() if one is not None}
    if not known:
        return title, None
    name = max(known, key=lambda key: known[key].value)
    return f"{title} ({name})", known[name]


def _extras(extras: Extras) -> Sequence[Picture]:
    """Histograms of pixels with and without colour distortion (Fig. 6)."""
    words = "Histograms of pixels of random crops, without and with colour distortion"
    return [Picture("pixel_histograms", histograms.pixel_histograms(extras.base), words)]


STUDY = Study(
    name="augmentation",
    title="Composition of augmentations",
    source="Fig. 5",
    grid=_grid,
    conclude=_conclude,
    draw=_draw,
    extras=_extras,
)
