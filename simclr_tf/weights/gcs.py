"""Objects of Google Cloud Storage: listed and downloaded over https by Google's own client.

TensorFlow's file system for `gs://`, where a build has one, asks for credentials first, repeats
itself for minutes without a network, keeps nothing, and shows no progress. Checkpoints are fetched
by this module instead. Buckets are asked without credentials first: that is all that public ones
need. Where that is refused, those of the machine count (`GOOGLE_APPLICATION_CREDENTIALS`,
`gcloud auth application-default login`, the account of a machine of Google's).
`STORAGE_EMULATOR_HOST` leads to another server, as for every program with this client.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, TypeVar

from simclr_tf.errors import InputError, one_line, require

SCHEME = "gs://"
MAX_OBJECTS = 10_000
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds, after failures in a row that brought no byte
_TIMEOUT = (10, 30)  # seconds to connect, and without a byte
_FIELDS = "items(name,size,generation,crc32c,md5Hash,contentEncoding),nextPageToken"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_BLOCK = 2**20
_SHOWN = 160  # characters of a client's error

T = TypeVar("T")
OnBytes = Callable[[int], None]


class UnreachableError(Exception):
    """The server can't be reached, or does not answer any more; says why in a few words."""


class Object(NamedTuple):
    """An object in a bucket, as its metadata describe it.

    Attributes:
        name: Its whole name.
        size: In bytes.
        generation: Another number whenever it has another content.
        crc32c: Checksum in base64, None where the server tells none.
        md5: The same.
    """

    name: str
    size: int
    generation: int
    crc32c: str | None
    md5: str | None


def split(address: str) -> tuple[str, str]:
    """Bucket and path of `gs://bucket/path`, the latter without slashes at its ends.

    Raises:
        InputError: There is no bucket, or no client to ask it.
    """
    bucket, _, path = address.removeprefix(SCHEME).partition("/")
    require(bool(bucket) and address.startswith(SCHEME), "checkpoint",
            "must have the form gs://BUCKET/PATH", address)  # fmt: skip
    return bucket, path.strip("/")


def is_installed() -> bool:
    """Whether Google's client is there; without it TensorFlow's file system is all there is."""
    try:
        _storage()
    except ImportError:
        return False
    return True


class Bucket:
    """A bucket to read from.

    Args:
        name: Its name.
    """

    def __init__(self, name: str):
        self._name = name
        self._client = _storage().Client.create_anonymous_client()
        self._has_own = False

    def list_objects(self, prefix: str, delimiter: str | None = None) -> list[Object]:
        """The objects whose names begin with a text, in the order of their names.

        Args:
            prefix: The beginning.
            delimiter: `/` leaves out what has another one behind the prefix.

        Raises:
            InputError: There is no such bucket, it can't be read, or there are too many objects.
            UnreachableError: Nobody answers.
        """

        def ask() -> list[Object]:
            found = self._client.list_blobs(
                self._name, prefix=prefix, delimiter=delimiter, fields=_FIELDS, retry=None,
                timeout=_TIMEOUT, max_results=MAX_OBJECTS + 1,
            )  # fmt: skip
            return [_described(blob, self._name) for blob in found if not blob.name.endswith("/")]

        objects = self._answer(ask, prefix)
        require(len(objects) <= MAX_OBJECTS, "checkpoint",
                f"must be a folder with at most {MAX_OBJECTS:,} objects",
                self._address(prefix))  # fmt: skip
        return objects

    def download(self, wanted: Object, path: str, on_bytes: OnBytes = lambda count: None) -> None:
        """Writes an object to a file, or the rest of it where the file holds its beginning.

        A broken connection is taken up where it broke. The checksum of the whole file decides: one
        that an earlier process began and that does not fit is fetched anew, once.

        Args:
            wanted: As listed.
            path: The file; its folder exists.
            on_bytes: Called with the number of bytes whenever some have arrived, and with those
                that were there before; below 0 where they do not count any more.

        Raises:
            InputError: It is gone, has changed, can't be read, or its checksum is wrong; then
                nothing is left of the file.
            UnreachableError: Nobody answers any more; what arrived stays.
            OSError: The file can't be written.
        """
        begun = os.path.exists(path)
        if self._fill(wanted, path, on_bytes):
            return
        os.unlink(path)
        on_bytes(-wanted.size)
        if begun:
            if self._fill(wanted, path, on_bytes):
                return
            os.unlink(path)
        raise InputError("checkpoint", "must arrive as its server describes it, by its checksum; "
                         "nothing of it was kept", self._address(wanted.name))  # fmt: skip

    def _fill(self, wanted: Object, path: str, on_bytes: OnBytes) -> bool:
        """Completes the file; whether its checksum is right."""
        checksum = _Checksum(wanted)
        with open(path, "ab+") as file:
            if file.tell() > wanted.size:
                file.truncate(0)
            file.seek(0)
            while block := file.read(_BLOCK):
                checksum.update(block)
            on_bytes(file.tell())
            target = _Target(file, checksum, on_bytes)
            if target.size < wanted.size:
                self._answer(lambda: self._receive(wanted, target), wanted.name, target)
            file.flush()
            os.fsync(file.fileno())
        return target.size == wanted.size and checksum.is_right()

    def _receive(self, wanted: Object, target: _Target) -> None:
        blob = self._client.bucket(self._name).blob(wanted.name, generation=wanted.generation)
        blob.download_to_file(target, start=target.size or None, raw_download=True, checksum=None,
                              retry=None, timeout=_TIMEOUT)  # fmt: skip

    def _answer(self, ask: Callable[[], T], path: str, target: _Target | None = None) -> T:
        """What the server answers, after some patience where it answers at all."""
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth
        from requests import exceptions as net
        from urllib3.exceptions import HTTPError

        address, failures = self._address(path), 0
        while True:
            before = target.size if target is not None else 0
            try:
                return ask()
            except (api.Unauthorized, api.Forbidden, auth.InvalidOperation) as error:
                self._use_own_credentials(address, error)
                continue
            except api.NotFound:
                what = "in a bucket that exists" if target is None else "there while it is fetched"
                raise InputError("checkpoint", f"must be {what}", address) from None
            except (api.ServerError, api.TooManyRequests, HTTPError, net.ReadTimeout) as error:
                reason = error
            except (net.ConnectionError, auth.TransportError) as error:
                reason = error
                if target is None:  # no network at all: patience would not help
                    raise UnreachableError(_reason(error)) from None
            except (api.GoogleAPIError, auth.GoogleAuthError, net.RequestException) as error:
                raise InputError("checkpoint", f"must be readable ({_reason(error)})",
                                 address) from None  # fmt: skip
            if target is not None and target.size > before:
                failures = 0
            if failures == len(PAUSES):
                raise UnreachableError(_reason(reason)) from None
            time.sleep(PAUSES[failures])
            failures += 1

    def _use_own_credentials(self, address: str, refusal: Exception) -> None:
        import google.auth
        from google.auth import exceptions as auth

        where = "(gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS)"
        if self._has_own:
            raise InputError("checkpoint", f"must be readable with your credentials {where}: "
                             f"{_reason(refusal)}", address) from None  # fmt: skip
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of projects and quotas, which reading has not
                credentials, _ = google.auth.default(scopes=[_SCOPE])
        except (auth.GoogleAuthError, OSError, ValueError) as error:
            raise InputError("checkpoint", f"must be public, or you need credentials {where}: "
                             f"{_reason(error)}", address) from None  # fmt: skip
        self._client = _storage().Client(project="<none>", credentials=credentials)
        self._has_own = True

    def _address(self, name: str) -> str:
        return f"{SCHEME}{self._name}/{name}"


