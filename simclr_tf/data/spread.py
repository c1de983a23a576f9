"""A few images from all over a data set."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_tf.data.sources import Source, WrappedSource

_MOST_READ = 2**26  # bytes of records


@dataclasses.dataclass(frozen=True)
class SpreadSource(WrappedSource):
    """Every `stride`-th image of whatever is asked for.

    Attributes:
        base: The whole data set.
        stride: At least 1.
    """

    stride: int

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression that are taken."""
        return -(-self.base.num_examples(split, setting) // self.stride)

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Every `stride`-th record of the base."""
        return self.base.records(split, setting).shard(self.stride, 0)


def spread(source: Source, split: str, count: int, setting: str = "train_split") -> Source:
    """The source whose first `count` images of a split lie all over it, as far as that is cheap.

    A data set may be sorted, by class or by time, and finding every tenth costs little. What is too
    large to be read through stays as it is: TFDS shuffles its large data sets when it writes them.
    """
    total = source.num_examples(split, setting)
    if total * source.record_bytes > _MOST_READ:
        return source
    return SpreadSource(source, max(1, total // count))
