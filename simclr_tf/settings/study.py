"""Settings of `--mode=study`; like `simclr_tf.config`, without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
import re

from simclr_tf.errors import require, require_choice
from simclr_tf.settings.checks import Range, check_settings, limited

STUDIES = ("augmentation", "color_strength", "broader", "projection_head", "losses",
           "temperature", "batch_size", "width_depth")  # fmt: skip
GRIDS = ("small", "paper")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """A study of the paper over the run's other settings.

    Example:
        >>> simclr_tf.StudyConfig("temperature", study_budget="3min").study_seeds
        1

    Attributes:
        study: One of `STUDIES`.
        study_budget: Length of a cell: a number of optimizer steps of `train_batch_size` images
            (`200`), or minutes of this machine for training and evaluation together (`3min`), which
            are turned into steps once, so that all cells see as many images. None keeps the run's
            own length.
        study_seeds: Every cell is run with so many seeds, from `seed` on.
        study_grid: `paper` has the values of the paper's tables, `small` fewer of them.
    """

    study: str | None = None
    study_budget: str | None = None
    study_seeds: int = limited(1, Range(1, 100))
    study_grid: str = "small"

    def __post_init__(self) -> None:
        check_settings(self)
        require(self.study is not None, "study", "must be given with mode=study", None)
        require_choice("study", self.study, STUDIES)
        require_choice("study_grid", self.study_grid, GRIDS)
        if self.study_budget is not None:
            self._parsed_budget()

    @property
    def budget_steps(self) -> int | None:
        """The budget in steps, None where it is in minutes or the run's own length."""
        return None if self.study_budget is None else self._parsed_budget()[0]

    @property
    def budget_minutes(self) -> float | None:
        """The budget in minutes, None where it is something else."""
        return None if self.study_budget is None else self._parsed_budget()[1]

    def _parsed_budget(self) -> tuple[int | None, float | None]:
        text = str(self.study_budget)
        steps = re.fullmatch(r"(\d+)(?: ?steps?)?", text)
        minutes = re.fullmatch(r"(\d+(?:\.\d+)?) ?min", text)
        number = float((steps or minutes)[1]) if (steps or minutes) else math.nan  # type: ignore
        require(0 < number <= 10**9, "study_budget",
                "must be a number of steps (200) or of minutes (3min), at most 10^9",
                text)  # fmt: skip
        return (int(number), None) if steps else (None, number)
