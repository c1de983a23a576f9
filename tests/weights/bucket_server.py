"""A server of buckets, for tests: the listing and the download of Google Cloud Storage over http.

It answers `GET /storage/v1/b/BUCKET/o` (prefix, delimiter, pages) and
`GET /download/storage/v1/b/BUCKET/o/NAME?alt=media` (with Range) as the documentation of the JSON
API describes them, and misbehaves on demand: cuts a download, lies in a checksum, refuses.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import pathlib
import threading
import urllib.parse
from collections.abc import Iterator

import google_crc32c

_PAGE = 3  # objects on a page of a listing: every test has several


@dataclasses.dataclass
class Buckets:
    """What is served, how, and what was asked.

    Attributes:
        contents: Bytes by `bucket/name`.
        address: For `STORAGE_EMULATOR_HOST`.
        cut_after: A download ends after so many bytes, without a word; one entry per download.
        wrong: Names whose checksums in the metadata are those of other bytes.
        md5_only: Metadata have no crc32c.
        refused: Buckets that want a token, with the token.
        failures: So many answers are 503 before the others.
        generation: Of all objects.
        hold: Set while downloads may go on; cleared, they wait.
        requests: Kind, name and Range of every request.
        authorized: Whether a request had a token.
    """

    contents: dict[str, bytes] = dataclasses.field(default_factory=dict)
    address: str = ""
    cut_after: list[int] = dataclasses.field(default_factory=list)
    wrong: set[str] = dataclasses.field(default_factory=set)
    md5_only: bool = False
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    failures: int = 0
    generation: int = 1
    hold: threading.Event = dataclasses.field(default_factory=threading.Event)
    requests: list[tuple[str, str, str | None]] = dataclasses.field(default_factory=list)
    authorized: bool = False

    def put(self, name: str, folder: pathlib.Path) -> str:
        """Serves the files below a folder; returns the address."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.contents[f"{name}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
        return f"gs://{name}"

    def downloads(self) -> list[str]:
        """Names of what was downloaded, in order."""
        return [name for kind, name, _ in self.requests if kind == "download"]

    def metadata(self, key: str) -> dict[str, str]:
        """What a listing says of an object."""
        content = self.contents[key]
        summed = content + b"!" if key in self.wrong else content
        crc = google_crc32c.Checksum(summed).digest()
        described = {
            "name": key.partition("/")[2], "size": str(len(content)),
            "generation": str(self.generation),
            "md5Hash": base64.b64encode(hashlib.md5(summed).digest()).decode(),
        }  # fmt: skip
        if not self.md5_only:
            described["crc32c"] = base64.b64encode(crc).decode()
        return described


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    buckets: Buckets

    def log_message(self, *_) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        """Gives a token to whoever asks with credentials."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._json(200, {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})

    def do_GET(self) -> None:
        split = urllib.parse.urlsplit(self.path)
        question = {key: value[0] for key, value in urllib.parse.parse_qs(split.query).items()}
        parts = split.path.partition("/b/")[2].split("/")
        bucket, name = parts[0], urllib.parse.unquote("/".join(parts[2:]))
        if parts[1:2] != ["o"]:  # the bucket itself, which the client asks for in a thread
            return self._json(403, {"error": {"code": 403, "message": "only objects"}})
        kind = "download" if split.path.startswith("/download/") else "list"
        self.buckets.requests.append((kind, name, self.headers.get("Range")))
        self.buckets.authorized |= "Authorization" in self.headers
        if self.buckets.failures:
            self.buckets.failures -= 1
            return self._json(503, {"error": {"code": 503, "message": "busy"}})
        token = self.buckets.refused.get(bucket)
        if token is not None and self.headers.get("Authorization") != f"Bearer {token}":
            code = 403 if "Authorization" in self.headers else 401
            return self._json(code, {"error": {"code": code, "message": "no access to objects"}})
        if kind == "list":
            return self._list(bucket, question)
        return self._download(f"{bucket}/{name}", question)

    def _list(self, bucket: str, question: dict[str, str]) -> None:
        prefix, delimiter = question.get("prefix", ""), question.get("delimiter")
        keys = sorted(key for key in self.buckets.contents if key.startswith(f"{bucket}/{prefix}"))
        if not any(key.startswith(f"{bucket}/") for key in self.buckets.contents):
            return self._json(404, {"error": {"code": 404, "message": "no such bucket"}})
        behind = len(bucket) + 1 + len(prefix)
        keys = [key for key in keys if not (delimiter and delimiter in key[behind:])]
        start = int(question.get("pageToken", 0))
        answer = {"items": [self.buckets.metadata(key) for key in keys[start : start + _PAGE]]}
        if start + _PAGE < len(keys):
            answer["nextPageToken"] = str(start + _PAGE)
        return self._json(200, answer)

    def _download(self, key: str, question: dict[str, str]) -> None:
        content = self.buckets.contents.get(key)
        known = question.get("generation", str(self.buckets.generation))
        if content is None or known != str(self.buckets.generation):
            return self._json(404, {"error": {"code": 404, "message": "no such object"}})
        self.buckets.hold.wait(20)
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        rest = content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut = self.buckets.cut_after.pop(0) if self.buckets.cut_after else len(rest)
        self.wfile.write(rest[:cut])
        if cut < len(rest):
            self.close_connection = True
        return None

    def _json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving() -> Iterator[Buckets]:
    """A server on this machine while the block runs."""
    buckets = Buckets()
    buckets.hold.set()
    handler = type("Handler", (_Handler,), {"buckets": buckets})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    buckets.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield buckets
    finally:
        buckets.hold.set()
        server.shutdown()
        server.server_close()
