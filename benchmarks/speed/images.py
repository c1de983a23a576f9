"""Images for the benchmarks where no data sets lie: drawn patterns and JPEGs of made-up scenes."""

from __future__ import annotations

import pathlib

from benchmarks.speed.timing import Round
from simclr_tf import startup


def patterns(*, data_dir: str) -> Round:
    """Writes the embedded data set `patterns` as a TFDS folder; measures nothing."""
    startup.load_tensorflow()
    from simclr_tf.config import DataConfig
    from simclr_tf.data import sources

    sources.open_source(DataConfig(dataset="patterns", data_dir=data_dir, image_size=32))
    return lambda: {"": [0.0]}


def write_photographs(folder: pathlib.Path, count: int) -> None:
    """Writes JPEGs of about 500 x 375 pixels and 70 KB, one in each of `train/CLASS/`."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        width, height = int(rng.integers(450, 550)), int(rng.integers(340, 410))
        scene = np.zeros((height, width, 3))
        for cells, strength in ((4, 90), (30, 40), (150, 25)):  # coarse shapes to fine texture
            noise = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
            layers = [
                Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC)
                for c in range(3)
            ]
            scene += strength * np.stack(layers, axis=-1)
        pixels = np.clip(128 + scene, 0, 255).astype(np.uint8)
        path = folder / "train" / f"class_{number:03d}" / "0.jpg"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path, quality=92)
