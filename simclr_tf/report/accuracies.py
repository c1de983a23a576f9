"""The accuracies of an evaluation: their order, and words for them."""

from __future__ import annotations

from collections.abc import Mapping

_TOP_5 = "label_top_5_accuracy"
_TITLES = {
    "label_top_1_accuracy": "Linear head, top-1",
    _TOP_5: "Linear head, top-5",
    "linear_probe_accuracy": "Logistic regression on frozen features",
    "linear_probe_accuracy_z": "Logistic regression on z, behind the projection head",
}
_MOST_DIGITS = 10


def title(name: str) -> str:
    """The words for an accuracy of `result.json` (`eval/knn_20_accuracy`); others stay as named."""
    accuracy = name.partition("/")[2]
    k = _neighbours(accuracy)
    return _TITLES.get(accuracy, name) if k is None else f"kNN, k = {k}"


def ordered(metrics: Mapping[str, float], num_classes: int | None = None) -> list[str]:
    """The names below `eval/` that are of accuracies: linear head, probe, kNN by their k.

    Of at most five classes the five best are all: no top-5 then.
    """
    found = [f"eval/{name}" for name in _TITLES]
    nearest = {k: name for name in metrics if name.startswith("eval/")
               and (k := _neighbours(name.partition("/")[2])) is not None}  # fmt: skip
    found += [nearest[k] for k in sorted(nearest)]
    left_out = {f"eval/{_TOP_5}"} if num_classes is not None and num_classes <= 5 else set()
    return [name for name in found if name in metrics and name not in left_out]


def _neighbours(accuracy: str) -> int | None:
    kind, _, rest = accuracy.partition("_")
    k = rest.removesuffix("_accuracy")
    is_count = k.isascii() and k.isdecimal() and len(k) < _MOST_DIGITS
    return int(k) if kind == "knn" and k != rest and is_count else None
