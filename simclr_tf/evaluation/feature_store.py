"""Extracted features, each computed once: in memory for one command, or on disk for all later ones.

A stored entry is a folder named by a key of encoder, data and preprocessing, with one file of raw
float32 rows per endpoint, the labels, and `features.json`. It is written beside its place while the
features stream in and renamed when complete, so that what is there is whole. What a killed process
left beside it is removed a day later.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from simclr_tf.console import Say
from simclr_tf.errors import InputError, one_line, require, require_valid
from simclr_tf.evaluation.features import (
    FINAL_ENDPOINT,
    FeatureBatch,
    Features,
    collect,
    labels_or_none,
)
from simclr_tf.files import check_length, check_local, write_json
from simclr_tf.json_files import field, read_json
from simclr_tf.removal import Kind, make_scratch, remove_tree, unmarked
from simclr_tf.weights.integrity import sha256

DESCRIPTION = "features.json"
LABELS = "labels.npy"
# Raised when what is stored changes its meaning; part of every key.
FORMAT_VERSION = 2

# A younger scratch folder may belong to a process that is still writing.
_ABANDONED_AFTER_SECS = 24 * 3600
_SCRATCH_FOLDER = re.compile(r"\.[0-9a-f]{32}\.\w{8}")
_ENTRY = Kind(r"[^/]+\.float32|labels\.npy|features\.json", r"[^/]+\.float32|features\.json")


class FeatureStore:
    """Features by what they depend on.

    Args:
        folder: Where they are kept; None keeps them in memory as long as the object lives.
        say: Receives a note on an entry that is damaged, which is made again.

    Raises:
        InputError: The folder can't be made.
    """

    def __init__(self, folder: str | None = None, say: Say = print):
        self._say = say
        self._folder = None if folder is None else pathlib.Path(folder).expanduser()
        self._memory: dict[str, Features] = {}
        if self._folder is not None:
            check_local(str(folder), "feature_cache")
            check_length(self._folder, "feature_cache")
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError("feature_cache", f"must be a folder that can be written "
                                 f"({error.strerror})", str(folder)) from None  # fmt: skip
            _remove_abandoned(self._folder)

    def get(
        self, identity: Mapping[str, Any], make: Callable[[], Iterator[FeatureBatch]]
    ) -> Features:
        """The features that `identity` describes, made only if they are not there yet.

        Args:
            identity: Everything that decides their values, as JSON: fingerprint of the encoder,
                data set, version and split, preprocessing, image size, endpoints. An empty or
                missing `encoder` (a plain callable) is remembered in memory only.
            make: Yields them batch by batch; every batch has the same endpoints.

        Returns:
            Arrays in memory, or read-only maps of the stored files.

        Raises:
            InputError: There is no example, the disk is full, or what was written can't be read.
        """
        key = _key(identity)
        if key not in self._memory:
            if self._folder is None or not identity.get("encoder"):
                self._memory[key] = collect(make())
            else:
                self._memory[key] = self._stored(self._folder / key, identity, make)
        return self._memory[key]

    def _stored(
        self,
        place: pathlib.Path,
        identity: Mapping[str, Any],
        make: Callable[[], Iterator[FeatureBatch]],
    ) -> Features:
        found = self._read(place)
        if found is None:
            try:
                _write(place, identity, make())
            except OSError as error:
                raise InputError("feature_cache", f"must have room for the features "
                                 f"({error.strerror})", str(place.parent)) from None  # fmt: skip
            found = self._read(place)
        if found is None:
            raise InputError("feature_cache", "must be a folder whose files can be written and "
                             "read back", str(place.parent))  # fmt: skip
        return found

    def _read(self, place: pathlib.Path) -> Features | None:
        """The stored features, None where there are none, or damaged ones, which are removed."""
        if not os.path.lexists(place):
            return None
        try:
            return _read(place)
        except (OSError, EOFError, ValueError) as error:
            self._say(f"note: features in {place} are damaged ({one_line(error)}) and extracted "
                      "again")  # fmt: skip
            with contextlib.suppress(OSError):
                remove_tree(place, _ENTRY)
            return None


def _key(identity: Mapping[str, Any]) -> str:
    described = json.dumps({**identity, "format": FORMAT_VERSION}, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:32]


def _write(
    place: pathlib.Path, identity: Mapping[str, Any], batches: Iterator[FeatureBatch]
) -> None:
    scratch = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    try:
        make_scratch(scratch)
        shapes, labels = _stream(scratch, batches)
        if labels is not None:
            np.save(scratch / LABELS, labels)
        hashes = {path.name: sha256(str(path)) for path in _files(scratch, shapes)}
        described = {"identity": dict(identity), "shapes": shapes, "labels": labels is not None,
                     "sha256": hashes}  # fmt: skip
        write_json(scratch / DESCRIPTION, described)
        # Another process may have been faster; its features are the same.
        with contextlib.suppress(OSError), unmarked(scratch):
            os.rename(scratch, place)
    finally:
        with contextlib.suppress(OSError):
            remove_tree(scratch, _ENTRY)


def _stream(
    scratch: pathlib.Path, batches: Iterator[FeatureBatch]
) -> tuple[dict[str, list[int]], np.ndarray | None]:
    """Appends every batch to one file per endpoint; returns shapes by endpoint, and the labels."""
    shapes: dict[str, list[int]] = {}
    labels: list[np.ndarray] = []
    with contextlib.ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for batch in batches:
            for name, values in batch.endpoints.items():
                if name not in files:
                    files[name] = stack.enter_context(open(_rows_file(scratch, name), "wb"))
                    shapes[name] = [0, *values.shape[1:]]
                files[name].write(np.ascontiguousarray(values, np.float32).data)
                shapes[name][0] += len(values)
            if batch.labels is not None:
                labels.append(batch.labels)
    require(len(shapes) > 0, "batches", "must hold at least one example", 0)
    return shapes, labels_or_none(labels)


def _rows_file(folder: pathlib.Path, endpoint: str) -> pathlib.Path:
    return folder / f"{endpoint}.float32"


def _files(folder: pathlib.Path, endpoints: Iterable[str]) -> list[pathlib.Path]:
    """The files of an entry that hold numbers."""
    labels = folder / LABELS
    found = [_rows_file(folder, name) for name in endpoints]
    return [*found, labels] if os.path.lexists(labels) else found


def _read(place: pathlib.Path) -> Features:
    """The stored features, every file as it was written.

    Raises:
        OSError, EOFError, ValueError: Something is missing or damaged.
    """
    path = str(place / DESCRIPTION)
    described = read_json(path)
    shapes, hashes = field(described, "shapes", dict, path), field(described, "sha256", dict, path)
    require_valid(len(shapes) > 0 and not any("/" in name for name in shapes), "no endpoints")
    files = _files(place, shapes)
    require_valid({file.name for file in files} == set(hashes), "other files than were written")
    for file in files:
        require_valid(stat.S_ISREG(file.lstat().st_mode), f"{file.name} is no file")
        same = sha256(str(file)) == hashes[file.name]
        require_valid(same, f"{file.name} has changed since it was written")
    arrays: dict[str, np.ndarray] = {}
    for name in shapes:
        shape = tuple(field(shapes, name, list, path))
        arrays[name] = np.memmap(_rows_file(place, name), np.float32, mode="r", shape=shape)
    has_labels = LABELS in hashes
    labels = np.load(place / LABELS, allow_pickle=False) if has_labels else None
    require_valid(field(described, "labels", bool, path) == has_labels, "labels are missing")
    first = FINAL_ENDPOINT if FINAL_ENDPOINT in arrays else next(iter(arrays))
    return Features(arrays[first], labels, arrays)


def _remove_abandoned(folder: pathlib.Path) -> None:
    for name in os.listdir(folder) if os.access(folder, os.R_OK) else []:
        scratch = folder / name
        if _SCRATCH_FOLDER.fullmatch(name) and scratch.is_dir():
            with contextlib.suppress(OSError):  # Another process was faster.
                files = list(scratch.iterdir()) or [scratch]
                newest = max(path.stat().st_mtime for path in files)
                if time.time() - newest > _ABANDONED_AFTER_SECS:
                    remove_tree(scratch, _ENTRY)
