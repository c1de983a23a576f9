"""What averaging does to copies of photographs: `python -m benchmarks.antialias FOLDER`.

Of each photograph a copy is cropped by three pixels at the upper and left border, and one is halved
by Lanczos's kernel. Prints, for evaluation's views of several sizes, by how many levels of 255
those of the copies differ, and how many copies have a similarity of at least 0.95 with their
original (cosine of the views, each less its mean).
"""

from __future__ import annotations

import io
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks import command
from simclr_tf.augment import policy
from simclr_tf.data import reduced
from simclr_tf.data.reading import Reading
from simclr_tf.errors import require

SHIFT, SIMILAR = 3, 0.95
SIZES = (32, 64, 224)


def copies(path: pathlib.Path) -> Iterator[tuple[str, Image.Image]]:
    """The photograph itself, shifted and halved."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    yield "original", image
    yield "shifted", image.crop((SHIFT, SHIFT, *image.size))
    half = (image.width // 2, image.height // 2)
    yield "halved", image.resize(half, Image.Resampling.LANCZOS)


def views(folder: pathlib.Path, size: int, reading: Reading) -> dict[str, np.ndarray]:
    """Evaluation's views of all photographs, (N, S, S, 3) in [0, 255] by the kind of copy."""
    function = tf.function(lambda e: reduced.eval_image(e, policy.eval_view, size, reading))
    found: dict[str, list[np.ndarray]] = {}
    for path in sorted(folder.rglob("*.jpg")):
        for kind, image in copies(path):
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=95)
            view = function(tf.constant(stream.getvalue())).numpy()
            found.setdefault(kind, []).append(view * 255)
    return {kind: np.stack(those) for kind, those in found.items()}


def main() -> None:
    """Prints a table."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    require(any(folder.rglob("*.jpg")), "folder", "must hold JPEGs (*.jpg)", str(folder))
    print("| view | copy | levels, sampled | averaged | similar, sampled | averaged |")
    print("|---|---|---|---|---|---|")
    for size in SIZES:
        ways = [views(folder, size, Reading(antialias=way)) for way in (False, True)]
        for kind in ("shifted", "halved"):
            levels, similar = [], []
            for way in ways:
                one, other = (way[name].reshape(len(way[name]), -1) for name in ("original", kind))
                levels.append(f"{np.abs(one - other).mean():.1f}")
                one, other = (part - part.mean(1, keepdims=True) for part in (one, other))
                norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
                similar.append(f"{np.mean((one * other).sum(1) / norms >= SIMILAR):.1%}")
            print(f"| {size} px | {kind} | {' | '.join(levels)} | {' | '.join(similar)} |")


if __name__ == "__main__":
    command.end(main)
