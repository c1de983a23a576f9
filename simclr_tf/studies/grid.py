"""What a study is made of: a declared grid over the settings of a run.

Names and values of the settings are those of `simclr_tf.config`, so a cell is nothing but a run
that `run.py` could do by itself.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from simclr_tf.settings import by_name
from simclr_tf.settings.run import RunConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simclr_tf.studies.results import Results
    from simclr_tf.studies.verdicts import Verdict

Factors = Mapping[str, Any]

# What is measured of a cell, as names of its figures.
PROBE = "eval/linear_probe_accuracy"  # logistic regression on frozen h
PROBE_Z = "eval/linear_probe_accuracy_z"  # the same on z, the output of the projection head
HEAD = "eval/label_top_1_accuracy"  # the network's own linear head
ENTROPY = "train/contrast_entropy"
CONTRAST_ACC = "train/contrast_acc"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place of the grid, run once per seed.

    Attributes:
        factors: What tells it from the others, by column of the table, in their order.
        settings: Settings that differ from the study's base.
        length: Images it sees, as a multiple of the budget.
        metric: The figure that the study compares.
        paper: The paper's value of that figure in percent, where it has one.
        paper_also: The paper's values of other figures by name, in percent or their own unit.
    """

    factors: Factors
    settings: Mapping[str, Any]
    length: float = 1.0
    metric: str = PROBE
    paper: float | None = None
    paper_also: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def paper_of(self, metric: str | None = None) -> float | None:
        """The paper's value of a figure, of the cell's own without `metric`."""
        if metric is None or metric == self.metric:
            return self.paper
        return self.paper_also.get(metric)

    @property
    def key(self) -> str:
        """A name for files: `negatives-both_views.temperature-0.1`."""
        return key_of(self.factors)


@dataclasses.dataclass(frozen=True)
class Study:
    """A study of the paper.

    Attributes:
        name: As in `--study`.
        title: For figures and tables.
        source: Where the paper has it.
        grid: From the base and the name of the grid (`small`, `paper`) to the cells.
        conclude: The paper's conclusions, held against the results.
        draw: Draws the study's figure.
        extras: Draws what else belongs to the study, from the runs of its cells; what those lack
            is left out.
    """

    name: str
    title: str
    source: str
    grid: Callable[[RunConfig, str], Sequence[Cell]]
    conclude: Callable[[Results], Sequence[Verdict]]
    draw: Callable[[Results], Figure]
    extras: Callable[[Extras], Sequence[Picture]] | None = None


@dataclasses.dataclass(frozen=True)
class Extras:
    """What a study's further figures are made from.

    Attributes:
        base: The settings that all cells start from.
        run_of: The settings of the run of a cell with the first seed; None where that cell has no
            result, or its checkpoints are gone.
    """

    base: RunConfig
    run_of: Callable[[Factors], RunConfig | None]


class Picture(NamedTuple):
    """A figure of a study.

    Attributes:
        name: Of its files, without suffix.
        figure: The figure.
        words: What a screen reader says of it.
    """

    name: str
    figure: Figure
    words: str


def key_of(factors: Factors) -> str:
    """A name for files that tells apart what the factors tell apart."""
    parts = [f"{name}-{_plain(value)}" for name, value in factors.items()]
    return re.sub(r"[^\w.+-]+", "_", ".".join(parts))


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_settings(run: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """The same run with some settings changed.

    Raises:
        InputError: A value breaks its constraint.
    """
    return by_name.build_run_config({**by_name.flatten(run), **settings})
