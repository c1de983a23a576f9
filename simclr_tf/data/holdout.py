"""Images that no training sees, of data sets that have no split for tests."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from simclr_tf.data import splits as split_arithmetic
from simclr_tf.data.array_source import ArraySource
from simclr_tf.data.excluding import ExcludingSource
from simclr_tf.data.sources import Source, WrappedSource, folder_of
from simclr_tf.errors import require
from simclr_tf.settings.data import DataConfig

NAME = "holdout"  # the split
SHARE = 0.1
# Of few images, a larger share: what they tell without labels needs 50 (`evaluation.verdict`).
_WANTED = 60
_TEST_SPLITS = ("validation", "test", NAME)
FEWEST = 200  # images of a set of which some are held out unasked
_SPLIT = "train"
_IDS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class HoldoutSource(WrappedSource):
    """A folder or arrays whose split `train` lacks a share of its images: those are `holdout`.

    Whether an image is held out depends on its id and the share alone, so that it stays on its
    side when others come or go. Both parts keep the order of the base.

    Attributes:
        base: The whole data set.
        share: Of its images, in (0, 1): each is held out with this probability, by a hash.
    """

    share: float = SHARE

    @property
    def splits(self) -> Mapping[str, int]:
        """Number of images per split; `train` is what is left of it."""
        parts = {name: len(places) for name, places in self._places.items()}
        return {**self.base.splits, **parts}

    def ranges(self, split: str, setting: str = "train_split") -> list[split_arithmetic.Range]:
        """The images of a split expression as (name of the split, first, end) of each term."""
        if folder_of(self.base) is not None:
            from simclr_tf.data import layout

            split = layout.with_known_splits(split)
        return split_arithmetic.ranges(split, split_arithmetic.split_infos(self.splits), setting)

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression."""
        return split_arithmetic.count(self.ranges(split, setting))

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Records of the base."""
        parts = [self._of_range(*one) for one in self.ranges(split, setting)]
        return functools.reduce(lambda found, part: found.concatenate(part), parts)

    def files(self, split: str, setting: str = "train_split") -> list[str]:
        """Paths of the files that a split expression is read from."""
        if folder_of(self.base) is None:
            return self.base.files(_SPLIT)
        found: list[str] = []
        for name, first, end in self.ranges(split, setting):
            files = self.base.files(_SPLIT if name in self._places else name)
            places = self._places.get(name)
            found += files[first:end] if places is None else [files[at] for at in places[first:end]]
        return found

    def _of_range(self, name: str, first: int, end: int) -> tf.data.Dataset:
        if name not in self._places:
            return self.base.records(f"{name}[{first}:{end}]")
        places = self._places[name][first:end]
        low, high = int(places[0]), int(places[-1]) + 1
        chosen = np.zeros(high - low, bool)
        chosen[places - low] = True
        records = self.base.records(f"{_SPLIT}[{low}:{high}]")
        if chosen.all():
            return records
        marked = tf.data.Dataset.zip((records, tf.data.Dataset.from_tensor_slices(chosen)))
        kept = marked.filter(lambda _, is_chosen: is_chosen).map(lambda record, _: record)
        return kept.apply(tf.data.experimental.assert_cardinality(len(places)))

    @functools.cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """Of each part its places in the base's `train`, int64, ascending."""
        held = np.array([_number(one) < self.share for one in _ids(self.base)])
        return {_SPLIT: np.flatnonzero(~held), NAME: np.flatnonzero(held)}


def test_split(source: Source) -> str | None:
    """The split to judge by: `validation`, `test` or else `holdout`; None without any."""
    return next((name for name in _TEST_SPLITS if name in source.splits), None)


def share_of(source: Source, data: DataConfig = DataConfig()) -> float:
    """The share that is held out.

    Args:
        source: The whole data set.
        data: Says how much, or leaves it open.

    Returns:
        `data.holdout`. Where that is None, `SHARE` of folders and arrays that have neither a
        validation nor a test split, unless `data.eval_split` is given; of fewer than 600 images as
        much as makes about 60; 0 of fewer than `FEWEST`, and of others.
    """
    if data.holdout is not None:
        return data.holdout
    judged = data.eval_split is not None or test_split(source) is not None
    if judged or _problem(source) is not None:
        return 0.0
    count = source.splits[_SPLIT]
    if count < FEWEST:
        return 0.0
    return round(max(SHARE, _WANTED / count), 3)


def hold_out(source: Source, share: float) -> Source:
    """The data set with the split `holdout`; itself where the share is 0.

    Example:
        `hold_out(open_source(DataConfig(dataset="folder:photos")), 0.1).splits`

    Args:
        source: A folder or arrays, with a split `train`.
        share: Of the images, in [0, 1).

    Raises:
        InputError: Another data set, or no image is left on one side.
    """
    if share == 0:
        return source
    if isinstance(source, ExcludingSource):  # what can't be decoded is looked for on either side
        return ExcludingSource(hold_out(source.base, share), source.say, source.searches)
    problem = _problem(source)
    require(problem is None, "holdout", f"must be 0 with {source.name}: {problem}", share)
    held = HoldoutSource(source, share)
    sizes = held.splits
    require(min(sizes[_SPLIT], sizes[NAME]) > 0, "holdout",
            f"must leave images on both sides of the {source.splits[_SPLIT]} of {source.name}",
            share)  # fmt: skip
    return held


def note(source: Source, eval_split: str | None) -> str | None:
    """What the user should know, None where nothing is held out.

    Args:
        source: Of the run.
        eval_split: The images that it judges by.
    """
    if NAME not in source.splits:
        return None
    held, kept = source.splits[NAME], source.splits[_SPLIT]
    what = "to judge by"
    if NAME not in str(eval_split):
        what = f"and not looked at, since {eval_split} is what to judge by"
    return (f"{held:,} of {held + kept:,} images are held out of training {what} (--holdout=0 "
            "trains on all)")  # fmt: skip


def _problem(source: Source) -> str | None:
    """Why no part of a data set can be held out."""
    if isinstance(source, ExcludingSource):
        source = source.base
    if folder_of(source) is None and not isinstance(source, ArraySource):
        return "split expressions cut it, such as train[:90%] and train[90%:]"
    if NAME in source.splits:
        return f"it has a split {NAME}"
    return None if _SPLIT in source.splits else f"it has no split {_SPLIT}"


def _ids(source: Source) -> Iterator[bytes]:
    ids = source.records(_SPLIT).map(lambda record: record["id"]).batch(_IDS_AT_ONCE)
    for batch in ids.as_numpy_iterator():
        yield from batch.tolist()


def _number(example_id: bytes) -> float:
    """In [0, 1), evenly spread, the same in every process."""
    found = hashlib.sha256(b"holdout:" + example_id).digest()
    return int.from_bytes(found[:8], "big") / 2**64
