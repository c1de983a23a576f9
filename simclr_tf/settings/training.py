"""Length of training, batch, checkpoints."""

from __future__ import annotations

import dataclasses
import re

from simclr_tf.errors import require, require_choice
from simclr_tf.settings.checks import COUNT, EPOCHS, Range, check_settings, limited

JIT_COMPILE = ("auto", "on", "input", "off")
GRADIENT_CACHE_BN = ("chunk", "frozen")
_EARLY_STOP = re.compile(r"((?:train|quality)/\w+)(?::([1-9]\d{0,5}))?")
_PATIENCE = 5  # checkpoints


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length of training, batch, checkpoints. Steps given above 0 override epochs.

    Example:
        >>> simclr_tf.TrainConfig(train_batch_size=128, train_steps=200).seed
        0

    Attributes:
        train_batch_size: Images per step, over all replicas.
        keep_checkpoint_max: The newest so many checkpoints are kept.
        keep_best: Name of a metric (`train/contrast_loss`, or `eval/label_top_1_accuracy` where
            evaluations of the run are written, or `quality/h_retrieval` without labels); the
            checkpoint with its best value is kept too.
        early_stop: `METRIC:N` ends the run at a checkpoint where the metric, of `train/` or
            `quality/`, has not improved for N checkpoints; `METRIC` alone means 5.
        seed: Fixes initialisation, data order and augmentation.
        deterministic: Operations whose result could depend on the order of threads are replaced or
            refused, so that two runs agree bit for bit.
        skip_nonfinite_steps: Updates with a loss or gradient that is not finite are left out, up to
            so many in a run, before it stops; 0 stops at the first.
        gradient_cache_chunk: Images of the global batch that go through the network at a time, with
            the gradient of the whole batch's loss all the same; 0 takes the whole batch at once.
        gradient_cache_bn: What batch norm does then. `chunk`: every chunk is normalised by its own
            statistics. `frozen`: by the running statistics, which stay as they are.
        remat: Activations inside residual blocks are computed again in the backward pass instead of
            being kept: less memory, a second forward pass, the same gradient.
        jit_compile: What XLA compiles: `on` is the step (one replica only) and the input pipeline,
            `input` the latter alone, `off` neither. `auto` is `input`, but `on` on a TPU, where
            nothing else is possible.
    """

    # a contrastive loss needs negatives
    train_batch_size: int = limited(512, Range(2, 2**24))
    train_epochs: int = limited(100, EPOCHS)
    train_steps: int = limited(0, COUNT)
    checkpoint_epochs: int = limited(1, EPOCHS)
    checkpoint_steps: int = limited(0, COUNT)
    keep_checkpoint_max: int = limited(5, Range(1, 10**6))
    keep_best: str | None = None
    early_stop: str | None = None
    seed: int = limited(0, Range(0, 2**31 - 1))
    deterministic: bool = False
    skip_nonfinite_steps: int = limited(0, COUNT)
    gradient_cache_chunk: int = limited(0, Range(0, 2**24))
    gradient_cache_bn: str = "chunk"
    remat: bool = False
    jit_compile: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        plain = self.keep_best is None or re.fullmatch(r"(train|eval|quality)/\w+", self.keep_best)
        require(bool(plain), "keep_best", "must name a metric, train/NAME, eval/NAME or "
                "quality/NAME", self.keep_best)  # fmt: skip
        ends = self.early_stop is None or _EARLY_STOP.fullmatch(self.early_stop)
        require(bool(ends), "early_stop", "must be METRIC or METRIC:N, the metric train/NAME "
                "or quality/NAME, N checkpoints, at least 1", self.early_stop)  # fmt: skip
        require_choice("jit_compile", self.jit_compile, JIT_COMPILE)
        require_choice("gradient_cache_bn", self.gradient_cache_bn, GRADIENT_CACHE_BN)
        chunk = self.gradient_cache_chunk
        require(chunk > 0 or self.gradient_cache_bn == "chunk", "gradient_cache_bn",
                "needs gradient_cache_chunk", self.gradient_cache_bn)  # fmt: skip
        require(chunk == 0 or self.train_batch_size % chunk == 0, "gradient_cache_chunk",
                f"must divide train_batch_size={self.train_batch_size}", chunk)  # fmt: skip

    @property
    def stopping(self) -> tuple[str | None, int]:
        """The metric of `early_stop`, and how many checkpoints it may take to improve."""
        found = _EARLY_STOP.fullmatch(self.early_stop or "")
        return (found[1], int(found[2] or _PATIENCE)) if found else (None, _PATIENCE)
