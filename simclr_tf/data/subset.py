"""Class-balanced subsets of a labeled split, for training with few labels (B.5).

Which images belong to a subset follows from the seed and their ids alone: not from the order in
which they are read, the process or the machine. A larger subset of the same seed contains the
smaller one.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from simclr_tf.data import name_list
from simclr_tf.data import splits as split_arithmetic
from simclr_tf.data.sources import FOLDER, Source, WrappedSource, lookup_table, require_single_label
from simclr_tf.errors import InputError, require
from simclr_tf.files import PathLike, write_json
from simclr_tf.json_files import field, read_json, texts

SETTING = "label_subset"
_PER_CLASS = "_per_class"
_NUMBER = r"(\d+\.?\d*|\.\d+)"
_MOST_NAMES = 5  # Of classes, in a note.
_MAX_BYTES = 2**30  # Of a subset file: the ids of ImageNet take 60 MiB.

# The subsets that the paper's authors published, as TFDS data sets of their own.
_PUBLISHED = {0.01: "imagenet2012_subset/1pct", 0.1: "imagenet2012_subset/10pct"}


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a subset is chosen: exactly one of the three is set.

    Attributes:
        fraction: Share of all images, in (0, 1].
        per_class: Images of each class, at least 1.
        path: A file that lists them: see `read_subset`.
    """

    fraction: float | None = None
    per_class: int | None = None
    path: str | None = None


@dataclasses.dataclass(frozen=True)
class Subset:
    """A chosen subset, as its file holds it.

    Attributes:
        dataset: Name of the data set; `folder` for any folder, so that it may be moved.
        split: The split expression it was chosen from.
        rule: `1%`, `25_per_class`, ...
        seed: Seed of the choice.
        class_counts: Images of each class.
        ids: Ids of the images, sorted.
    """

    dataset: str
    split: str
    rule: str
    seed: int
    class_counts: tuple[int, ...]
    ids: tuple[str, ...]

    @property
    def short_classes(self) -> tuple[int, ...]:
        """The classes that have fewer images than others, since the split has no more of them.

        Meaningless for `100%`, which takes every class as it is.
        """
        most = max(self.class_counts)
        return tuple(i for i, count in enumerate(self.class_counts) if count < most)

    def note(self, class_names: Sequence[str] | None = None) -> str | None:
        """One sentence, without its full stop, on classes that are short or missing.

        Args:
            class_names: C names; None writes numbers.

        Returns:
            None where all classes have the same number, or the rule is `100%`. For example
            "2 of 10 classes have fewer images than asked for (cat: 12, dog: 7), 1 has none (eel)".

        Raises:
            InputError: Names do not fit.
        """
        counts = self.class_counts
        names = [f"class {i}" for i in range(len(counts))] if class_names is None else class_names
        require(len(names) == len(counts), "class_names", f"must be {len(counts)} names",
                len(names))  # fmt: skip
        percent = re.fullmatch(_NUMBER + "%", self.rule)
        if len(set(counts)) < 2 or (percent and float(percent[1]) == 100):
            return None
        per_class = re.fullmatch(r"(\d+)" + _PER_CLASS, self.rule)
        wanted = int(per_class[1]) if per_class else max(counts)
        counted = list(zip(names, counts, strict=True))
        return _shortage(
            [f"{name}: {count}" for name, count in counted if 0 < count < wanted],
            [name for name, count in counted if count == 0],
            len(counts),
            "asked for" if percent or per_class else "the others",
        )  # fmt: skip


def parse_rule(text: str, setting: str = SETTING) -> Rule:
    """Reads `1%`, `0.5%`, `25_per_class`, or the path of an existing file that lists the images.

    Args:
        text: The value of the setting.
        setting: Its name, for errors.

    Raises:
        InputError: It is none of these, or a number is out of range.
    """
    if match := re.fullmatch(_NUMBER + "%", text):
        percent = float(match[1])
        require(0 < percent <= 100, setting, "must be above 0% and at most 100%", text)
        return Rule(fraction=percent / 100)
    if match := re.fullmatch(r"(\d+)" + _PER_CLASS, text):
        require(int(match[1]) >= 1, setting, "must hold at least 1 image per class", text)
        return Rule(per_class=int(match[1]))
    if os.path.isfile(os.path.expanduser(text)):
        return Rule(path=os.path.expanduser(text))
    raise InputError(
        setting,
        "must be a percentage (1%), a number of images per class (25_per_class) or the path of "
        "an existing subset file",
        text,
    )


