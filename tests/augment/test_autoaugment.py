"""AutoAugment's operations against the Python Imaging Library, and the policy that draws them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from simclr_tf.augment import autoaugment, seeds

LEVEL = 1 / 255
GRAY = (128, 128, 128)

# The paper's policy as TensorFlow's model garden has it (official/vision, reduced ImageNet), where
# operations without a strength have a number too; torchvision has the same without those numbers.
PUBLISHED = """
    Posterize 0.4 8 Rotate 0.6 9          Solarize 0.6 5 AutoContrast 0.6 5
    Equalize 0.8 8 Equalize 0.6 3         Posterize 0.6 7 Posterize 0.6 6
    Equalize 0.4 7 Solarize 0.2 4         Equalize 0.4 4 Rotate 0.8 8
    Solarize 0.6 3 Equalize 0.6 7         Posterize 0.8 5 Equalize 1.0 2
    Rotate 0.2 3 Solarize 0.6 8           Equalize 0.6 8 Posterize 0.4 6
    Rotate 0.8 8 Color 0.4 0              Rotate 0.4 9 Equalize 0.6 2
    Equalize 0.0 7 Equalize 0.8 8         Invert 0.6 4 Equalize 1.0 8
    Color 0.6 4 Contrast 1.0 8            Rotate 0.8 8 Color 1.0 2
    Color 0.8 8 Solarize 0.8 7            Sharpness 0.4 7 Invert 0.6 8
    ShearX 0.6 5 Equalize 1.0 9           Color 0.4 0 Equalize 0.6 3
    Equalize 0.4 7 Solarize 0.2 4         Solarize 0.6 5 AutoContrast 0.6 5
    Invert 0.6 4 Equalize 1.0 8           Color 0.6 4 Contrast 1.0 8
    Equalize 0.8 8 Equalize 0.6 3
"""
WITHOUT_STRENGTH = ("autocontrast", "equalize", "invert")


def _pixels(size: int = 24, seed: int = 0) -> np.ndarray:
    """Colourful, smooth, not square in its contents, on 256 levels."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    large = Image.fromarray(coarse).resize((size, size), Image.BICUBIC)
    return np.asarray(large)


def _ours(name: str, pixels: np.ndarray, strength: int = 0, sign: float = 1.0) -> np.ndarray:
    image = tf.constant(pixels / 255, tf.float32)
    return autoaugment._OPERATIONS[name](image, strength, tf.constant(sign)).numpy()


