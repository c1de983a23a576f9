"""Which values of a figure are the good ones."""

from __future__ import annotations

from simclr_tf.evaluation.verdict import PREFIX

_LOW_IS_GOOD = ("loss", "entropy", "weight_decay")
# Of `Quality`, those of which more is better.
_FIGURES = ("retrieval", "crop_retrieval", "effective_rank", "rank_share", "spread")
QUALITY_METRICS = tuple(f"{PREFIX}{of}_{name}" for of in ("h", "z") for name in _FIGURES)


def low_is_good(name: str) -> bool:
    """Whether low values of a figure are good: losses, entropies and weight decay."""
    return any(word in name for word in _LOW_IS_GOOD)
