"""The losses that train an encoder."""

from __future__ import annotations

import dataclasses

from simclr_tf.errors import require, require_choice
from simclr_tf.settings.checks import SHARE, TEMPERATURE, Range, check_settings, limited

OBJECTIVES = ("nt_xent", "nt_logistic", "margin_triplet")
NEGATIVES = ("both_views", "other_view")


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """The contrastive loss: NT-Xent (section 2.1), or one of those it is compared with (Table 2).

    Example:
        >>> simclr_tf.ObjectiveConfig(temperature=0.5).negatives
        'both_views'

    Attributes:
        objective: `nt_xent`, `nt_logistic` or `margin_triplet`.
        temperature: The paper's tau.
        margin: By how much a positive is to be more similar than a negative; margin triplet.
        semi_hard: Only the semi-hard negative of an anchor counts; not with NT-Xent.
        negatives: `both_views`, or those of the `other_view` than the anchor's, as in Table 4.
        hidden_norm: Whether the embeddings are L2-normalised.
        loss_block_size: Anchors whose similarities are in memory at a time; 0 chooses. NT-Xent with
            the negatives of both views; the others hold all similarities.
    """

    objective: str = "nt_xent"
    temperature: float = limited(0.1, TEMPERATURE)
    margin: float = limited(0.8, Range(0, 1e4))
    semi_hard: bool = False
    negatives: str = "both_views"
    hidden_norm: bool = True
    loss_block_size: int = limited(0, Range(0, 2**24))

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("objective", self.objective, OBJECTIVES)
        require_choice("negatives", self.negatives, NEGATIVES)
        require(not (self.semi_hard and self.objective == "nt_xent"), "semi_hard",
                "must be off with objective=nt_xent, which weights all negatives",
                self.semi_hard)  # fmt: skip
        blocked = self.objective == "nt_xent" and self.negatives == "both_views"
        require(blocked or not self.loss_block_size, "loss_block_size",
                "must be 0 unless objective=nt_xent and negatives=both_views",
                self.loss_block_size)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Distillation into a student (SimCLRv2, arXiv 2006.10029, section 2, equations 2 and 3).

    Attributes:
        teacher: SimCLR weights with a linear head, of any format; with `train_mode=distill` only.
            Where published weights do not tell which layer of the projection head the linear head
            reads, `python -m export import --ft_proj_selector=1` makes weights that do.
        distill_temperature: Softens the distributions of teacher and student alike. SimCLRv2 takes
            1.0 for a smaller student and 0.1 for one of the teacher's size, and finds that it
            matters little.
        distill_alpha: Weight of the distillation term; the labelled cross entropy has the rest.
            1 needs no labels.
    """

    teacher: str | None = None
    distill_temperature: float = limited(1.0, TEMPERATURE)
    distill_alpha: float = limited(1.0, SHARE)

    def __post_init__(self) -> None:
        check_settings(self)
        require(self.teacher != "", "teacher", "must be a path to weights", self.teacher)
