"""What is said of a view must be what was done to it: views are made again from the description."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import autoaugment, blur, color, composed, seeds, studied
from simclr_tf.augment.description import Applied, describe_views, in_words
from simclr_tf.settings.augment import AugmentConfig

SIZE = 24


def _image(height=40, width=30):
    rng = np.random.default_rng(0)
    return tf.constant(rng.integers(0, 256, (height, width, 3), np.uint8))


def _again(image, applied, brightness="multiplicative"):
    """The view that a list of operations gives, by the plain form of each."""
    view = tf.cast(image, tf.float32) / 255
    for name, amounts in applied:
        if name == "crop":
            row, column, height, width = (int(amount) for amount in amounts[:4])
            whole = tf.size(view)
            view = view[row : row + height, column : column + width]
            assert amounts[4] == pytest.approx(float(tf.size(view) / whole))  # of the area
            view = tf.clip_by_value(tf.image.resize(view, (SIZE, SIZE), "bicubic"), 0, 1)
        elif name == "flip":
            view = view[:, ::-1]
        elif name == "brightness":
            view = color.adjust_brightness(view, amounts[0], brightness)
        elif name in ("contrast", "saturation", "hue"):
            view = getattr(color, f"adjust_{name}")(view, amounts[0])
        elif name == "gray":
            view = color.to_grayscale(view)
        elif name == "blur":
            view = blur.gaussian_blur(view, amounts[0], blur.blur_kernel_size(SIZE))
        elif name in ("sobel", "equalize", "solarize"):
            view = getattr(studied, name)(view)
        else:
            raise AssertionError(name)
    return view.numpy()


@pytest.mark.parametrize(
    "config, distorted",
    [
        (AugmentConfig(), True),
        (AugmentConfig(color_jitter_strength=0.5, brightness="additive", use_blur=False), True),
        (AugmentConfig(color_jitter_strength=0), True),
        (AugmentConfig(crop_area_min=0.5), False),
        (AugmentConfig(augmentation="one_branch", transforms="crop,color,blur,sobel"), True),
        (AugmentConfig(transforms="sobel,solarize"), True),
    ],
)
def test_the_description_makes_the_same_view(config, distorted):
    image = _image()
    names = set()
    for run_seed in range(12):
        all_seeds = seeds.example_seed(run_seed, 3, 99, tf.range(2, dtype=tf.int64))
        views = composed.views_of_image(SIZE, config, distorted)(image, all_seeds)
        described = describe_views(all_seeds, (40, 30), SIZE, config, distorted)
        for view, applied in zip(views, described, strict=True):
            names |= {one.name for one in applied}
            np.testing.assert_allclose(view, _again(image, applied, config.brightness), atol=2e-3)
    assert "crop" in names and (not distorted or config.color_jitter_strength == 0 or
                                {"hue", "gray"} <= names)  # fmt: skip


def test_autoaugment_names_the_operations_that_ran(monkeypatch):
    config = AugmentConfig(augmentation="autoaugment")
    for run_seed in range(6):
        all_seeds = seeds.example_seed(run_seed, 0, 5, tf.range(1, dtype=tf.int64))
        (applied,) = describe_views(all_seeds, (40, 30), SIZE, config)
        chosen = [one for one in applied if one.name not in ("crop", "flip")]
        pairs = [{name for name, _, _ in pair} for pair in autoaugment.POLICY]
        assert any({one.name for one in chosen} <= pair for pair in pairs)
        view = composed.views_of_image(SIZE, config)(_image(), all_seeds)[0]
        plain = composed.views_of_image(SIZE, config, distorted=False)
        cropped = plain(_image(), tf.stack([seeds.split(all_seeds[0], 2)[0]]))[0]
        if not chosen:
            np.testing.assert_allclose(view, cropped, atol=1e-6)


def test_words():
    assert in_words(Applied("crop", (3, 5, 18, 20, 0.3))) == "crop 30 %: 20 × 18 px at 5, 3"
    assert in_words(Applied("hue", (-0.1,))) == "hue turned by -36°"
    assert in_words(Applied("brightness", (0.25,)), "additive") == "brightness +0.25"
    assert in_words(Applied("contrast", (1.314,))) == "contrast × 1.31"
    assert in_words(Applied("blur", (0.5,))) == "blur, σ = 0.50 px"
    assert in_words(Applied("flip")) == "mirrored"
    assert in_words(Applied("rotate", (9.0,))) == "rotate 9"
    assert in_words(Applied("cutout")) == "cutout"
