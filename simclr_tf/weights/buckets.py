"""Weights in buckets (`gs://...`): what of them is needed, and the copies that are kept here.

What an address means is decided as for local paths (`locate.locate`), by the names of the objects
alone, and only what weights consist of is fetched: not the logs of a run, its older checkpoints, or
the hub module beside a checkpoint. A copy appears when it is complete and its checksums are right.
It lies in `archives.cache_folder()`, in a folder of its own for each state of the objects:
`gs/ADDRESS/STATE/files`. A fetch that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from simclr_tf import run_folder
from simclr_tf.console import say
from simclr_tf.errors import InputError, require
from simclr_tf.files import write_json
from simclr_tf.json_files import field, read_json
from simclr_tf.progress import Download
from simclr_tf.units import format_bytes
from simclr_tf.weights import archives, gcs

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Their objects never change, so a copy of them is used without asking.
CONSTANT = frozenset({"simclr-checkpoints", "simclr-checkpoints-tf2"})

_MAX_BYTES = 2**35  # the largest published network has 3.5 GB
_RECORD, _FILES, _PARTIAL = "objects.json", "files", ".partial"
_BESIDE = (run_folder.CONFIG, run_folder.FLAGS, run_folder.ENCODER)  # of a run's checkpoints
_ENDING = re.compile(r"\.(index|meta|manifest\.json|data-\d{5}-of-\d{5})$")  # of a checkpoint
_OF_SAVED_MODEL = re.compile(
    r"(saved_model|fingerprint|keras_metadata|tfhub_module)\.pb|variables/[^/]+"
    r"|assets(\.extra)?/.+"
)
_GRAPH, _VARIABLES = "saved_model.pb", "variables/variables"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SLUG = 120  # characters of an address in the name of its folder


class Choice(NamedTuple):
    """What is needed of a bucket.

    Attributes:
        folder: Beginning of the names of all objects, with a `/` at its end unless empty.
        names: Theirs, behind it.
        inner: What an address means, relative to the folder; empty for the folder itself.
    """

    folder: str
    names: tuple[str, ...]
    inner: str = ""


def is_address(path: str) -> bool:
    """Whether a path is one that is fetched from a bucket."""
    return path.startswith(gcs.SCHEME) and gcs.is_installed()


def check(address: str) -> None:
    """Refuses an address without weights; asks for names alone.

    Raises:
        InputError: There is nothing of the kind, or the bucket can't be reached or read.
    """
    bucket, path = gcs.split(address)
    if bucket in CONSTANT and kept(address) is not None:
        return
    try:
        choose(gcs.Bucket(bucket), path, address)
    except gcs.UnreachableError as error:
        if kept(address) is None:
            raise _unreachable(address, error) from None


def fetch(address: str) -> str:
    """The local path of the weights at an address, fetched where they are not here yet.

    Args:
        address: `gs://BUCKET/PATH`, where PATH is what `locate.locate` takes, or a file.

    Returns:
        A path for `locate.locate`, or that of the file.

    Raises:
        InputError: There is nothing of the kind, it can't be reached, read or verified, or there is
            no place for it.
    """
    bucket, path = gcs.split(address)
    if bucket in CONSTANT and (found := kept(address)) is not None:
        return found
    try:
        source = gcs.Bucket(bucket)
        choice, objects = choose(source, path, address)
        return _fetch(address, source, choice, objects)
    except gcs.UnreachableError as error:
        found = kept(address)
        if found is None:
            raise _unreachable(address, error) from None
        warnings.warn(f"{address} can't be reached ({error}); using what was fetched before",
                      stacklevel=2)  # fmt: skip
        return found


def usage() -> tuple[int, int]:
    """How many copies are kept, and their bytes; those that are not complete are counted too."""
    count = size = 0
    for folder, _, names in os.walk(os.path.join(archives.cache_path(), "gs")):
        count += _RECORD in names
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
    return count, size


# What an address means.


def choose(bucket: gcs.Bucket, path: str, address: str) -> tuple[Choice, dict[str, gcs.Object]]:
    """What is needed for the weights at a path of a bucket, and all objects seen by name.

    Raises:
        InputError: There are no weights.
        gcs.UnreachableError: Nobody answers.
    """
    objects = _listed(bucket, path)
    parent, _, name = path.rpartition("/")
    parent, folder = (f"{text}/" if text else "" for text in (parent, path))
    choice = None
    if path in objects and name != _GRAPH and not _ENDING.search(name):
        choice = Choice(parent, (name,), name)
    elif path in objects and name == _GRAPH:
        objects = _listed(bucket, parent)
        choice = _saved_model(parent, _below(objects, parent))
    elif below := _below(objects, folder):
        choice = _in_folder(folder, below)
    elif path in objects or f"{path}.index" in objects:
        prefix = _ENDING.sub("", name)
        inside = prefix == "variables" and parent.endswith("/variables/")
        objects = _listed(bucket, parent.removesuffix("variables/") if inside else parent)
        choice = _beside(parent, _below(objects, parent), prefix, objects)
    require(choice is not None, "checkpoint", "must be a checkpoint prefix, a run, a SavedModel, "
            "or a folder with one of them", address)  # fmt: skip
    assert choice is not None
    _check(choice, objects, address)
    return choice, objects


def _listed(bucket: gcs.Bucket, prefix: str) -> dict[str, gcs.Object]:
    return {found.name: found for found in bucket.list_objects(prefix)}


def _below(objects: Collection[str], folder: str) -> set[str]:
    return {name[len(folder) :] for name in objects if name.startswith(folder)}


def _in_folder(folder: str, names: Collection[str]) -> Choice | None:
    """What a folder means, in the order in which `locate` looks."""
    exports = f"{run_folder.EXPORTS}/"
    if archives.EXPORTED in names and not _below(names, exports):
        return Choice(folder, (archives.EXPORTED,), archives.EXPORTED)
    if prefix := _newest(names, folder):
        return _beside(folder, names, prefix)
    for inner in ("", exports):
        if found := _saved_model(folder + inner, _below(names, inner)):
            return found
    for inner in ("", exports):
        steps = {name[len(inner) :].partition("/")[0] for name in names if name.startswith(inner)}
        for step in sorted(filter(str.isdigit, steps), key=int, reverse=True):
            below = f"{inner}{step}/"
            if _GRAPH in _below(names, below):
                return _saved_model(folder + below, _below(names, below))
    return None


def _saved_model(folder: str, names: Collection[str]) -> Choice | None:
    if _GRAPH not in names and f"{_VARIABLES}.index" not in names:
        return None
    return Choice(folder, tuple(sorted(filter(_OF_SAVED_MODEL.fullmatch, names))))


def _beside(
    folder: str, names: Collection[str], prefix: str, above: Collection[str] = ()
) -> Choice | None:
    """The files of a checkpoint, and the record of its run; or the SavedModel that it is in."""
    parent = folder.removesuffix("variables/")
    if parent != folder and f"{parent}{_GRAPH}" in above:
        found = _saved_model(parent, _below(above, parent))
        return None if found is None else found._replace(inner=_VARIABLES)
    wanted = [name for name in names if name.startswith(prefix)
              and _ENDING.fullmatch(name[len(prefix) :])]  # fmt: skip
    if f"{prefix}.index" not in wanted:
        return None
    beside = [name for name in (*_BESIDE, f"result_{_step(prefix)}.json") if name in names]
    return Choice(folder, tuple(sorted([*wanted, *beside])), prefix)


def _newest(names: Collection[str], folder: str) -> str | None:
    """The newest complete checkpoint among the names in a folder; it is told of newer ones."""
    prefixes = {name.removesuffix(".index") for name in names
                if name.endswith(".index") and "/" not in name}  # fmt: skip
    guarded = any(name.endswith(".manifest.json") and "/" not in name for name in names)
    for prefix in sorted(prefixes, key=lambda name: (_step(name), name), reverse=True):
        shards = [
            found
            for name in names
            if name.startswith(prefix)
            and (found := re.fullmatch(r"\.data-\d{5}-of-(\d{5})", name[len(prefix) :]))
        ]
        whole = bool(shards) and len(shards) == int(shards[0][1])
        if whole and (not guarded or f"{prefix}.manifest.json" in names):
            return prefix
        warnings.warn(f"{gcs.SCHEME}.../{folder}{prefix} is incomplete and passed over",
                      stacklevel=2)  # fmt: skip
    return None


def _step(prefix: str) -> int:
    match = re.search(r"-(\d+)$", prefix)
    return int(match[1]) if match else 0


def _check(choice: Choice, objects: dict[str, gcs.Object], address: str) -> None:
    """Refuses names that lead elsewhere, and more bytes than weights have."""
    for name in choice.names:
        parts = name.split("/")
        plain = not {"", ".", ".."} & set(parts) and "\0" not in name and "\\" not in name
        require(plain, "checkpoint", "must hold objects whose names are paths below it",
                f"{address}: {name!r}")  # fmt: skip
    size = sum(objects[choice.folder + name].size for name in choice.names)
    require(size <= _MAX_BYTES, "checkpoint", f"must have at most {format_bytes(_MAX_BYTES)}",
            f"{address}: {format_bytes(size)}")  # fmt: skip


# The copies.


def _fetch(address: str, source: gcs.Bucket, choice: Choice, objects: dict[str, gcs.Object]) -> str:
    home = _home(address)
    state = hashlib.sha1()
    for name in choice.names:
        found = objects[choice.folder + name]
        described = (name, found.generation, found.size, found.crc32c or found.md5)
        state.update(f"{described}\n".encode())
    place = os.path.join(home, state.hexdigest()[:16])
    if not os.path.isdir(place):
        with _making(home), _alone(home, address) as shared:
            if not os.path.isdir(place):  # nor has another process just fetched it
                partial = place + _PARTIAL
                if not shared:
                    partial = tempfile.mkdtemp(suffix=_PARTIAL, dir=home)
                _fill(partial, address, source, choice, objects)
                _put_in_place(partial, place)
                if shared:
                    _remove_partial(home)
    return os.path.join(place, _relative(choice, choice.inner))


def _relative(choice: Choice, name: str) -> str:
    """Where an object lies in a copy: its folder keeps its name, which may say a step."""
    last = choice.folder.rstrip("/").rpartition("/")[2]
    kept = last if re.fullmatch(r"[\w-][\w.-]*", last) else ""
    return os.path.join(_FILES, kept or _FILES, *filter(None, name.split("/")))


def _fill(
    partial: str,
    address: str,
    source: gcs.Bucket,
    choice: Choice,
    objects: dict[str, gcs.Object],
) -> None:
    """Fetches what is missing in a folder that is not in place yet."""
    wanted = [(os.path.join(partial, _relative(choice, name)), objects[choice.folder + name])
              for name in choice.names]  # fmt: skip
    total = sum(found.size for _, found in wanted)
    there = sum(os.path.getsize(path) for path, _ in wanted if os.path.exists(path))
    os.makedirs(partial, exist_ok=True)
    free = shutil.disk_usage(partial).free
    if total - there > free:
        _no_room(partial, address, f"has {format_bytes(free)} free", total - there)
    try:
        with Download(address, total) as progress:
            for path, found in wanted:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                source.download(found, path, progress.add)
            record = {"address": address, "path": _relative(choice, choice.inner),
                      "objects": {name: objects[choice.folder + name]._asdict()
                                  for name in choice.names}}  # fmt: skip
            write_json(os.path.join(partial, _RECORD), record)
    except OSError as error:
        if error.errno in _FULL:
            _no_room(partial, address, "is full", total)
        raise
    except InputError:  # a wrong checksum, or something that is not there: it would not be resumed
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _no_room(partial: str, address: str, what: str, needed: int) -> None:
    """Gives back what was taken of a full disk, and says so."""
    shutil.rmtree(partial, ignore_errors=True)
    raise InputError("cache_dir", f"must have room for {format_bytes(needed)} of {address}; it "
                     f"{what}, and nothing was kept",
                     archives.cache_folder()) from None  # fmt: skip


def _put_in_place(partial: str, place: str) -> None:
    try:
        os.rename(partial, place)
    except OSError:
        if not os.path.isdir(place):
            raise
        shutil.rmtree(partial, ignore_errors=True)  # another process was faster


def _remove_partial(home: str) -> None:
    """Removes what was begun of earlier states of the objects."""
    for name in os.listdir(home):
        if name.endswith(_PARTIAL):
            shutil.rmtree(os.path.join(home, name), ignore_errors=True)


def _home(address: str) -> str:
    """The folder for the copies of one address."""
    bucket, path = gcs.split(address)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{bucket}/{path}")[-_SLUG:]
    digest = hashlib.sha1(f"{bucket}/{path}".encode()).hexdigest()[:12]
    return os.path.join(archives.cache_folder(), "gs", f"{plain}-{digest}")


def kept(address: str) -> str | None:
    """The newest copy of what lies at an address, None without any."""
    home = _home(address)
    records = []
    for state in os.listdir(home) if os.path.isdir(home) else []:
        record = os.path.join(home, state, _RECORD)
        if not state.endswith(_PARTIAL) and os.path.isfile(record):
            records.append((os.stat(record).st_mtime, record))
    if not records:
        return None
    _, record = max(records)
    return os.path.join(os.path.dirname(record), field(read_json(record), "path", str, record))


@contextlib.contextmanager
def _making(home: str) -> Iterator[None]:
    """Makes a folder; errors of the system in the block are said in one line."""
    try:
        os.makedirs(home, exist_ok=True)
        yield
    except OSError as error:
        raise InputError("cache_dir", f"must be a folder that can be written to ({error.strerror})",
                         home) from None  # fmt: skip


@contextlib.contextmanager
def _alone(home: str, address: str) -> Iterator[bool]:
    """Holds the folder of an address; a second process waits.

    Gives whether it is held, which some network file systems do not allow.
    """
    with open(f"{home}.lock", "ab") as file:
        yield _lock(file, address)


def _lock(file: Any, address: str) -> bool:
    if fcntl is None:
        return False
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{address} is being fetched by another process; waiting for it", sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _unreachable(address: str, error: Exception) -> InputError:
    home = _home(address)
    begun = os.path.isdir(home) and any(name.endswith(_PARTIAL) for name in os.listdir(home))
    left = "; what has arrived is kept, and the next try goes on from there" if begun else ""
    return InputError("checkpoint", f"must be reachable ({error}{left})", address)
