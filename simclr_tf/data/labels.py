"""Which labels a run may use: all, none of a multi-label set, or those of a subset."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from simclr_tf.data import subset
from simclr_tf.data.excluding import ExcludingSource
from simclr_tf.data.sources import (
    Source,
    UnlabeledSource,
    WrappedSource,
    lookup_table,
    require_single_label,
)


class Labelled(NamedTuple):
    """The training images under a label budget.

    Attributes:
        training: What training sees.
        labelled: The images whose labels may be used, for kNN and probes; the same without budget.
        subset: What was chosen, None without budget.
        note: What the user should know, None where nothing is special.
    """

    training: Source
    labelled: Source
    subset: subset.Subset | None = None
    note: str | None = None


def limit_labels(
    source: Source, split: str, rule: str | None, seed: int, train_mode: str
) -> Labelled:
    """Applies the setting `label_subset` to the training split.

    Training with labels (`finetune`, `supervised`) sees the images of the subset alone. Training
    that can do without (`pretrain`, `distill`) sees all images, with the labels of the subset, as
    SimCLRv2 mixes them. Images with several labels each count as unlabeled in pretraining.

    Args:
        source: The data set.
        split: Split expression of the training images.
        rule: As in `subset.open_subset`; None uses all labels.
        seed: Seed of the choice.
        train_mode: Of the run.

    Raises:
        InputError: See `subset.open_subset`; several labels an image where one is needed.
    """
    if source.multi_label and train_mode == "pretrain" and rule is None:
        note = f"{source.name} has several labels an image: it is used without them"
        plain = UnlabeledSource(source)
        return Labelled(plain, plain, note=note)
    require_single_label(source)
    if rule is None:
        return Labelled(source, source)
    # Chosen among all images, whatever of them can be read: a subset does not change with damage.
    whole = source.base if isinstance(source, ExcludingSource) else source
    chosen = subset.open_subset(whole, split, rule, seed)
    if isinstance(source, ExcludingSource):
        absent = set(source.left_out(split))
        ids = tuple(one for one in chosen.ids if one not in absent)
        chosen = dataclasses.replace(chosen, base=source, ids=ids)
    description = chosen.description
    count = len(description.ids)
    if train_mode in ("finetune", "supervised"):
        return Labelled(chosen, chosen, description, f"{count} labelled images ({rule}) are used")
    note = f"the labels of {count} images ({rule}) are used, and all images without"
    return Labelled(PartlyLabeled(source, split, chosen), chosen, description, note)


@dataclasses.dataclass(frozen=True)
class PartlyLabeled(WrappedSource):
    """A source whose training split shows the labels of a subset only; others are -1.

    Attributes:
        base: The whole data set.
        split: The split expression whose labels are hidden.
        chosen: The subset that keeps its labels.
    """

    split: str
    chosen: subset.SubsetSource

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Records of the base; in the training split most labels are -1."""
        records = self.base.records(split, setting)
        if not self.chosen.replaces(split, setting):
            return records
        known = lookup_table(self.chosen.ids)

        def hide(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            shown = known.lookup(record["id"])
            return {**record, "label": tf.where(shown, record["label"], tf.constant(-1, tf.int64))}

        return records.map(hide)
