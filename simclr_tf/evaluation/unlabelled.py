"""What an encoder makes of images without labels: its figures on some of them and their views."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from simclr_tf.data import samples
from simclr_tf.data.images import Batches, Images
from simclr_tf.data.views import ViewRecipe
from simclr_tf.errors import require
from simclr_tf.evaluation.features import Extractor
from simclr_tf.evaluation.quality import Pair, Quality, quality
from simclr_tf.models.endpoints import FINAL_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.settings.augment import AugmentConfig

# The same views for every run, whatever it is trained with, so that runs can be compared: crops of
# 30 % of the area or more, mirrored at random, and the paper's colour distortion of full strength.
_CROP_AREA_MIN, _STRENGTH, _COLOR_CHANNELS = 0.3, 1.0, 3
_KEPT_BYTES = 2**28
_SYMBOLS = {"h": FINAL_ENDPOINT, "z": PROJECTED_ENDPOINT}  # of the paper


def fewest_images(images: Images) -> int:
    """How many images `measure` needs: two, and one for each replica."""
    return max(2, images.job.replicas)


class Shown:
    """Some images of a split and views of them, to be looked at by one encoder after another.

    Where they are small they are made once and kept: making them takes longer than a small encoder
    takes to look at them.

    Args:
        images: Whose they are, with the job of the encoders.
        split: A split expression.
        count: So many images, spread over the split.

    Attributes:
        plain: The images as an evaluation sees them.
        pairs: Two views of each, with colour distortion and without.

    Raises:
        InputError: Fewer images than replicas, or than two.
    """

    def __init__(self, images: Images, split: str, count: int):
        count = min(count, images.source.num_examples(split, "eval_split"))
        fewest = fewest_images(images)
        require(count >= fewest, "eval_split", f"must have at least {fewest} images for figures "
                "without labels", count)  # fmt: skip
        colored = _STRENGTH if images.channels == _COLOR_CHANNELS else 0.0
        plain = samples.example_batches(images, split, count)
        pairs = [_views(images, split, count, strength) for strength in (colored, 0.0)]
        numbers = count * (1 + 2 * len(pairs)) * images.image_size**2 * images.channels
        remembered = _kept if 4 * numbers <= _KEPT_BYTES else _as_it_is
        self.plain = remembered(plain)
        self.pairs = [[remembered(view) for view in pair] for pair in pairs]


def measure(encoder: Extractor, shown: Shown) -> dict[str, Quality]:
    """The figures of an encoder.

    All workers of a job call it together.

    Args:
        encoder: Gives `final_avg_pool`, and `projection` where there is a projection head.
        shown: What it looks at.

    Returns:
        Of h, what an encoder returns, and of z, what the contrastive loss compares, if there is a
        head.
    """
    plain = encoder.features(shown.plain).endpoints
    views, crops = (_pair(encoder, pair) for pair in shown.pairs)
    return {
        symbol: quality(plain[name], views[name], crops[name])
        for symbol, name in _SYMBOLS.items()
        if name in plain
    }


def _views(images: Images, split: str, count: int, strength: float) -> list[Batches]:
    """Both views of the images."""
    policy = AugmentConfig(crop_area_min=_CROP_AREA_MIN, color_jitter_strength=strength,
                           use_blur=False, augment_on="host")  # fmt: skip
    recipe = ViewRecipe(policy, images.image_size, count=2, distorted=True)
    return samples.view_batches(images, split, count, recipe)


def _pair(encoder: Extractor, pair: Iterable[Batches]) -> Mapping[str, Pair]:
    """What an encoder makes of both views, by endpoint."""
    first, second = (encoder.features(view).endpoints for view in pair)
    return {name: (first[name], second[name]) for name in first}


def _kept(batches: Batches) -> Batches:
    """The same batches, made once for each host's part and kept in memory."""
    return functools.cache(lambda part: batches(part).cache())


def _as_it_is(batches: Batches) -> Batches:
    return batches
