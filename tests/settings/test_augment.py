"""Settings of the augmentations: what is refused, and what `transforms` means."""

from __future__ import annotations

import pytest

from simclr_tf.errors import InputError
from simclr_tf.settings.augment import TRANSFORMS, AugmentConfig


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"augmentation": "moco"}, "augmentation"),
        ({"transforms": "sharpen"}, "transforms"),
        ({"transforms": "crop, sharpen"}, "transforms"),
        ({"transforms": "sobel,sobel"}, "transforms"),
        ({"transforms": ","}, "transforms"),
        ({"augmentation": "autoaugment", "transforms": "sobel"}, "transforms"),
        ({"augmentation": "one_branch", "augment_on": "device"}, "augment_on"),
        ({"transforms": "sobel", "augment_on": "device"}, "augment_on"),
        ({"augment_on": "gpu"}, "augment_on"),
        ({"views": "crop flop"}, "views"),
        ({"views": "crop", "transforms": "sobel"}, "views"),
        ({"views": "crop", "augmentation": "autoaugment"}, "views"),
        ({"views": "crop rot90", "augment_on": "device"}, "augment_on"),
        ({"views": "crop flip | crop flip blur", "augment_on": "device"}, "augment_on"),
        ({"color_jitter_strength": float("nan")}, "color_jitter_strength"),
        ({"color_jitter_strength": -1.0}, "color_jitter_strength"),
    ],
)
def test_bad_values_are_refused_by_name(settings, name):
    with pytest.raises(InputError) as caught:
        AugmentConfig(**settings)
    assert caught.value.name == name


def test_the_defaults_are_those_of_appendix_a():
    config = AugmentConfig()
    assert (config.crop_area_min, config.color_jitter_strength, config.use_blur) == (0.08, 1, True)


def test_names_are_listed_in_order_without_spaces():
    config = AugmentConfig(augmentation="one_branch", transforms="crop, color ,")
    assert config.transform_names == ("crop", "color")
    assert AugmentConfig().transform_names == ()
    assert set(config.transform_names) < set(TRANSFORMS)


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, True),
        ({"use_blur": False}, True),
        ({"transforms": "sobel"}, False),
        ({"augmentation": "one_branch"}, False),
        ({"augmentation": "autoaugment"}, False),
        ({"views": "crop flip color(0.5) grayscale", "augment_on": "device"}, True),
        ({"views": "crop(0.5,1) flip | crop(0.5,1) flip"}, True),
        ({"views": "crop rot90"}, False),
        ({"views": "crop flip any.module:function"}, False),
    ],
)
def test_the_papers_policy_is_told_apart(settings, plain):
    assert AugmentConfig(**settings).is_plain is plain
