"""What the folders of a folder of images mean: splits, classes, or nothing."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

from simclr_tf.errors import require
from simclr_tf.text import printable_name

Parts = tuple[str, ...]

# Names of split folders, in any case and with any of " _-" between their words.
NAMES = {
    "train": ("train", "training", "trn", "trainset", "trainingset", "traindata", "trainingdata"),
    "test": ("test", "testing", "tst", "testset", "testingset", "testdata"),
    "validation": ("validation", "val", "valid", "validate", "dev", "eval", "evaluation", "valset",
                   "validset", "validationset", "valdata", "validationdata"),
}  # fmt: skip
ACCEPTED = "train, training; test, testing; validation, val, valid, dev, eval"
_SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """The files of a split.

    Attributes:
        files: As tuples of names below the folder, in the order given.
        classes: Of each file, None without labels.
        in_the_way: The file whose place says that folders are no classes, None for none.
    """

    files: list[Parts]
    classes: list[str] | None
    in_the_way: Parts | None = None


def split_of(name: str) -> str | None:
    """The split that a folder's name means: `Training` is `train`; None for any other name."""
    return _SPLIT_OF.get(re.sub(r"[ _-]", "", name.lower()))


def with_known_splits(expression: str) -> str:
    """A split expression with the names that `split_of` gives: `Training[:10]` is `train[:10]`."""
    return re.sub(r"[A-Za-z_]+", lambda word: split_of(word[0]) or word[0], expression)


def arrange(files: Sequence[Parts], setting: str, path: str) -> dict[str, SplitFiles]:
    """Groups images by split, and finds the class of each.

    A folder that holds nothing but one other folder, itself of folders, counts as that one.

    Args:
        files: Of all images, as tuples of names below the folder.
        setting: Name of the setting that holds the folder, for errors.
        path: The folder.

    Raises:
        InputError: Several folders mean the same split, or images lie beside labelled splits, or
            classes beside what is called a test.
    """
    depth = _depth(files, 0)
    inner = os.path.join(path, *files[0][:depth])
    splits = {parts[depth]: split_of(parts[depth]) for parts in files if len(parts) > depth + 1}
    strays = [parts for parts in files if len(parts) == depth + 1 or not splits[parts[depth]]]
    named = sorted(name for name, split in splits.items() if split)
    if not named or (strays and not _would_lose(files, splits, depth)):
        return {"train": _by_class(files, depth)}
    stray = os.path.join(path, *min(strays, default=("",)))
    require(not strays, setting, "must hold images in its split folders only, which are "
            f"{', '.join(named)} ({ACCEPTED} are taken for one, in any case)", stray)  # fmt: skip
    found: dict[str, SplitFiles] = {}
    for split in NAMES:
        folders = [name for name in named if splits[name] == split]
        require(len(folders) < 2, setting,
                f"must hold one {split} folder only, not {', '.join(folders)}", inner)  # fmt: skip
        if folders:
            own = [parts for parts in files if parts[depth] == folders[0]]
            found[split] = _by_class(own, _depth(own, depth + 1))
    return found


def _depth(files: Sequence[Parts], depth: int) -> int:
    """How deep the folder lies that the others were unpacked into: below it they part."""
    while True:
        below = {parts[depth] for parts in files}
        if len(below) != 1 or any(len(parts) < depth + 3 for parts in files):
            return depth
        if depth == 0 and split_of(next(iter(below))):
            return depth
        depth += 1


def _would_lose(files: Sequence[Parts], splits: dict[str, str | None], depth: int) -> bool:
    """Whether one set of all files would hold test images, or lose the labels of splits.

    A class may be called `train`, or `dev`; with others beside it, nothing may be called a test.
    """
    for parts in files:
        split = splits.get(parts[depth]) if len(parts) > depth + 1 else None
        if split == "test" or (split and len(parts) > depth + 2):
            return True
    return False


def _by_class(files: list[Parts] | Sequence[Parts], depth: int) -> SplitFiles:
    """A split whose folder lies `depth` levels below the root."""
    misplaced = [parts for parts in files if len(parts) != depth + 2]
    if not misplaced:
        return SplitFiles(list(files), [parts[depth] for parts in files])
    # Folders that mean nothing are no fault; one file among many in classes is.
    few = len(misplaced) <= len(files) // 5 and len({parts[depth] for parts in files}) > 1
    return SplitFiles(list(files), None, min(misplaced) if few else None)


def lost_classes(used: Sequence[Parts], folders: Sequence[Parts]) -> list[str]:
    """Folders that lie beside those of images, and from which no file is used.

    Args:
        used: The images.
        folders: All folders that hold files.
    """
    kept = {parts[:-1] for parts in used}
    parents = {parts[:-1] for parts in kept if parts}
    lost = [parts for parts in folders if parts not in kept and parts[:-1] in parents]
    return [printable_name(os.path.join(*parts)) for parts in sorted(lost)]
