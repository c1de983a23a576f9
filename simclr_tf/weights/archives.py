"""Archives of weights by others: what is taken out of them, and where what is fetched is kept.

An archive may hold links, devices, paths that lead elsewhere, or gigabytes of zeros. So only files
that weights consist of are written, below a new folder in which no link ever lies, and no more
bytes than such files can come to.
"""

from __future__ import annotations

import contextlib
import contextvars
import gzip
import hashlib
import http.client
import os
import re
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from simclr_tf.errors import InputError, first_line, one_line, require, require_valid
from simclr_tf.files import is_remote

CACHE_VARIABLE = "TFHUB_CACHE_DIR"  # TF-Hub's own, with the same layout
CACHE_SETTING = "cache_dir"
EXPORTED = "encoder.tar.gz"  # in an export of several formats

# Of a SavedModel, and of checkpoints; `tfhub_module.pb` marks the TF1 modules that were published.
_FILE = re.compile(
    r"(saved_model|fingerprint|keras_metadata|tfhub_module)\.pb|config\.json"
    r"|[^.].*\.(index|data-\d{5}-of-\d{5}|manifest\.json)"
)
_FOLDERS = {"assets", "assets.extra"}  # of a SavedModel, with files of any name
_MAX_MEMBERS, _MAX_DEPTH = 10_000, 16
# The largest published network has 3 GB. Weights hardly compress (1.1), graphs do and are small;
# slots of an optimizer may be zeros.
_MAX_BYTES, _FREE_BYTES, _MAX_RATIO = 2**35, 2**26, 16
_HEADER_BYTES = 2**20  # of one member: names and attributes of any length are read into memory
_BLOCK = 2**20
_TIMEOUT = 60  # seconds without a byte
_SHOWN_NAME = 80  # characters of a member's name


# The folder that was named for the block at hand, see `caching_in`.
_named: contextvars.ContextVar[str | None] = contextvars.ContextVar("cache_dir", default=None)


class _Stream(Protocol):
    def read(self, count: int = -1, /) -> bytes: ...


def unpacked_limit(size: int) -> int:
    """The bytes that an archive of weights of `size` bytes may unpack to, at most."""
    return min(_MAX_BYTES, _FREE_BYTES + _MAX_RATIO * size)


def unpack(stream: BinaryIO, size: int, folder: str, name: str) -> None:
    """Writes the files of weights in a `.tar.gz` or `.tar` into an empty folder.

    Regular files that belong to a SavedModel or a checkpoint are written; others, such as a README,
    are left out.

    Args:
        stream: The archive, opened at its start.
        size: Its bytes, which bound what it may unpack to (`unpacked_limit`).
        folder: An empty one that nobody else writes to.
        name: Of the archive, for errors.

    Raises:
        InputError: It can't be read; a member is a link, a device or anything else than a file or
            folder, or its path leads out of the archive; there are too many, or they are too large.
    """
    try:
        with _decompressed(stream) as plain:
            _unpack(_Bounded(plain), unpacked_limit(size), folder)
    except (OSError, EOFError, ValueError, RecursionError, tarfile.TarError, zlib.error) as error:
        raise InputError("checkpoint", f"must be a readable .tar.gz ({one_line(error)})",
                         name) from None  # fmt: skip


def fetch(url: str) -> str:
    """The folder with the files of an archive on an http(s) server, as a hub server gives it.

    It is fetched once, into `cache_folder`.

    Raises:
        InputError: It can't be fetched or is no archive of weights, or there is no place for it.
    """
    cache = cache_folder()
    place = os.path.join(cache, hashlib.sha1(url.encode()).hexdigest())  # as TF-Hub names it
    if os.path.isdir(place) and os.listdir(place):
        return place
    try:
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache) as scratch:
            with open(os.path.join(scratch, "archive"), "w+b") as archive:
                _download(url, archive)
                size = archive.tell()
                archive.seek(0)
                unpacked = os.path.join(scratch, "unpacked")
                os.mkdir(unpacked)
                unpack(archive, size, unpacked, url)
            _put_in_place(unpacked, place)
    except InputError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError("checkpoint", f"must be an archive that can be fetched "
                         f"({first_line(error)})", url) from None  # fmt: skip
    return place


