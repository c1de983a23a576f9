"""What identifies the images of a split, so that features computed from them can be kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from simclr_tf.data.array_source import ArraySource
from simclr_tf.data.excluding import ExcludingSource
from simclr_tf.data.folder_source import FolderSource
from simclr_tf.data.holdout import HoldoutSource
from simclr_tf.data.sources import Source, WrappedSource
from simclr_tf.data.subset import SubsetSource


def fingerprint(source: Source, split: str, setting: str = "train_split") -> str:
    """A digest that changes with the images of a split or their order.

    Folders count with the path, size and time of change of every file, TFDS data sets with name,
    version, and size of every split: no image is read.

    Args:
        source: The data set.
        split: A split expression.
        setting: Name of the setting that holds it, for errors.

    Raises:
        InputError: No such split.
    """
    digest = hashlib.sha256()
    for part in _parts(source, split, setting):
        digest.update(os.fsencode(part) + b"\0")
    return digest.hexdigest()


def _parts(source: Source, split: str, setting: str) -> Iterator[str]:
    if isinstance(source, SubsetSource):
        yield from source.ids
        yield str(source.num_examples(split, setting))
    if isinstance(source, ExcludingSource):
        left_out = source.left_out(split, setting)
        if not left_out:  # the same as without looking
            yield from _parts(source.base, split, setting)
            return
        yield from left_out
    if isinstance(source, HoldoutSource):
        yield f"{source.share} held out"
        yield from (f"{name}[{first}:{end}]" for name, first, end in source.ranges(split, setting))
        yield from _parts(source.base, "train", setting)
        return
    if isinstance(source, WrappedSource):
        yield type(source).__name__
        yield from _parts(source.base, split, setting)
        return
    yield from (f"{name}[{first}:{end}]" for name, first, end in source.ranges(split, setting))
    if not source.reading.is_published:
        yield source.reading.identity
    if isinstance(source, FolderSource):
        yield from _files(source)
        return
    if isinstance(source, ArraySource):
        yield source.digest
        return
    builder = getattr(source, "builder", None)
    yield source.name if builder is None else builder.info.full_name
    infos = {} if builder is None else builder.info.splits
    for name, count in sorted(source.splits.items()):
        yield f"{name}: {count} images, {infos[name].num_bytes if name in infos else 0} bytes"


def _files(source: FolderSource) -> Iterator[str]:
    for split in source.content.values():
        for path in split.paths:
            try:
                state = os.stat(source.root / path)
            except OSError:  # gone since the folder was looked through
                yield f"{path} gone"
            else:
                yield f"{path} {state.st_size} {state.st_mtime_ns}"