def choose_subset(
    ids: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    num_classes: int,
    *,
    fraction: float | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> list[str]:
    """Chooses the same number of images of every class (B.5: "class-balanced").

    The images of a class are ranked by a hash of (seed, id), and the first are taken.

    Args:
        ids: The N ids, in any order.
        labels: Their classes, in [0, C).
        num_classes: C.
        fraction: In (0, 1]: round(fraction * N / C) images of each class, at least 1; 1 takes
            everything. ImageNet's 1 % are 13 images of each class (the published list of 12,811
            images has 12 or 13).
        per_class: Instead of `fraction`, the number itself.
        seed: Another seed chooses other images.

    Returns:
        The chosen ids, sorted. A class that has fewer images than the others is taken whole, and
        one that has none is missing: compare `Subset.class_counts`.

    Raises:
        InputError: Not exactly one of `fraction` and `per_class`, or a value is out of range; an
            id comes twice; a label is not in [0, C), with the id.
    """
    wanted = _images_per_class(len(ids), num_classes, fraction, per_class)
    members: dict[int, list[str]] = collections.defaultdict(list)
    for example_id, label in zip(ids, np.asarray(labels).tolist(), strict=True):
        require(0 <= label < num_classes, "labels",
                f"must lie in [0, {num_classes}), that of {example_id!r} does not",
                label)  # fmt: skip
        members[label].append(example_id)
    _require_unique(ids)
    rank = functools.partial(_rank, seed)
    return sorted(
        example_id
        for of_class in members.values()
        for example_id in sorted(of_class, key=rank)[:wanted]
    )


def write_subset(path: PathLike, subset: Subset) -> None:
    """Writes a subset as JSON, whole or not at all; `read_subset` reads it back."""
    write_json(path, subset)


def read_subset(path: PathLike, source: Source, split: str) -> Subset:
    """Reads a subset file and checks it against the data set.

    Args:
        path: As `write_subset` wrote it, or a list of image names, one a line (`name_list`).
        source: The data set that it must belong to.
        split: The split expression that must hold all its images. It need not be the one that
            they were chosen from.

    Raises:
        InputError: Unreadable, of another data set, or an id that `split` lacks. It names the file.
    """
    name = os.fspath(path)
    if name_list.is_name_list(name):
        return _of_names(name, source, split)
    subset = _parse_file(name)
    require(subset.dataset == _data_set_name(source), name,
            f"must be a subset of {_data_set_name(source)}", subset.dataset)  # fmt: skip
    label_of = dict(zip(*read_labels(source, split), strict=True))
    for example_id in subset.ids:
        require(example_id in label_of, name,
                f"must hold ids of images of {split} of {source.name} only",
                example_id)  # fmt: skip
    counts = _class_counts([label_of[example_id] for example_id in subset.ids], source)
    return dataclasses.replace(subset, class_counts=counts)


def _of_names(path: str, source: Source, split: str) -> Subset:
    """The subset that a list of image names means."""
    label_of = dict(zip(*read_labels(source, split), strict=True))
    chosen = name_list.find_ids(path, source, split, list(label_of))
    counts = _class_counts([label_of[example_id] for example_id in chosen], source)
    rule = os.path.basename(path)
    return Subset(_data_set_name(source), split, rule, 0, counts, tuple(sorted(chosen)))


def read_labels(source: Source, split: str) -> tuple[list[str], list[int]]:
    """Ids and labels of a split, in its order; no image is decoded.

    Raises:
        InputError: No such split, no labels, or several of them per image.
    """
    require_single_label(source)
    require(source.num_classes is not None, "dataset", "must have labels to choose a subset of",
            source.name)  # fmt: skip
    records = source.records(split).map(lambda record: (record["id"], record["label"]))
    found = list(records.as_numpy_iterator())
    return [os.fsdecode(example_id) for example_id, _ in found], [int(label) for _, label in found]


@dataclasses.dataclass(frozen=True)
class SubsetSource(WrappedSource):
    """A source in which one split expression stands for some of its images only.

    `split` holds the images `ids`, in the order of the base source. Split expressions that share
    no image with it pass through; those that share some are refused, since a slice of a subset
    would be ambiguous. The sizes in `splits` are those of the subset.

    The records of the whole split are read to find those of the subset. Where a record holds the
    image (TFDS) and the data set is large, caching (`cache_dataset`) saves that from the second
    epoch on.

    Attributes:
        base: The whole data set.
        split: The split expression that is replaced.
        ids: Ids of its images that stay. All of them must exist, as `open_subset` makes sure of.
        known: What `description` gives, where it is known already.

    Raises:
        InputError: No id, or one that comes twice; no such split.
    """

    split: str
    ids: Sequence[str]
    known: Subset | None = None

    def __post_init__(self) -> None:
        require(len(self.ids) > 0, "ids", "must hold at least one image", list(self.ids))
        _require_unique(self.ids)
        available = self.base.num_examples(self.split)
        require(len(self.ids) <= available, "ids",
                f"must not exceed the {available} images of {self.split}",
                len(self.ids))  # fmt: skip

    @functools.cached_property
    def description(self) -> Subset:
        """Which subset this is, as its file says it; reads the labels where they are unknown."""
        if self.known is not None:
            return self.known
        label_of = dict(zip(*read_labels(self.base, self.split), strict=True))
        counts = _class_counts([label_of[example_id] for example_id in self.ids], self.base)
        name = _data_set_name(self.base)
        return Subset(name, self.split, "ids", 0, counts, tuple(sorted(self.ids)))

    @property
    def splits(self) -> Mapping[str, int]:
        """Number of images per split; of the subset for its split."""
        sizes = dict(self.base.splits)
        return {**sizes, self.split: len(self.ids)} if self.split in sizes else sizes

    def ranges(self, split: str, setting: str = "train_split") -> list[tuple[str, int, int]]:
        """As in the base; the subset has no ranges, it is scattered over its split."""
        found = self.base.ranges(split, setting)
        replaced = self.base.ranges(self.split)
        shared = any(split_arithmetic.overlap([one, other]) for one in found for other in replaced)
        require(not shared, setting, f"must not cut or extend {self.split}, of which label_subset "
                f"keeps {len(self.ids)} images", split)  # fmt: skip
        return found

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression."""
        if self.replaces(split, setting):
            return len(self.ids)
        return split_arithmetic.count(self.ranges(split, setting))

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Records of the base; of the subset's split those of the subset."""
        if not self.replaces(split, setting):
            self.ranges(split, setting)
            return self.base.records(split, setting)
        chosen = lookup_table(self.ids)
        return self.base.records(split, setting).filter(lambda record: chosen.lookup(record["id"]))

    def replaces(self, split: str, setting: str = "train_split") -> bool:
        """Whether the expression means the images of `self.split`, however it is spelled."""
        return self.base.ranges(split, setting) == self.base.ranges(self.split)


def open_subset(source: Source, split: str, rule: str, seed: int) -> SubsetSource:
    """Chooses a subset, or reads it from its file; ids and labels are read once.

    Args:
        source: A labeled data set.
        split: The split expression to choose from.
        rule: The setting `label_subset`, see `parse_rule`.
        seed: Seed of the choice; a subset file has chosen already.

    Returns:
        The source with `split` reduced to the subset, and `description` telling which it is.

    Raises:
        InputError: See `parse_rule`, `read_labels`, `choose_subset` and `read_subset`.
    """
    parsed = parse_rule(rule)
    if parsed.path is not None:
        subset = read_subset(parsed.path, source, split)
    else:
        subset = draw_subset(source, split, rule, seed)
    if isinstance(source, SubsetSource) and source.replaces(split):
        source = source.base  # a subset of a subset
    return SubsetSource(source, split, subset.ids, subset)


def draw_subset(source: Source, split: str, rule: str, seed: int) -> Subset:
    """Chooses a subset of a split by a rule that is not a file.

    Args and errors as in `open_subset`.
    """
    parsed = parse_rule(rule)
    require(parsed.path is None, SETTING, "must be a rule, not a file", rule)
    ids, labels = read_labels(source, split)
    chosen = choose_subset(
        ids, labels, source.num_classes or 0, fraction=parsed.fraction, per_class=parsed.per_class,
        seed=seed,
    )  # fmt: skip
    label_of = dict(zip(ids, labels, strict=True))
    counts = _class_counts([label_of[example_id] for example_id in chosen], source)
    return Subset(_data_set_name(source), split, rule, seed, counts, tuple(chosen))


def published_subset(dataset: str, data_dir: str | None, fraction: float) -> str | None:
    """The published subset of a data set, if it lies prepared in `data_dir`.

    For ImageNet the paper's 1 % and 10 % are known image by image. Their `train` split is the
    subset, their `validation` split that of ImageNet.

    Args:
        dataset: TFDS name; all but `imagenet2012` have none.
        data_dir: TFDS folder; None for TFDS's default.
        fraction: Share of the images.

    Returns:
        TFDS name to open instead of `dataset`, or None.
    """
    from simclr_tf.data.tfds_source import prepared_dir

    name = next((name for share, name in _PUBLISHED.items() if math.isclose(share, fraction)), None)
    if re.split("[/:]", dataset)[0] != "imagenet2012" or name is None:
        return None
    return name if prepared_dir(name, data_dir) is not None else None


def _images_per_class(
    num_images: int, num_classes: int, fraction: float | None, per_class: int | None
) -> int:
    require((fraction is None) != (per_class is None), "fraction",
            "or per_class must be given, and not both", (fraction, per_class))  # fmt: skip
    if per_class is not None:
        require(per_class >= 1, "per_class", "must be at least 1", per_class)
        return per_class
    assert fraction is not None
    require(0 < fraction <= 1, "fraction", "must lie in (0, 1]", fraction)
    return num_images if fraction == 1 else max(1, round(fraction * num_images / num_classes))


def _rank(seed: int, example_id: str) -> bytes:
    """A number that looks random, the same in every process (`hash` is not)."""
    return hashlib.sha256(f"{seed}:".encode() + os.fsencode(example_id)).digest()


def _require_unique(ids: Sequence[str]) -> None:
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in collections.Counter(ids).items() if count > 1)
        raise InputError("ids", "must not hold the same id twice", twice)


