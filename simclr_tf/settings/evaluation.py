"""Evaluation of the checkpoints of a run."""

from __future__ import annotations

import dataclasses
import re

from simclr_tf.errors import require
from simclr_tf.settings.checks import BATCH, COUNT, NATURAL, Range, check_settings, limited

_BANK_SIZE = 50_000


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation of a checkpoint.

    Example:
        >>> simclr_tf.EvalConfig(linear_probe=True).eval_batch_size
        256

    Attributes:
        eval_batch_size: Images per forward pass, over all replicas.
        eval_steps: Batches of the evaluation split to use; 0 takes all of it.
        knn: Whether to run the weighted k-nearest-neighbour classifier on frozen features.
        knn_bank_size: At most so many training images serve as neighbours. None takes 50,000, and
            with `eval_steps` no more than these evaluate.
        linear_probe: Whether to fit a logistic regression on the features of the same images.
        eval_timeout_secs: `mode=eval` ends when no new checkpoint came for so long.
        keep_hub_module_max: SavedModels kept under `saved_model/`; 0 keeps all.
    """

    eval_batch_size: int = limited(256, BATCH)
    eval_steps: int = limited(0, COUNT)
    eval_name: str | None = None
    knn: bool = True
    knn_bank_size: int | None = limited(None, NATURAL)
    linear_probe: bool = False
    eval_timeout_secs: int = limited(3600, COUNT)
    keep_hub_module_max: int = limited(1, Range(0, 10**6))

    def __post_init__(self) -> None:
        check_settings(self)
        plain = self.eval_name is None or re.fullmatch(r"\w[\w.-]*", self.eval_name)
        require(bool(plain), "eval_name", "must be a plain folder name", self.eval_name)

    @property
    def max_examples(self) -> int | None:
        """Images of the evaluation split, at most; None takes all."""
        return self.eval_steps * self.eval_batch_size or None

    @property
    def bank_size(self) -> int:
        """Training images that serve as neighbours, at most."""
        if self.knn_bank_size is not None:
            return self.knn_bank_size
        return min(_BANK_SIZE, self.max_examples or _BANK_SIZE)
