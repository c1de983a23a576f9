"""How many planted copies are found.

    python -m benchmarks.duplicates --images=DIR --checkpoint=RUN

Saves the images of a folder anew, and some of them a second time, changed as copies are; embeds all
of them; and looks for near-duplicates as `--mode=neighbors` does. Prints the kinds of copies with
the share that is found beside their original, and the precision: the share of all pairs found that
are copies.
"""

from __future__ import annotations

import collections
import itertools
import os
import pathlib
import tempfile
from typing import Any

from benchmarks import command
from simclr_tf.settings.commands import CENTRED, SIMILARITIES

PLAIN = ("saved again", "half the size", "phone orientation")
HARD = ("brighter by 30 %", "a tenth cut off", "mirrored", "turned by 90 degrees")
_EACH = 20  # copies of a kind
_SUFFIXES = (".jpg", ".jpeg", ".png")


def _copy(kind: str, image: Any, path: str) -> None:
    from PIL import Image, ImageEnhance, ImageOps

    width, height = image.size
    exif = Image.Exif()
    if kind == "half the size":
        image = image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    elif kind == "phone orientation":  # stored on its side, and said so
        exif[0x0112] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    elif kind == "brighter by 30 %":
        image = ImageEnhance.Brightness(image).enhance(1.3)
    elif kind == "a tenth cut off":
        image = image.crop((width // 20, height // 20, width - width // 20, height - height // 20))
    elif kind == "mirrored":
        image = ImageOps.mirror(image)
    elif kind == "turned by 90 degrees":
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(path, quality=75, exif=exif.tobytes())


def plant(images: str, folder: str) -> None:
    """Writes `NUMBER original.png` of every image, and `NUMBER KIND.jpg` of some."""
    import numpy as np
    from PIL import Image, ImageOps

    found = sorted(p for p in pathlib.Path(images).rglob("*") if p.suffix.lower() in _SUFFIXES)
    kinds = [kind for kind in (*PLAIN, *HARD) for _ in range(_EACH)]
    order = np.random.default_rng(0).permutation(len(found))
    copied = dict(zip(order.tolist(), kinds, strict=False))
    for number, path in enumerate(found):
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        image.save(os.path.join(folder, f"{number:05} original.png"))
        if number in copied:
            kind = copied[number]
            _copy(kind, image, os.path.join(folder, f"{number:05} {kind}.jpg"))


def main() -> int:
    """The command line."""
    parser = command.Parser(description=__doc__)
    parser.add_argument("--images", required=True, help="folder of photographs, none twice")
    parser.add_argument("--checkpoint", required=True, help="encoder")
    parser.add_argument("--similarity", default=CENTRED, choices=SIMILARITIES)
    given = parser.parse_args()
    import simclr_tf
    from simclr_tf.retrieval import neighbors

    with tempfile.TemporaryDirectory() as folder:
        plant(given.images, folder)
        ids, vectors = simclr_tf.embed(given.checkpoint, folder, with_ids=True, say=lambda _: None)
    space = neighbors.choose_space(vectors, given.similarity, None)
    originals = [name.partition(" ")[0] for name in ids]
    kinds = [pathlib.Path(name).stem.partition(" ")[2] for name in ids]
    found: collections.Counter[str] = collections.Counter()
    wrong = 0
    for group in neighbors.near_duplicates(vectors, space.limit, origin=space.origin):
        for one, other in itertools.combinations(group.indices, 2):
            if originals[one] == originals[other]:
                found[next(kinds[i] for i in (one, other) if kinds[i] != "original")] += 1
            else:
                wrong += 1
    print(f"{len(ids)} images, limit {space.limit:.4f}")
    print("| copies | found |\n|---|---|")
    for kind in (*PLAIN, *HARD):
        print(f"| {kind} | {found[kind]} of {kinds.count(kind)} |")
    pairs = sum(found.values()) + wrong
    print(
        f"precision {sum(found.values()) / max(pairs, 1):.3f} ({wrong} of {pairs} pairs are none)"
    )
    return 0


if __name__ == "__main__":
    command.end(main)
