"""Folders of images with bombs, FIFOs, sparse and damaged files, and odd names."""

from __future__ import annotations

import functools
import os
import pathlib
import random
import struct
import zlib

from fuzz import hostile
from fuzz.case import Case
from fuzz.kinds.scenes import change, choose

_SCENES = ("embed", "evaluate anew", "train", "neighbors of", "neighbors", "go on")
_NAMES = ("größe.jpg", "caf\udce9.jpg", hostile.ESCAPES.replace("/", "") + ".jpg", "a\nb.jpg",
          " .jpg", "-.jpg", "a" * 250 + ".jpg", "%s.jpg", "<b>.jpg", "\u202egpj.jpg", ".jpg",
          "a.jpg.jpg", "a.JPG", "~", "a'\"b.png", "x.gif", "x.bmp", "x.webp", "x.svg")  # fmt: skip


def draw(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """One to three odd files among the photographs."""
    del fixtures
    name, scene = choose(random_, _SCENES)
    changes = [change(random_, _odd_image) for _ in range(random_.choice((1, 1, 2, 3)))]
    extra = ("--skip_bad_images",) if random_.random() < 0.25 and name != "neighbors" else ()
    return Case("images", scene.program, scene.words, extra=extra, inputs=scene.inputs,
                writes=scene.writes, changes=tuple(changes))  # fmt: skip


def _odd_image(work: pathlib.Path, random_: random.Random) -> str:
    folder = random_.choice(("photos/train/cat", "photos/test/dog", "photos/train", "photos",
                             "photos/train/\x1b[31mred", "photos/train/empty"))  # fmt: skip
    fresh = random_.random() < 0.6
    name = random_.choice(_NAMES) if fresh else "1.jpg"
    path = work / folder / name
    how = random_.choice(("name", "damage", "damage", "place", "place", "bomb", "bomb", "odd"))
    path.parent.mkdir(exist_ok=True)
    if how == "place":
        return hostile.plant(f"{folder}/{name}")(work, random_)
    if how == "bomb":
        content, done = _bomb(random_)
    elif how == "odd":
        content, done = random_.choice(list(_ODD.items()))[::-1]
    else:
        content = (work / "photos/test/cat/2.jpg").read_bytes()
        done = "a photograph"
        if how == "damage":
            content, done = hostile.damage(content, random_)
    path.write_bytes(content)
    return f"{os.fsencode(folder + '/' + name)!r}: {done}"


@functools.cache
def png(width: int, height: int, rows: int = 1, depth: int = 8, color: int = 2) -> bytes:
    """A PNG that declares a size and has so many rows of zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    row = bytes(1 + (width * channels * depth + 7) // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed)
            + chunk(b"IEND", b""))  # fmt: skip


def _bomb(random_: random.Random) -> tuple[bytes, str]:
    side = random_.choice((13_000, 30_000, 65_535, 2**31 - 1))
    kind = random_.choice(("png", "png whole", "png thin", "gif", "bmp", "jpg"))
    if kind == "png whole":
        return png(13_000, 13_000, 13_000), "a PNG of 13000 x 13000"
    if kind == "png thin":
        return png(20_000_000, 1), "a PNG of 20000000 x 1"
    if kind == "png":
        return png(min(side, 65_535), side), f"a PNG that declares {min(side, 65_535)} x {side}"
    if kind == "gif":
        head = b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\xf0\x00\x00" + bytes(6)
        frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 65_535, 65_535) + b"\x00\x02\x02\x4c\x01\x00"
        return head + frame * random_.choice((1, 1000)) + b"\x3b", "a GIF of 65535 x 65535"
    if kind == "bmp":
        sides = side, random_.choice((side, -side))
        header = struct.pack("<IiiHHIIiiII", 40, *sides, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(100), f"a BMP of {side}"
    frame = struct.pack(">BHHB", 8, 65_535, 65_535, 3) + b"\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00" + bytes(100)
    length = struct.pack(">H", 2 + len(frame))
    return b"\xff\xd8\xff\xc0" + length + frame + scan + b"\xff\xd9", "a JPEG of 65535 x 65535"


_ODD = {
    "a PNG of no width": png(0, 5),
    "a PNG of 16 bits": png(8, 8, 8, depth=16),
    "a grey PNG": png(8, 8, 8, color=0),
    "a PNG with alpha": png(8, 8, 8, color=6),
    "a palette PNG without its palette": png(8, 8, 8, color=3),
    "a PNG of one pixel": png(1, 1),
    "half a PNG": png(64, 64, 10),
    "a text": b"not an image\n",
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "the start of a JPEG": b"\xff\xd8\xff",
    "a WebP": b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(24),
}