def _class_counts(labels: Sequence[int], source: Source) -> tuple[int, ...]:
    counts = np.bincount(labels, minlength=source.num_classes or 0)  # (C,)
    return tuple(counts.tolist())


def _data_set_name(source: Source) -> str:
    from simclr_tf.data.folder_source import FolderSource

    while isinstance(source, WrappedSource):
        source = source.base
    return FOLDER if isinstance(source, FolderSource) else source.name


def _parse_file(name: str) -> Subset:
    expected = "must be a subset file, JSON with dataset, split, rule, seed, class_counts and ids"
    content = read_json(name, _MAX_BYTES)
    missing = [member.name for member in dataclasses.fields(Subset) if member.name not in content]
    require(not missing, name, expected, f"none of {', '.join(missing)}")
    ids, counts = texts(content, "ids", name), field(content, "class_counts", list, name)
    require(len(ids) > 0, name, "must list the ids of at least one image", ids)
    require(len(set(ids)) == len(ids), name, "must not hold the same id twice", len(ids))
    whole = len(counts) > 0 and all(type(count) is int and count >= 0 for count in counts)
    require(whole, name, "must have the numbers of images as class_counts", len(counts))
    return Subset(
        dataset=field(content, "dataset", str, name),
        split=field(content, "split", str, name),
        rule=field(content, "rule", str, name),
        seed=field(content, "seed", int, name),
        class_counts=tuple(counts),
        ids=tuple(ids),
    )


def _shortage(short: Sequence[str], absent: Sequence[str], total: int, measure: str) -> str | None:
    """Says which of `total` classes have fewer images than `measure`, and which none."""
    parts = []
    if short:
        verb = "has" if len(short) == 1 else "have"
        parts.append(f"{len(short)} of {total} classes {verb} fewer images than {measure} "
                     f"({_some(short)})")  # fmt: skip
    if absent:
        verb = "has" if len(absent) == 1 else "have"
        said = f"{verb} none" if short else f"of {total} classes {verb} no image"
        parts.append(f"{len(absent)} {said} ({_some(absent)})")
    return ", ".join(parts) or None


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
