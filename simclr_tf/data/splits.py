"""The arithmetic of split expressions such as `train[:10%]` or `train+test[-100:]`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from simclr_tf.errors import InputError, require

Range = tuple[str, int, int]  # name of the split, first example, end


def split_infos(sizes: Mapping[str, int]) -> dict[str, tfds.core.SplitInfo]:
    """Describes splits that TFDS did not write, so that its expressions apply to them."""
    return {
        name: tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0)
        for name, size in sizes.items()
    }


def ranges(split: str, infos: Mapping[str, tfds.core.SplitInfo], setting: str) -> list[Range]:
    """Resolves a split expression to ranges of examples.

    Args:
        split: A TFDS split expression.
        infos: The available splits.
        setting: Name of the setting that holds the expression, for errors.

    Returns:
        (name, first, end) for each term, never empty.

    Raises:
        InputError: Unknown split, malformed slice, no example left, or the same example twice.
    """
    try:
        instruction = tfds.core.ReadInstruction.from_spec(split)
        terms = instruction.to_absolute(dict(infos))
    except (ValueError, AssertionError, TypeError) as error:
        listed = ", ".join(f"{name} ({info.num_examples})" for name, info in infos.items())
        raise InputError(
            setting, f"must be a split expression over the available splits {listed}", split
        ) from error
    found = [
        (str(term.splitname), term.from_ or 0, _end(term, infos[str(term.splitname)]))
        for term in terms
    ]
    require(all(end > first for _, first, end in found), setting,
            "must hold at least one image", split)  # fmt: skip
    require(not overlap(found), setting, "must not hold the same image twice", split)
    return found


def count(found: list[Range]) -> int:
    """Number of examples in the ranges."""
    return sum(end - first for _, first, end in found)


def divide(
    split: str, infos: Mapping[str, tfds.core.SplitInfo], fraction: float, setting: str
) -> tuple[str, str]:
    """Holds out a part of a split expression, as for a validation set (B.8).

    Of every range of the expression the end is held out. No image is read for it: TFDS shuffles
    when it prepares a data set, and the order of a folder mixes its classes, so an end is a random
    sample. The parts are the same in every run.

    Args:
        split: A TFDS split expression.
        infos: The available splits.
        fraction: Share of each range to hold out, in (0, 1), rounded to whole images.
        setting: Name of the setting that holds the expression, for errors.

    Returns:
        Split expressions of what is kept and of what is held out, neither of them empty.

    Raises:
        InputError: As in `ranges`; the fraction is out of bounds, or there is one image only.
    """
    return divide_ranges(ranges(split, infos, setting), fraction, split, setting)


def divide_ranges(found: list[Range], fraction: float, split: str, setting: str) -> tuple[str, str]:
    """`divide` for an expression that is resolved already."""
    require(0 < fraction < 1, "fraction", "must lie between 0 and 1", fraction)
    cuts = [_cut(first, end, fraction) for _, first, end in found]
    kept = [(name, first, cut) for (name, first, _), cut in zip(found, cuts, strict=True)]
    held = [(name, cut, end) for (name, _, end), cut in zip(found, cuts, strict=True) if cut < end]
    require(bool(held), setting, "must hold at least two images, one of them is held out", split)
    return _expression(kept), _expression(held)


def equal_part(found: list[Range], index: int, parts: int) -> str:
    """One of several equal parts of ranges, one after another; what is left over is in none.

    Args:
        found: N examples.
        index: Which part, in [0, parts).
        parts: Number of parts, at most N.

    Returns:
        The split expression of floor(N / parts) examples.
    """
    size = count(found) // parts
    begin, stop = index * size, (index + 1) * size
    pieces = []
    for name, first, end in found:
        low, high = max(first, first + begin), min(end, first + stop)
        if low < high:
            pieces.append((name, low, high))
        begin, stop = begin - (end - first), stop - (end - first)
    return _expression(pieces)


def _cut(first: int, end: int, fraction: float) -> int:
    """Where a range is cut: at least one image on either side, if there are two."""
    size = end - first
    return end - min(max(round(size * fraction), 1), size - 1)


def _expression(found: list[Range]) -> str:
    return "+".join(f"{name}[{first}:{end}]" for name, first, end in found)


def _end(term: Any, info: tfds.core.SplitInfo) -> int:
    return info.num_examples if term.to is None else term.to


def overlap(found: list[Range]) -> bool:
    """Whether two of the ranges share an image."""
    ordered = sorted(found)
    return any(
        name == next_name and next_first < end
        for (name, _, end), (next_name, next_first, _) in itertools.pairwise(ordered)
    )