def _enhanced(kind: type, pixels: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(kind(Image.fromarray(pixels)).enhance(factor))


@pytest.mark.parametrize("strength", [0, 2, 5, 9])
def test_operations_of_one_direction(strength):
    pixels = _pixels()
    image = Image.fromarray(pixels)
    bits = 8 - round(strength * 4 / 9)
    wanted = {
        "posterize": ImageOps.posterize(image, bits),
        "solarize": ImageOps.solarize(image, 255 * (1 - strength / 9)),
        "autocontrast": ImageOps.autocontrast(image),
        "equalize": ImageOps.equalize(image),
        "invert": ImageOps.invert(image),
    }
    for name, expected in wanted.items():
        found = _ours(name, pixels, strength)
        np.testing.assert_allclose(
            found, np.asarray(expected) / 255, atol=1.01 * LEVEL, err_msg=name
        )


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("strength", [0, 4, 9])
def test_operations_of_two_directions(strength, sign):
    pixels = _pixels()
    factor = 1 + 0.1 * strength * sign
    kinds = {
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "sharpness": ImageEnhance.Sharpness,
    }
    for name, kind in kinds.items():
        found = _ours(name, pixels, strength, sign)
        expected = _enhanced(kind, pixels, factor) / 255
        np.testing.assert_allclose(found, expected, atol=2.01 * LEVEL, err_msg=name)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_turning_and_shearing(sign):
    """Where two pixels are equally near either may be taken."""
    pixels = _pixels(32)
    image = Image.fromarray(pixels)
    shear = sign * 0.3 * 5 / 9
    affine = (1, shear, 0, 0, 1, 0)
    wanted = {
        ("rotate", 8): image.rotate(sign * 30 * 8 / 9, fillcolor=GRAY),
        ("shear_x", 5): image.transform((32, 32), Image.AFFINE, affine, fillcolor=GRAY),
    }
    for (name, strength), expected in wanted.items():
        found = _ours(name, pixels, strength, sign)
        same = np.abs(found - np.asarray(expected) / 255).max(axis=-1) < LEVEL
        assert same.mean() > 0.97, (name, same.mean())
        assert np.isclose(found, 128 / 255).all(axis=-1).any(), name


def test_a_flat_channel_stays_as_it_is():
    flat = np.full((32, 32, 3), 100, np.uint8)
    flat[..., 1] = np.arange(1024).reshape(32, 32) // 8
    for name in ("equalize", "autocontrast"):
        found = _ours(name, flat)
        np.testing.assert_allclose(found[..., ::2], 100 / 255, rtol=1e-6)
        assert found[..., 1].max() > 0.9


def test_strength_zero_changes_nothing_that_has_a_direction():
    pixels = _pixels()
    for name in ("color", "contrast", "sharpness", "rotate", "shear_x", "posterize"):
        np.testing.assert_allclose(_ours(name, pixels), pixels / 255, atol=1e-6, err_msg=name)


def test_the_policy_is_the_published_one():
    words = PUBLISHED.lower().replace("shearx", "shear_x").split()
    operations = [
        (name, float(probability), None if name in WITHOUT_STRENGTH else int(strength))
        for name, probability, strength in zip(words[::3], words[1::3], words[2::3], strict=True)
    ]
    assert list(autoaugment.POLICY) == list(zip(operations[::2], operations[1::2], strict=True))


def test_the_policy_draws_all_pairs_and_keeps_the_range():
    """Every draw gives the pair it says; nearly all change the image."""
    image = tf.constant(_pixels() / 255, tf.float32)
    run = tf.function(lambda draws: autoaugment.autoaugment(image, tf.unstack(draws, num=5)))
    made = []
    for pair in range(len(autoaugment.POLICY)):
        draws = tf.constant([(pair + 0.5) / len(autoaugment.POLICY), 0.0, 0.9, 0.0, 0.1])
        view = run(draws).numpy()
        expected = image
        for (name, probability, strength), sign in zip(
            autoaugment.POLICY[pair], (1.0, -1.0), strict=True
        ):
            if probability > 0:
                operation = autoaugment._OPERATIONS[name]
                expected = operation(expected, strength or 0, tf.constant(sign))
        np.testing.assert_allclose(view, np.clip(expected, 0, 1), atol=LEVEL)
        made.append(view)
    assert min(view.min() for view in made) >= 0 and max(view.max() for view in made) <= 1
    assert len({view.tobytes() for view in made}) >= 18  # some pairs are in the policy twice


def test_probabilities_decide():
    image = tf.constant(_pixels() / 255, tf.float32)
    never = [tf.constant(x) for x in (0.0, 0.9, 0.0, 0.9, 0.0)]  # of 0.4 and 0.6
    np.testing.assert_array_equal(autoaugment.autoaugment(image, never), image)
    second = [tf.constant(x) for x in (0.0, 0.9, 0.0, 0.1, 0.9)]  # each has a coin of its own
    turned = autoaugment._OPERATIONS["rotate"](image, 9, tf.constant(1.0))
    np.testing.assert_allclose(autoaugment.autoaugment(image, second), turned, atol=1e-6)


def test_inside_a_dataset_with_unknown_sizes():
    dataset = tf.data.Dataset.range(3).map(
        lambda i: autoaugment.autoaugment(
            tf.ensure_shape(tf.random.stateless_uniform([20 + tf.cast(i, tf.int32), 16, 3], [1, i]),
                            (None, None, 3)),
            seeds.uniforms(tf.stack([i, i]), autoaugment.DRAWS)))  # fmt: skip
    assert [view.shape for view in dataset.as_numpy_iterator()] == [
        (20 + i, 16, 3) for i in range(3)
    ]
