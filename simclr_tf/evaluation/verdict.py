"""One sentence on an encoder from its figures without labels, by rules that were tried on runs.

The rules, and how often they were right: docs/unlabelled.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from simclr_tf.evaluation.quality import Quality
from simclr_tf.units import format_percent

HEALTHY, LITTLE, UNTRAINED, SHORTCUT, DIMENSIONAL, COLLAPSED = (
    "healthy", "little better than untrained", "no better than untrained", "shortcut suspected",
    "dimensional collapse", "collapsed",
)  # fmt: skip
TOO_FEW = "too few images to say"
KINDS = (HEALTHY, LITTLE, UNTRAINED, SHORTCUT, DIMENSIONAL, COLLAPSED, TOO_FEW)

_FEWEST_IMAGES = 50
_SPREAD, _LESS = 0.07, 0.8  # of features that are nearly one point; of what it was
_NO_SPREAD = 1e-3
_FEW_DIMENSIONS = 3.0  # effective ones of z
_CROP_GAIN, _SHARE_WITHOUT = 2.0, 0.08  # see `judge`
_LOWER = "lower --learning_rate, or raise --temperature"
_SOME, _CLEAR = 1.1, 2.0  # times as many views found as before training

PREFIX = "quality/"
_MEASURED = ("h", "z", "untrained")


class Verdict(NamedTuple):
    """What the figures say.

    Attributes:
        kind: One of `KINDS`.
        text: A sentence with the figures that it rests on, and what to try.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def judge(h: Quality, untrained: Quality, z: Quality | None = None) -> Verdict:
    """What the figures of an encoder say beside those of the one that training started from.

    Args:
        h: Of what the encoder returns.
        untrained: Of the same before training.
        z: Of what the contrastive loss compares, where there is a projection head.

    Returns:
        The first that holds. Too few images: fewer than 50. Collapsed: the spread of z is below
        0.07, or that of h is, and below 80 % of what it was before training. Dimensional
        collapse: z has fewer than 3 effective dimensions, or h no more than before training.
        Shortcut suspected: crops are found at least twice as often as before training, and once
        colours change below 8 % of these. No better, or little better, than untrained: such views
        are found less than 1.1, or 2, times as often as before training. Else healthy.
    """
    if h.num_images < _FEWEST_IMAGES:
        text = f"{h.num_images} were looked at, and {_FEWEST_IMAGES} are needed"
        return Verdict(TOO_FEW, text)
    if max(h.spread, untrained.spread) < _NO_SPREAD:
        text = "all images have the same features, before training too: they may be all alike"
        return Verdict(COLLAPSED, text)
    spread = math.inf if z is None else z.spread
    if math.isnan(h.spread) or h.spread < min(spread, _LESS * untrained.spread):
        spread = h.spread
    if not spread >= _SPREAD:
        text = (f"all images have nearly the same features (spread {spread:.3f}, 1 fills the "
                f"sphere); {_LOWER}")  # fmt: skip
        return Verdict(COLLAPSED, text)
    rank = math.inf if z is None else z.effective_rank
    if rank < _FEW_DIMENSIONS:
        text = f"images differ in few dimensions (z has {rank:.1f}); {_LOWER}"
        return Verdict(DIMENSIONAL, text)
    if h.effective_rank <= untrained.effective_rank:
        text = (f"images differ in few dimensions (h has {h.effective_rank:.1f}, and began with "
                f"{untrained.effective_rank:.1f}); {_LOWER}")  # fmt: skip
        return Verdict(DIMENSIONAL, text)
    found, before = format_percent(h.retrieval), format_percent(untrained.retrieval)
    crops = h.crop_retrieval
    if crops >= _CROP_GAIN * untrained.crop_retrieval and h.retrieval < _SHARE_WITHOUT * crops:
        text = (f"a crop finds its image in {format_percent(crops)} of the cases, and in {found} "
                "once colours change: colours may be all it knows; train longer, with "
                "--color_jitter_strength and a projection head, unless colours are what you look "
                "for")  # fmt: skip
        return Verdict(SHORTCUT, text)
    gain = h.retrieval / max(untrained.retrieval, 1e-9)
    if gain < _CLEAR:
        text = (f"a view finds its image in {found} of the cases, before training in {before}; "
                "train longer, or change --learning_rate")  # fmt: skip
        return Verdict(UNTRAINED if gain < _SOME else LITTLE, text)
    text = (f"a view finds its image in {found} of the cases, before training in {before}, and "
            f"images differ in {h.effective_rank:.0f} effective dimensions, before in "
            f"{untrained.effective_rank:.0f}")  # fmt: skip
    return Verdict(HEALTHY, text)


def figures(measured: Mapping[str, Quality]) -> dict[str, float]:
    """Figures by the names that they have in `result.json` and TensorBoard.

    Args:
        measured: Some of `h`, `z` and `untrained`.
    """
    return {
        f"{PREFIX}{of}_{name}": value
        for of, one in measured.items()
        for name, value in one._asdict().items()
    }


def measured(metrics: Mapping[str, float]) -> dict[str, Quality]:
    """From `figures`, among other metrics, to what they are of; without what is incomplete."""
    found = {}
    for of in _MEASURED:
        names = [f"{PREFIX}{of}_{name}" for name in Quality._fields]
        if all(name in metrics for name in names):
            found[of] = Quality._make(metrics[name] for name in names)
    return found


def of_metrics(metrics: Mapping[str, float]) -> Verdict | None:
    """The verdict on the figures among other metrics; None where there are none."""
    found = measured(metrics)
    if "h" not in found or "untrained" not in found:
        return None
    return judge(found["h"], found["untrained"], found.get("z"))
