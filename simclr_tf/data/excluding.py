"""A data set without the images that can't be decoded."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from simclr_tf.data import decode, pipeline
from simclr_tf.data.sources import Source, WrappedSource
from simclr_tf.data.subset import lookup_table


@dataclasses.dataclass(frozen=True)
class ExcludingSource(WrappedSource):
    """A source that leaves some images out and counts without them.

    Split expressions mean the same as in the base: `train[:10]` are the ten first images there,
    less those that are left out.

    Attributes:
        base: The whole data set.
        ids: Ids of what is left out.
        positions: Their places in each split, in ascending order.
    """

    ids: tuple[str, ...]
    positions: Mapping[str, tuple[int, ...]]

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression that are left."""
        total = 0
        for name, first, end in self.base.ranges(split, setting):
            places = self.positions.get(name, ())
            excluded = bisect.bisect_left(places, end) - bisect.bisect_left(places, first)
            total += end - first - excluded
        return total

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Records of the base, without those that are left out."""
        excluded = lookup_table(self.ids)
        records = self.base.records(split, setting)
        return records.filter(lambda record: tf.logical_not(excluded.lookup(record["id"])))


def without_bad_images(source: Source) -> Source:
    """The source without what can't be decoded; every image of every split is decoded once."""
    ids: list[str] = []
    positions: dict[str, tuple[int, ...]] = {}
    for split in source.splits:
        bad = decode.find_bad_examples(source.examples(split))
        if bad:
            places = {name: i for i, name in enumerate(pipeline.example_ids(source, split))}
            positions[split] = tuple(sorted(places[name] for name in bad))
            ids += bad
    return ExcludingSource(source, tuple(ids), positions) if ids else source
