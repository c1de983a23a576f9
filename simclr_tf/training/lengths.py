"""How many steps a run takes, and where it stops for a checkpoint or a summary."""

from __future__ import annotations

import dataclasses

from simclr_tf.settings.training import TrainConfig

# A run writes about so many points to each learning curve.
_SUMMARY_POINTS = 200
_MAX_SUMMARY_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Lengths in optimizer steps.

    With `summarizes_epochs` there is a summary after every pass over the images, beside others.
    """

    steps_per_epoch: int
    total_steps: int
    checkpoint_steps: int
    summary_steps: int
    summarizes_epochs: bool = False

    def is_checkpoint(self, step: int) -> bool:
        """Whether a checkpoint is due after `step`."""
        return step % self.checkpoint_steps == 0 or step == self.total_steps

    def is_summary(self, step: int) -> bool:
        """Whether a summary is due after `step`."""
        due = [self.summary_steps, *([self.steps_per_epoch] if self.summarizes_epochs else [])]
        return any(step % every == 0 for every in due) or self.is_checkpoint(step)

    def next_stop(self, step: int) -> int:
        """The first step after `step` at which the loop has something to write."""
        due = [self.checkpoint_steps, self.summary_steps]
        due += [self.steps_per_epoch] if self.summarizes_epochs else []
        return min(*((step // every + 1) * every for every in due), self.total_steps)


def run_lengths(
    config: TrainConfig, steps_per_epoch: int, reference_steps: int | None = None
) -> Lengths:
    """Turns epochs into steps.

    Args:
        config: Lengths in epochs or steps.
        steps_per_epoch: Whole batches in one pass over the images. The rest of a reshuffled epoch
            is left out, so no batch mixes two epochs. (The reference counts
            `examples * epochs // batch + 1` steps and runs whole checkpoint intervals only.)
        reference_steps: The last step of a run that the reference began, by its own count, so that
            its learning rates go on; None for others.
    """
    total = config.train_steps or reference_steps or config.train_epochs * steps_per_epoch
    every = config.checkpoint_steps or config.checkpoint_epochs * steps_per_epoch
    summary = max(1, min(_MAX_SUMMARY_STEPS, total // _SUMMARY_POINTS, every))
    return Lengths(steps_per_epoch, total, every, summary)
