"""Ends a training whose figure has not improved for some checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from simclr_tf import run_folder
from simclr_tf.console import Say
from simclr_tf.files import write_json
from simclr_tf.json_files import find_or_set_aside
from simclr_tf.training.metric_order import low_is_good

_KINDS = {"metric": str, "best": float, "best_step": int, "step": int, "since": int}


class EarlyStop:
    """Watches a figure from checkpoint to checkpoint, over all starts of a run.

    Args:
        metric: Its name; None watches nothing.
        patience: Checkpoints in a row without a better value that end the run.
        folder: Of the run, where the best value is kept.
        writes: Whether this process writes there.
        say: Hears why the run ends.
    """

    def __init__(self, metric: str | None, patience: int, folder: str, writes: bool, say: Say):
        self._metric, self._patience, self._writes, self._say = metric, patience, writes, say
        self._path = os.path.join(folder, run_folder.EARLY_STOP)
        self._state: dict[str, Any] = {}
        if metric is not None:
            found = find_or_set_aside(self._path, say, _KINDS)
            complete = found.get("metric") == metric and _KINDS.keys() <= found.keys()
            self._state = found if complete else {}

    @property
    def stops(self) -> bool:
        """Whether the run has come to its end."""
        return bool(self._state) and self._state["since"] >= self._patience

    def checkpoint(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the value at a checkpoint; one that was noted by an earlier start does not count.

        Args:
            step: Of the checkpoint.
            values: Figures by name. Where the metric is absent or not finite, it is no better.
        """
        if self._metric is None or step <= self._state.get("step", -1):
            return
        value = values.get(self._metric, math.nan)
        best = self._state.get("best")
        if best is None:
            better = math.isfinite(value)
        elif low_is_good(self._metric):
            better = value < best
        else:
            better = value > best
        if better:
            self._state = {"metric": self._metric, "best": value, "best_step": step, "since": 0}
        elif self._state:
            self._state["since"] += 1
        if not self._state:
            return
        self._state["step"] = step
        if self._writes:
            write_json(self._path, self._state)
        if self.stops:
            self._say(self.why)

    @property
    def why(self) -> str:
        """Why the run ends, in a sentence."""
        state = self._state
        return (f"{self._metric} has not improved for {state['since']} checkpoints, since step "
                f"{state['best_step']} ({state['best']:.4g}): the run ends at step "
                f"{state['step']} (--early_stop)")  # fmt: skip
