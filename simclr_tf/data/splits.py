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


def _end(term: Any, info: tfds.core.SplitInfo) -> int:
    return info.num_examples if term.to is None else term.to


def overlap(found: list[Range]) -> bool:
    """Whether two of the ranges share an image."""
    ordered = sorted(found)
    return any(
        name == next_name and next_first < end
        for (name, _, end), (next_name, next_first, _) in itertools.pairwise(ordered)
    )
