"""What an encoder makes of images without labels: its figures on some of them and their views."""

from __future__ import annotations

from collections.abc import Mapping

from simclr_tf.data import samples
from simclr_tf.data.images import Images
from simclr_tf.data.views import ViewRecipe
from simclr_tf.errors import require
from simclr_tf.evaluation.features import Extractor
from simclr_tf.evaluation.quality import Pair, Quality, quality
from simclr_tf.models.endpoints import FINAL_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.settings.augment import AugmentConfig

# The same views for every run, whatever it is trained with, so that runs can be compared: crops of
# 30 % of the area or more, mirrored at random, and the paper's colour distortion of full strength.
_CROP_AREA_MIN, _STRENGTH, _COLOR_CHANNELS = 0.3, 1.0, 3
_SYMBOLS = {"h": FINAL_ENDPOINT, "z": PROJECTED_ENDPOINT}  # of the paper


def fewest_images(images: Images) -> int:
    """How many images `measure` needs: two, and one for each replica."""
    return max(2, images.job.replicas)


def measure(encoder: Extractor, images: Images, split: str, count: int) -> dict[str, Quality]:
    """The figures of an encoder on images of a split.

    All workers of a job call it together.

    Args:
        encoder: Gives `final_avg_pool`, and `projection` where there is a projection head.
        images: Whose they are, with the job of `encoder`.
        split: A split expression.
        count: Look at so many images, spread over the split.

    Returns:
        Of h, what an encoder returns, and of z, what the contrastive loss compares, if there is a
        head.

    Raises:
        InputError: Fewer images than replicas, or than two.
    """
    count = min(count, images.source.num_examples(split, "eval_split"))
    fewest = fewest_images(images)
    require(count >= fewest, "eval_split", f"must have at least {fewest} images for figures "
            "without labels", count)  # fmt: skip
    plain = encoder.features(samples.example_batches(images, split, count)).endpoints
    colored = _STRENGTH if images.channels == _COLOR_CHANNELS else 0.0
    pairs = [_pair(encoder, images, split, count, strength) for strength in (colored, 0.0)]
    views, crops = pairs
    return {
        symbol: quality(plain[name], views[name], crops[name])
        for symbol, name in _SYMBOLS.items()
        if name in plain
    }


def _pair(
    encoder: Extractor, images: Images, split: str, count: int, strength: float
) -> Mapping[str, Pair]:
    """Both views of the images, by endpoint."""
    policy = AugmentConfig(crop_area_min=_CROP_AREA_MIN, color_jitter_strength=strength,
                           use_blur=False, augment_on="host")  # fmt: skip
    recipe = ViewRecipe(policy, images.image_size, count=2, distorted=True)
    first, second = (
        encoder.features(batches).endpoints
        for batches in samples.view_batches(images, split, count, recipe)
    )
    return {name: (first[name], second[name]) for name in first}