class _Checksum:
    """The checksum that an object's metadata give, of what has arrived."""

    def __init__(self, wanted: Object):
        import google_crc32c

        self._expected = wanted.crc32c or wanted.md5
        self._sum: Any = google_crc32c.Checksum() if wanted.crc32c else hashlib.md5()

    def update(self, block: bytes) -> None:
        self._sum.update(block)

    def is_right(self) -> bool:
        return base64.b64encode(self._sum.digest()).decode() == self._expected


class _Target:
    """The file as the client sees it."""

    def __init__(self, file: BinaryIO, checksum: _Checksum, on_bytes: OnBytes):
        self._file, self._checksum, self._on_bytes = file, checksum, on_bytes
        self.size = file.tell()

    def write(self, block: bytes) -> int:
        self._file.write(block)
        self._checksum.update(block)
        self.size += len(block)
        self._on_bytes(len(block))
        return len(block)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()


def _described(blob: Any, bucket: str) -> Object:
    address = f"{SCHEME}{bucket}/{blob.name}"
    known = blob.size is not None and (blob.crc32c or blob.md5_hash)
    require(bool(known), "checkpoint", "must have a size and a checksum in its metadata", address)
    require(not blob.content_encoding, "checkpoint", "must be stored as it is, without "
            f"Content-Encoding: {blob.content_encoding}", address)  # fmt: skip
    return Object(blob.name, blob.size, blob.generation, blob.crc32c, blob.md5_hash)


def _reason(error: Exception) -> str:
    """The cause of a failure without the names of classes and addresses around it."""
    cause: Any = error
    while getattr(cause, "args", None) and isinstance(cause.args[0], Exception):
        cause = cause.args[0]
    cause = getattr(cause, "reason", None) or cause
    cause = getattr(cause, "message", None) or cause
    args: Any = getattr(cause, "args", ())
    if len(args) > 1 and isinstance(args[0], str):  # urllib3's, with the error behind it
        cause = args[0]
    text = one_line(cause if isinstance(cause, Exception) else Exception(cause))
    text = re.sub(r"^(GET \S+|\S*HTTPS?Connection(\(.*?\)| object at 0x\w+>)): ", "", text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _storage() -> Any:
    """The client; it warns about versions of Python, which is not for us to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from google.cloud import storage
    return storage
