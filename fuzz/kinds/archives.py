"""TF-Hub archives with links, devices, foreign paths and bombs."""

from __future__ import annotations

import gzip
import io
import pathlib
import random
import tarfile
from collections.abc import Callable

from fuzz import hostile
from fuzz.case import Case
from fuzz.kinds.scenes import SCENES, change

_WORDS = {
    "export archive": ("export", "--checkpoint=enc/encoder.tar.gz"),
    "evaluate archive": ("evaluate", "--checkpoint=enc/encoder.tar.gz"),
    "neighbors archive": ("neighbors of", "--checkpoint=enc/encoder.tar.gz"),
    "embed archive": ("embed archive", "--checkpoint=enc/encoder.tar.gz"),
}
_MANY = 20_000
Member = tuple[tarfile.TarInfo, bytes]


def draw(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """An archive where a command expects an encoder."""
    del fixtures
    base, word = _WORDS[random_.choice(list(_WORDS))]
    scene = SCENES[base]
    inputs = tuple(dict.fromkeys((*scene.inputs, "enc")))
    how = hostile.change_bytes("enc/encoder.tar.gz") if random_.random() < 0.25 else _rewrite
    return Case(
        "archives", scene.program, scene.words, extra=(word,), inputs=inputs, writes=scene.writes,
        changes=(change(random_, how),), refuses_first=True,
    )  # fmt: skip


def _rewrite(work: pathlib.Path, random_: random.Random) -> str:
    path = work / "enc" / "encoder.tar.gz"
    with tarfile.open(path) as archive:
        members = [(item, _content(archive, item)) for item in archive.getmembers()]
    name, how = random_.choice(list(_TRICKS.items()))
    before = random_.random() < 0.5
    added = how(random_)
    if name == "only this":
        members = []
    listed = [*added, *members] if before else [*members, *added]
    if random_.random() < 0.15:
        listed = added
    buffer = io.BytesIO()
    outside = str(work.parent / "outside")
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item, content in listed:
            item.name = item.name.replace("{outside}", outside)
            archive.addfile(item, io.BytesIO(content))
    content = buffer.getvalue()
    path.write_bytes(content if name == "not compressed" else gzip.compress(content, 1))
    return (
        f"enc/encoder.tar.gz with {name} ({len(listed)} members, the trick "
        f"{'first' if before else 'last'})"
    )


def _content(archive: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(item) if item.isreg() else None
    return file.read() if file else b""


def _member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"x"
) -> Member:
    item = tarfile.TarInfo(name)
    item.type, item.linkname, item.mode = kind, link, 0o644
    if kind == tarfile.REGTYPE:
        item.size = len(content)
        return item, content
    return item, b""


def _files(*names: str) -> Callable[[random.Random], list[Member]]:
    return lambda random_: [_member(name) for name in names]


def _link(name: str, target: str, then: str = "") -> Callable[[random.Random], list[Member]]:
    def make(random_: random.Random) -> list[Member]:
        kind = random_.choice((tarfile.SYMTYPE, tarfile.LNKTYPE))
        return [_member(name, kind, target), *([_member(then)] if then else [])]

    return make


def _chain(random_: random.Random) -> list[Member]:
    """Links so deep that resolving them gives up (CVE-2025-4517)."""
    del random_
    part, place, members = "d" * 247, "", []
    for letter in "abcdefghijklmnop":
        members += [_member(f"{place}{part}", tarfile.DIRTYPE),
                    _member(f"{place}{letter}", tarfile.SYMTYPE, part)]  # fmt: skip
        place += f"{part}/"
    short = "/".join("abcdefghijklmnop")
    members += [_member(f"{short}/{'l' * 254}", tarfile.SYMTYPE, "../" * 16),
                _member("escape", tarfile.SYMTYPE, f"{short}/{'l' * 254}/../../work/../outside"),
                _member("escape/executed")]  # fmt: skip
    return members


def _bomb(random_: random.Random) -> list[Member]:
    name = random_.choice(("bomb", "saved_model.pb", "variables/variables.data-00000-of-00001"))
    return [_member(name, content=bytes(2**29 + 2**27))]


def _sparse(random_: random.Random) -> list[Member]:
    item, content = _member(random_.choice(("s", "saved_model.pb")))
    size = 2 ** random_.choice((33, 45, 62))
    item.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                        "GNU.sparse.name": item.name, "GNU.sparse.realsize": str(size)}  # fmt: skip
    content = b"0\n" + bytes(510)
    item.size = len(content)
    return [(item, content)]


def _headers(random_: random.Random) -> list[Member]:
    item, content = _member("a")
    item.pax_headers = random_.choice((
        {"size": "-1"}, {"size": "99999999999999"}, {"mtime": "nan"}, {"path": "../../outside/x"},
        {"linkpath": "../../outside"}, {"uid": "x"}, {"path": "a" * 70000},
    ))  # fmt: skip
    return [(item, content)]


_TRICKS: dict[str, Callable[[random.Random], list[Member]]] = {
    "a file above": _files("../../outside/executed"),
    "an absolute file": _files("{outside}/executed"),
    "the user's names": _files("variables/../../../outside/docs/thesis.txt"),
    "a link out": _link("docs", "../../outside/docs", "docs/thesis.txt"),
    "a link to a file": _link("saved_model.pb", "../outside/docs/thesis.txt"),
    "a link to all": _link("root", "/", "root{outside}/executed"),
    "a link to zeros": _link("variables/variables.index", "/dev/zero"),
    "a loop": _link("saved_model.pb", "saved_model.pb"),
    "a chain of links": _chain,
    "a bomb": _bomb,
    "a sparse file": _sparse,
    "odd headers": _headers,
    "many files": lambda random_: [_member(f"f{n}", content=b"") for n in range(_MANY)],
    "deep folders": lambda random_: [_member("d/" * 1000 + "x")],
    "long names": lambda random_: [_member("n" * 5000)],
    "strange names": _files("\x1b[31mred", "a\nb", "caf\udce9", "", ".", "con"),
    "a FIFO": lambda random_: [_member("saved_model.pb", tarfile.FIFOTYPE)],
    "a device": lambda random_: [_member("variables/variables.index", tarfile.CHRTYPE)],
    "twice the same": _files("saved_model.pb", "saved_model.pb/x", "variables", "variables/x"),
    "only this": _files("saved_model.pb"),
    "not compressed": _files("a"),
    "nothing": lambda random_: [],
}
