"""A data set without the images that can't be decoded."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING

import tensorflow as tf

from simclr_tf.console import Say, silent
from simclr_tf.data import decode, pipeline
from simclr_tf.data.sources import WrappedSource, lookup_table
from simclr_tf.progress import Progress
from simclr_tf.text import printable_name

if TYPE_CHECKING:
    from simclr_tf.data.searches import Searches

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ExcludingSource(WrappedSource):
    """A source that leaves out what can't be decoded, and counts without it.

    The images of a range are looked at when it is first asked for, once in the life of the source.
    Split expressions mean the same as in the base: `train[:10]` are the ten first images there,
    less those that are left out.

    Attributes:
        base: The whole data set; damage to its files, rather than images, is not left out.
        say: Hears what is left out.
        searches: Where the results of searches are kept; None to search in every process.
    """

    say: Say = silent
    searches: Searches | None = None
    # Searched ranges: (split, first, end) -> places and ids of what is left out.
    _searched: dict[tuple[str, int, int], dict[int, str]] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def left_out(self, split: str, setting: str = "train_split") -> list[str]:
        """Ids of the images of a split expression that can't be decoded."""
        found = [self._of_range(*one) for one in self.base.ranges(split, setting)]
        return [name for places in found for name in places.values()]

    def changes(self, split: str) -> bool:
        """Whether anything of a split expression is left out."""
        return bool(self.left_out(split))

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression that are left."""
        return self.base.num_examples(split, setting) - len(self.left_out(split, setting))

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Records of the base, without those that are left out."""
        records, ids = self.base.records(split, setting), self.left_out(split, setting)
        if not ids:
            return records
        excluded = lookup_table(ids)
        return records.filter(lambda record: tf.logical_not(excluded.lookup(record["id"])))

    def _of_range(self, name: str, first: int, end: int) -> dict[int, str]:
        for (other, low, high), places in self._searched.items():
            if other == name and low <= first and end <= high:
                return {at: one for at, one in places.items() if first <= at < end}
        look = functools.partial(self._search, name, first, end)
        if self.searches is None:
            found = look()
        else:
            found = self.searches.search(self.base, name, first, end, look)
        self._searched[name, first, end] = found
        if found:
            listed = ", ".join(printable_name(self.base.location(one))
                               for one in itertools.islice(found.values(), _SHOWN))  # fmt: skip
            more = ", ..." if len(found) > _SHOWN else ""
            images = "image is" if len(found) == 1 else "images are"
            self.say(f"note: {len(found)} undecodable {images} left out: {listed}{more}")
        return found

    def _search(self, name: str, first: int, end: int) -> dict[int, str]:
        split = f"{name}[{first}:{end}]"
        with (
            decode.naming_bad_image(self.base, split),
            Progress(end - first, label=f"looking at {name}", unit="images") as progress,
        ):
            looked = decode.bad_examples(
                self.base, split, on_count=lambda count: progress.update(count, count, {})
            )
            bad = [example_id for example_id, _ in looked]
        if not bad:
            return {}
        ids = pipeline.example_ids(self.base, pipeline.Selection(split))
        places = {name: at for at, name in enumerate(ids, start=first)}
        return {places[name]: name for name in sorted(bad, key=places.__getitem__)}
