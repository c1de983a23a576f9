"""Notices a contrastive training that has learned nothing for long."""

from __future__ import annotations

from collections.abc import Mapping

CONTRAST_LOSS = "train/contrast_loss"
_NEAR = 0.97  # of the loss of guessing
_FEWEST_STEPS, _SHARE = 200, 0.1  # of the run


class Guessing:
    """Compares the contrastive loss with that of guessing.

    Args:
        guess: The loss where all pairs are equally similar; None watches nothing.
        total_steps: Of the run.
    """

    def __init__(self, guess: float | None, total_steps: int):
        self._guess, self._since = guess, 0
        self._patience = max(_FEWEST_STEPS, int(_SHARE * total_steps))
        self._said = False

    def note(self, at: int, values: Mapping[str, float]) -> str:
        """A sentence where the loss has stayed there for a tenth of the run, and 200 steps; once.

        Args:
            at: The step.
            values: The means since the last call.
        """
        loss = values.get(CONTRAST_LOSS)
        if self._guess is None or loss is None or self._said:
            return ""
        if loss < _NEAR * self._guess:
            self._since = at
            return ""
        if at - self._since < self._patience:
            return ""
        self._said = True
        return (f"note: the contrastive loss is {loss:.2f} after {at} steps, that of guessing is "
                f"{self._guess:.2f}: nothing is learned so far. Most often --learning_rate is too "
                "low or too high, --temperature too high, or the images are all alike")  # fmt: skip
