"""Archives of others: what is taken out, what is refused before it is written, the cache."""

import contextlib
import functools
import gzip
import http.server
import io
import os
import pathlib
import tarfile
import threading
import urllib.error
import urllib.request

import pytest

from simclr_tf.errors import InputError
from simclr_tf.weights import archives


def member(name, content=b"x", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def link(name, target, kind=tarfile.SYMTYPE):
    return member(name, b"", type=kind, linkname=target)


def write(path, members, compress=True):
    with tarfile.open(path, "w:gz" if compress else "w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def unpack(path, folder):
    folder.mkdir(exist_ok=True)
    with open(path, "rb") as file:
        archives.unpack(file, os.path.getsize(path), str(folder), str(path))


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


WANTED = [
    "saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "tfhub_module.pb",
    "variables/variables.index", "variables/variables.data-00000-of-00001",
    "assets/any name.txt", "assets.extra/simclr_tf.json", "assets.extra/deep/er",
    "run/ckpt-9.index", "run/ckpt-9.data-00001-of-00002", "run/ckpt-9.manifest.json",
    "run/config.json",
]  # fmt: skip
LEFT_OUT = ["README.md", "run/checkpoint", "run/model.ckpt.meta", "variables/notes", ".profile",
            "run/._ckpt-9.index", "assets", "x/assets.extra"]  # fmt: skip


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("prefix", ["", "./", "module/"])
def test_files_of_weights_are_taken_and_others_left(prefix, compress, tmp_path):
    folders = [member(f"{prefix}variables", b"", type=tarfile.DIRTYPE)]
    members = [member(prefix + name, name.encode() * 5000) for name in [*LEFT_OUT, *WANTED]]
    path = write(tmp_path / "a.tar.gz", folders + members, compress)
    unpack(path, tmp_path / "out")
    inner = tmp_path / "out" / prefix
    assert files(inner) == sorted(WANTED)
    for name in WANTED:
        assert (inner / name).read_bytes() == name.encode() * 5000


def test_large_files_and_long_names(tmp_path):
    content = os.urandom(3_000_017)
    name = "long" * 60 + "/variables.index"
    write(tmp_path / "a.tar.gz", [member(name, content), member("saved_model.pb", content)])
    unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == content
    assert (tmp_path / "out" / "saved_model.pb").read_bytes() == content


# Each would leave a file beside the folder, or write through a link, where it is followed.
def chain_of_links():
    """CVE-2025-4517: names too long to be resolved make a link look as if it stayed inside."""
    part, steps, members = "d" * 247, "abcdefghijklmnop", []
    for step in range(len(steps)):
        here = "/".join([part] * step)
        members.append(member(f"{here}/{part}".lstrip("/"), b"", type=tarfile.DIRTYPE))
        members.append(link(f"{here}/{steps[step]}".lstrip("/"), part))
    end = "/".join(steps)
    return [*members, link(f"{end}/{'l' * 254}", "../" * len(steps)),
            link("escape", f"{end}/{'l' * 254}/.."), member("escape/escaped.index")]  # fmt: skip


REFUSED = {
    "parent": ([member("../escaped.index")], "it holds '../escaped.index', which leads out of it"),
    "inner parent": ([member("a/../../escaped.index")], "which leads out of it"),
    "left out": ([member("../escaped")], "which leads out of it"),
    "absolute": ([member("{outside}/escaped.index")], "which leads out of it"),
    "NUL": ([member("x", pax_headers={"path": "x\0y.index"})], r"it holds 'x\x00y.index'"),
    "symbolic link": ([link("variables", "{outside}"), member("variables/escaped.index")],
                      "it holds the link 'variables'"),
    "hard link": ([link("a.index", "{outside}/secret", tarfile.LNKTYPE)], "it holds the link"),
    "chain of links": (chain_of_links(), "it holds the link 'a'"),
    "device": ([member("a.index", b"", type=tarfile.CHRTYPE)], "the special file 'a.index'"),
    "pipe": ([member("a.index", b"", type=tarfile.FIFOTYPE)], "the special file 'a.index'"),
    "twice": ([member("a.index"), member("./a.index")], "File exists"),
    "a file as a folder": ([member("a.index"), member("a.index/b.index")], "a.index"),
    "depth": ([member("a/" * 16 + "b.index")], "lies too deep"),
    "count": ([member(f"{i}.txt", b"") for i in range(101)], "it has over 100 members"),
    "a long header": ([member("a.index", pax_headers={"comment": "x" * 2**21})], "too long"),
    "nothing but a name": ([member("./")], "without a name"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_reaches_nothing_outside(case, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MAX_MEMBERS", 100)
    members, text = REFUSED[case]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for info, _ in members:
        info.name = info.name.replace("{outside}", str(outside))
        info.linkname = info.linkname.replace("{outside}", str(outside))
    path = write(outside / "a.tar.gz", members)
    before = files(tmp_path)
    with pytest.raises(InputError, match="checkpoint must be a readable") as caught:
        unpack(path, outside / "out")
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.received == str(path)
    left = [name for name in files(tmp_path) if not name.startswith("outside/out/")]
    assert left == before and (outside / "secret").read_text() == "secret"
    assert not any(p.is_symlink() for p in (outside / "out").rglob("*"))


# Sizes.


class Zeros(io.RawIOBase):
    """A file of zeros that takes no memory."""

    def __init__(self, size):
        self.left = size

    def readable(self):
        return True

    def readinto(self, buffer):
        count = min(self.left, len(buffer))
        buffer[:count] = bytes(count)
        self.left -= count
        return count


def zeros(path, name, size):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo(name)
        info.size = size
        archive.addfile(info, io.BufferedReader(Zeros(size)))
    return path


@pytest.mark.parametrize("name", ["variables/variables.index", "left out"])
def test_a_bomb_is_noticed_before_it_is_written(name, tmp_path):
    path = zeros(tmp_path / "a.tar.gz", name, 2**27)
    assert os.path.getsize(path) < 2**20
    with pytest.raises(InputError, match="unpacks to more than the .* MB that weights of its size"):
        unpack(path, tmp_path / "out")
    assert files(tmp_path / "out") == []


def test_a_header_that_declares_much_is_not_read_into_memory(tmp_path):
    path = zeros(tmp_path / "a.tar.gz", "x", 2**26 - 10**6)
    with gzip.open(path) as file:
        content = bytearray(file.read())
    content[156:157] = tarfile.XHDTYPE
    checksum = sum(content[:148]) + 8 * 32 + sum(content[156:512])
    content[148:156] = b"%06o\0 " % checksum
    path.write_bytes(gzip.compress(bytes(content), 1))
    with pytest.raises(InputError, match="the header of a member is too long"):
        unpack(path, tmp_path / "out")


def test_limits():
    assert archives.unpacked_limit(3_000_000) < 120_000_000
    assert archives.unpacked_limit(0) >= 50_000_000  # untrained or tiny networks are mostly zeros
    assert 2**34 <= archives.unpacked_limit(2**40) <= 2**36


@pytest.mark.parametrize("cut", [1, 2, 300])
def test_damaged_archives(cut, tmp_path):
    path = write(tmp_path / "a.tar.gz", [member("a.index", os.urandom(1000))])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="must be a readable .tar.gz"):
        unpack(path, tmp_path / "out")
    path.write_bytes(b"\x1f\x8b\x08" + os.urandom(500))
    with pytest.raises(InputError, match="must be a readable .tar.gz"):
        unpack(path, tmp_path / "other")


# Over http.


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; `/to/SCHEME/...` redirects."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:].split("?")[0].replace("/", "://", 1))
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(URL, folder that is served, cache) of a server; what was asked is in `Server.asked`."""
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    Server.asked.clear()
    handler = functools.partial(Server, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield (
            f"http://127.0.0.1:{running.server_port}",
            tmp_path / "served",
            tmp_path / "cache" / "simclr_tf" / "tfhub",
        )
        running.shutdown()


def test_a_url_is_fetched_once_into_a_cache_of_the_users_own(server):
    url, served, cache = server
    write(served / "a.tar.gz", [member("saved_model.pb", b"graph")])
    place = archives.fetch(f"{url}/a.tar.gz")
    assert pathlib.Path(place).parent == cache
    assert (pathlib.Path(place) / "saved_model.pb").read_bytes() == b"graph"
    assert [folder.stat().st_mode & 0o777 for folder in (cache.parent, cache)] == [0o700, 0o700]
    assert archives.fetch(f"{url}/a.tar.gz") == place
    assert Server.asked == ["/a.tar.gz?tf-hub-format=compressed"]
    assert [entry.name for entry in cache.iterdir()] == [pathlib.Path(place).name]


def test_the_folder_of_tf_hub_is_used_where_it_is_set(server, tmp_path, monkeypatch):
    url, served, cache = server
    write(served / "a.tar.gz", [member("saved_model.pb")])
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir(mode=0o777)
    assert archives.fetch(f"{url}/a.tar.gz?b=c").startswith(f"{tmp_path}/shared/")
    assert Server.asked == ["/a.tar.gz?b=c&tf-hub-format=compressed"] and not cache.exists()
    monkeypatch.setenv("TFHUB_CACHE_DIR", "gs://bucket")
    with pytest.raises(InputError, match="TFHUB_CACHE_DIR must be a local folder"):
        archives.fetch(f"{url}/a.tar.gz")


@pytest.mark.parametrize("kind", ["writable", "link", "parent is a link", "file", "foreign"])
def test_a_cache_that_others_could_have_filled_is_not_used(kind, server, tmp_path, monkeypatch):
    url, served, cache = server
    write(served / "a.tar.gz", [member("saved_model.pb")])
    planted = tmp_path / "planted"
    (planted / "tfhub").mkdir(parents=True)
    cache.parent.parent.mkdir()
    if kind == "parent is a link":
        cache.parent.symlink_to(planted)
    else:
        cache.parent.mkdir(mode=0o700)
        if kind == "link":
            cache.symlink_to(planted / "tfhub")
        elif kind == "file":
            cache.write_text("")
        else:
            cache.mkdir(mode=0o700)
    if kind == "writable":
        cache.chmod(0o770)
    if kind == "foreign":
        mine = os.getuid()
        monkeypatch.setattr(archives.os, "getuid", lambda: mine + 1)
    with pytest.raises(InputError, match="TFHUB_CACHE_DIR"):
        archives.fetch(f"{url}/a.tar.gz")
    assert Server.asked == [] and files(planted) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/absent.tar.gz", "can be fetched .HTTP Error 404"),
        ("/bad.tar.gz", "must be a readable .tar.gz"),
        ("/evil.tar.gz", "it holds the link"),
        ("/to/file/{folder}/a.tar.gz", "can be fetched .*url 'file:.*' is not allowed"),
        ("/to/ftp/127.0.0.1/a.tar.gz", "can be fetched .*it is redirected to 'ftp:"),
    ],
)
def test_what_a_server_may_not_give(path, text, server):
    url, served, cache = server
    (served / "bad.tar.gz").write_text("<html>")
    write(served / "a.tar.gz", [member("saved_model.pb")])
    write(served / "evil.tar.gz", [link("variables", "/"), member("saved_model.pb")])
    with pytest.raises(InputError, match=text) as caught:
        archives.fetch(url + path.replace("{folder}", str(served)))
    assert "\n" not in str(caught.value) and list(cache.iterdir()) == []


def test_https_does_not_lead_to_http():
    asked = urllib.request.Request("https://a/b")
    follow = archives._Redirects().redirect_request
    assert follow(asked, None, 302, "", {}, "https://c/d").full_url == "https://c/d"
    with pytest.raises(urllib.error.URLError, match="it is redirected to 'http://c/d'"):
        follow(asked, None, 302, "", {}, "http://c/d")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.tar.gz", "http://[", "https://a b/",
                                 "http://127.0.0.1:x/"])  # fmt: skip
def test_urls_without_a_server(url, server):
    with pytest.raises(InputError, match="can be fetched"):
        archives.fetch(url)


def test_two_processes_that_fetch_the_same(server, monkeypatch):
    url, served, _ = server
    write(served / "a.tar.gz", [member("saved_model.pb", b"graph")])
    rename = os.rename

    def late(source, place):
        with contextlib.suppress(FileExistsError):
            os.makedirs(place)
        pathlib.Path(place, "saved_model.pb").write_bytes(b"first")
        rename(source, place)

    monkeypatch.setattr(archives.os, "rename", late)
    place = archives.fetch(f"{url}/a.tar.gz")
    assert pathlib.Path(place, "saved_model.pb").read_bytes() == b"first"


def test_a_named_cache_that_everybody_can_fill_is_not_used(server, tmp_path, monkeypatch):
    url, served, _ = server
    write(served / "a.tar.gz", [member("saved_model.pb")])
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    for mode, used in ((0o775, True), (0o777, False), (0o1777, False)):
        (tmp_path / "shared").chmod(mode)
        if used:
            archives.fetch(f"{url}/a.tar.gz")
        else:
            with pytest.raises(InputError, match="TFHUB_CACHE_DIR"):
                archives.fetch(f"{url}/a.tar.gz")