@contextlib.contextmanager
def caching_in(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Names the folder of what is fetched while the block runs; None leaves it as it is."""
    if folder is None:
        yield
        return
    token = _named.set(os.fspath(folder))
    try:
        yield
    finally:
        _named.reset(token)


def cache_folder() -> str:
    """The folder of what is fetched: `caching_in`'s, `$TFHUB_CACHE_DIR`, or one of the user's own.

    The latter is `simclr_tf/tfhub` in `$XDG_CACHE_HOME` or `~/.cache`. What lies there is taken for
    what was fetched, so nobody else may write to it.

    Raises:
        InputError: It can't be made, or somebody else may write to it.
    """
    source, given, folders = _cache()
    for folder in folders:
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            status = os.lstat(folder)
        except OSError as error:
            raise InputError(source, "must name a folder that can be made for fetched "
                             f"weights ({error.strerror})", folder) from None  # fmt: skip
        own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        # A folder that was named may be shared by a group, not by everybody.
        safe = not status.st_mode & 0o002 if given else own and not status.st_mode & 0o022
        require(safe, folder, "must be a folder of "
                "your own that nobody else can write to, as what lies in it is taken for what was "
                f"fetched (or let {CACHE_SETTING} or {CACHE_VARIABLE} name another)",
                stat.filemode(status.st_mode))  # fmt: skip
    return folders[-1]


def cache_path() -> str:
    """The path of `cache_folder`, whether or not there is such a folder."""
    return _cache()[2][-1]


def _cache() -> tuple[str, str | None, list[str]]:
    """What names the cache, the path that it names, and the folders that have to be safe."""
    named = _named.get()
    source = CACHE_VARIABLE if named is None else CACHE_SETTING
    given = os.environ.get(CACHE_VARIABLE) if named is None else named
    if given:
        require(not is_remote(given), source, "must be a local folder", given)
        return source, given, [os.path.expanduser(given)]
    base = os.environ.get("XDG_CACHE_HOME", "")
    base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    return source, None, [os.path.join(base, "simclr_tf"), os.path.join(base, "simclr_tf", "tfhub")]


# Unpacking.


@contextlib.contextmanager
def _decompressed(stream: BinaryIO) -> Iterator[_Stream]:
    start = stream.read(2)
    stream.seek(0)
    if start != b"\x1f\x8b":
        yield stream
        return
    with gzip.GzipFile(fileobj=stream) as plain:
        yield plain


class _Bounded:
    """A stream that gives no more bytes than were allowed for what is read next."""

    def __init__(self, stream: _Stream):
        self._stream = stream
        self._left = 0

    def allow(self, count: int) -> None:
        """Bounds what may be read from here on."""
        self._left = count + 2 * tarfile.RECORDSIZE  # what fills a block, and what is read ahead

    def read(self, count: int = -1, /) -> bytes:
        content = self._stream.read(count)  # a record at a time
        self._left -= len(content)
        require_valid(self._left >= 0, "the header of a member is too long")
        return content


def _unpack(stream: _Bounded, limit: int, folder: str) -> None:
    stream.allow(_HEADER_BYTES)
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        count, left = 0, limit
        while True:
            stream.allow(_HEADER_BYTES)
            member = archive.next()
            if member is None:
                return
            count += 1
            left -= max(member.size, 0)
            parts = _checked_parts(member)
            require_valid(count <= _MAX_MEMBERS, f"it has over {_MAX_MEMBERS:,} members")
            require_valid(left >= 0, "it unpacks to more than the "
                          f"{limit / 1e6:,.0f} MB that weights of its size can have")  # fmt: skip
            if member.isdir():
                continue
            stream.allow(member.size)
            content = archive.extractfile(member)
            assert content is not None
            expected = _FILE.fullmatch(parts[-1]) or not _FOLDERS.isdisjoint(parts[:-1])
            if not expected:
                shutil.copyfileobj(content, _Nothing(), _BLOCK)
                continue
            target = os.path.join(folder, *parts)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "xb") as file:  # nor a second time
                shutil.copyfileobj(content, file, _BLOCK)


class _Nothing:
    """Takes what is not wanted."""

    def write(self, content: bytes, /) -> int:
        return len(content)


def _checked_parts(member: tarfile.TarInfo) -> list[str]:
    """The path of a regular file or folder inside the archive."""
    name = repr(member.name[:_SHOWN_NAME])
    regular = member.isreg() and not member.issparse() and member.size >= 0
    kind = "link" if member.issym() or member.islnk() else "special file"
    require_valid(regular or member.isdir(), f"it holds the {kind} {name}")
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    inside = not member.name.startswith("/") and ".." not in parts and "\0" not in member.name
    require_valid(inside, f"it holds {name}, which leads out of it")
    require_valid(len(parts) <= _MAX_DEPTH, f"it holds {name}, which lies too deep")
    require_valid(bool(parts) or member.isdir(), "it holds a file without a name")
    return parts


# Fetching.


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, and never from the latter to the former."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith(("https://", f"{req.type}://")):
            raise urllib.error.URLError(f"it is redirected to {newurl!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, file: BinaryIO) -> None:
    """Copies what the server gives for a handle; as TF-Hub, it asks a hub server for an archive."""
    plain, _ = urllib.parse.urldefrag(url)
    question = "&" if urllib.parse.urlsplit(plain).query else "?"
    handlers = (urllib.request.ProxyHandler, urllib.request.UnknownHandler,
                urllib.request.HTTPHandler, urllib.request.HTTPSHandler, _Redirects,
                urllib.request.HTTPDefaultErrorHandler,
                urllib.request.HTTPErrorProcessor)  # fmt: skip
    opener = urllib.request.OpenerDirector()  # no file://, no ftp://
    for handler in handlers:
        opener.add_handler(handler())
    request = urllib.request.Request(f"{plain}{question}tf-hub-format=compressed")
    with opener.open(request, timeout=_TIMEOUT) as response:
        while block := response.read(_BLOCK):
            file.write(block)
            require_valid(file.tell() <= _MAX_BYTES, f"it has over {_MAX_BYTES / 1e9:.0f} GB")


def _put_in_place(unpacked: str, place: str) -> None:
    try:
        os.rename(unpacked, place)  # also over an empty folder
    except OSError:
        if not (os.path.isdir(place) and os.listdir(place)):  # another process was faster
            raise
