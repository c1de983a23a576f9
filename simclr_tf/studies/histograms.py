"""Histograms of pixel intensities with and without colour distortion (Fig. 6).

Crops of one image share their colours: an encoder could tell pairs by the histogram alone. Colour
distortion takes that away.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from simclr_tf.augment import policy
from simclr_tf.data import decode, pipeline, sources
from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures

_IMAGES, _CROPS, _BINS = 2, 5, 32


def pixel_histograms(run: RunConfig) -> Figure:
    """Draws the histograms of five crops of two training images, over all channels."""
    bins = np.linspace(0, 1, _BINS + 1).tolist()
    crops = sample_crops(run)  # (2, images, crops, S, S, 3)
    figure, axes = figures.new_figure(2.2 * _CROPS, 1.5 * 2 * _IMAGES, panels=(2 * _IMAGES, _CROPS))
    each = zip(axes, crops.reshape(-1, *crops.shape[3:]), strict=True)
    for place, (panel, crop) in enumerate(each):
        distorted = place >= _IMAGES * _CROPS
        panel.hist(crop.ravel(), bins, color=figures.COLORS[int(distorted)])
        panel.set_yticks([])
        panel.set_xticks([0, 1])
        panel.spines[["top", "right"]].set_visible(False)
        if place % _CROPS == 0:
            what = "with" if distorted else "without"
            panel.set_ylabel(f"image {place // _CROPS % _IMAGES + 1}\n{what}", fontsize=9)
    figure.suptitle("Pixel intensities of random crops, without and with colour distortion")
    return figure


def sample_crops(run: RunConfig) -> np.ndarray:
    """Crops of the first training images, without and with colour distortion.

    Returns:
        float32 (2, images, crops, S, S, 3) in [0, 1].
    """
    source, split = sources.open_source(run.data), run.data.train_split
    strength = max(run.augment.color_jitter_strength, 0.5)
    settings = [
        AugmentConfig(
            crop_area_min=run.augment.crop_area_min,
            color_jitter_strength=used,
            use_blur=False,
            brightness=run.augment.brightness,
        )
        for used in (0.0, strength)
    ]
    rows = []
    for example in source.examples(split).take(_IMAGES):
        image = decode.decode_image(example["image"], source.reading)
        seeds = pipeline.view_seeds(run.train.seed, 0, example["id"], _CROPS)
        rows.append([
            [policy.pretrain_view(image, seed, run.data.image_size, one).numpy()
             for seed in tf.unstack(seeds)]
            for one in settings
        ])  # fmt: skip
    return np.array(rows).swapaxes(0, 1)
