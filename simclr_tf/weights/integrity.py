"""Manifests of checkpoints: what was written, so that damage shows before it is read.

`<prefix>.manifest.json` holds the step, size and sha256 of every file of the checkpoint, and the
metrics at that step. It is the last file that a checkpoint gets. Checkpoints of other programs and
of older versions have none; TensorFlow's own checksums tell about those.
"""

from __future__ import annotations

import glob
import hashlib
import math
import os
import re
from collections.abc import Mapping

import tensorflow as tf

from simclr_tf.errors import InputError, first_line, require
from simclr_tf.files import is_remote, write_json
from simclr_tf.json_files import field, read_json

MANIFEST_SUFFIX = ".manifest.json"
_CHUNK_BYTES = 1 << 20
_OWN_FILE = re.compile(r"\.index|\.data-\d{5}-of-\d{5}")  # what follows the prefix


def manifest_path(prefix: str) -> str:
    """Path of the manifest of a checkpoint."""
    return f"{prefix}{MANIFEST_SUFFIX}"


def has_manifest(prefix: str) -> bool:
    """Whether a checkpoint has a manifest, of whatever content."""
    return tf.io.gfile.exists(manifest_path(prefix))


def any_manifest(folder: str) -> bool:
    """Whether a checkpoint in the folder has a manifest."""
    return bool(tf.io.gfile.glob(os.path.join(glob.escape(folder), f"*{MANIFEST_SUFFIX}")))


def is_listed(prefix: str, path: str) -> bool:
    """Whether a manifest of ours lists a file of a checkpoint; it lists itself."""
    try:
        return path in {*_recorded(prefix), manifest_path(prefix)}
    except InputError:
        return False


def files_of(prefix: str) -> list[str]:
    """Paths of a checkpoint's files on disk: those with data first, then the index."""
    escaped = glob.escape(prefix)
    data = tf.io.gfile.glob(f"{escaped}.data-?????-of-?????")
    return [*sorted(data), *tf.io.gfile.glob(f"{escaped}.index")]


def write_manifest(prefix: str, step: int, values: Mapping[str, float]) -> str:
    """Writes the manifest of a complete checkpoint, atomically; returns its path.

    Files are named by what follows the prefix, so that a renamed checkpoint keeps its manifest.

    Args:
        prefix: Path without `.index`, local or one that `tf.io.gfile` reads.
        step: The global step.
        values: Metrics at that step; those that are not finite are left out.

    Raises:
        OSError: The manifest can't be written (`tf.errors.OpError` on remote paths).
        tf.errors.OpError: A file of the checkpoint can't be read.
    """
    files = {
        path.removeprefix(prefix): {"size": tf.io.gfile.stat(path).length, "sha256": sha256(path)}
        for path in files_of(prefix)
    }
    finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
    write_json(manifest_path(prefix), {"step": int(step), "files": files, "values": finite})
    return manifest_path(prefix)


def open_reader(prefix: str) -> tf.train.CheckpointReader:
    """TensorFlow's reader of the files of a checkpoint.

    `tf.train.load_checkpoint` takes a folder of that name for one with a file `checkpoint`, and
    follows it to whatever path stands there.

    Args:
        prefix: Path without `.index`.

    Raises:
        ValueError, RuntimeError, tf.errors.OpError: They can't be read.
    """
    return tf.compat.v1.train.NewCheckpointReader(prefix)


def problem(prefix: str, contents: bool = True) -> str | None:
    """What is wrong with the files of a checkpoint, in a few words; None for an intact one.

    With a manifest, sizes are compared first and then hashes. Without one, TensorFlow reads every
    tensor once and compares its own checksums, which finds what is missing, cut off or changed.

    Args:
        prefix: Path without `.index`.
        contents: Read the files; without it only names and sizes count.
    """
    if not tf.io.gfile.exists(f"{prefix}.index"):
        return f"{os.path.basename(prefix)}.index is missing"
    for path in files_of(prefix):
        if not is_remote(path) and not os.path.isfile(path):
            return f"{os.path.basename(path)} is no regular file"  # a pipe has no end
    if not has_manifest(prefix):
        return _reading_problem(prefix) if contents else None
    try:
        recorded = _recorded(prefix)
    except InputError:
        return f"{os.path.basename(manifest_path(prefix))} can't be read"
    try:
        return _difference(recorded, contents)
    except tf.errors.OpError as error:
        return f"can't be read: {first_line(error)}"


def read_values(prefix: str) -> dict[str, float]:
    """The metrics in the manifest of a checkpoint; {} without a readable one."""
    path = manifest_path(prefix)
    try:
        values = field(read_json(path), "values", dict, path)
        return {name: field(values, name, float, path) for name in values}
    except InputError:
        return {}


def _difference(recorded: Mapping[str, tuple[int, str]], contents: bool) -> str | None:
    for path, (size, _) in recorded.items():
        name = os.path.basename(path)
        if not tf.io.gfile.exists(path):
            return f"{name} is missing"
        length = tf.io.gfile.stat(path).length
        if length != size:
            return f"{name} has {length} bytes instead of {size}"
    for path, (_, digest) in recorded.items():
        if contents and sha256(path) != digest:
            return f"{os.path.basename(path)} has changed since it was written"
    return None


def _reading_problem(prefix: str) -> str | None:
    try:
        reader = open_reader(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (IndexError, ValueError, RuntimeError, tf.errors.OpError) as error:
        return f"TensorFlow can't read it: {first_line(error)}"
    return None


def sha256(path: str) -> str:
    """The hash of a local or remote file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _recorded(prefix: str) -> dict[str, tuple[int, str]]:
    """Size and sha256 of every file in the manifest, by path.

    Raises:
        InputError: It can't be read, or misses the index.
    """
    path = manifest_path(prefix)
    files = field(read_json(path), "files", dict, path)
    recorded = {}
    for suffix in files:
        require(_OWN_FILE.fullmatch(suffix) is not None, path,
                "must list files of its checkpoint alone", suffix)  # fmt: skip
        entry = field(files, suffix, dict, path)
        size, digest = field(entry, "size", int, path), field(entry, "sha256", str, path)
        recorded[prefix + suffix] = (size, digest)
    require(f"{prefix}.index" in recorded, path, "must list the index", list(files))
    return recorded
