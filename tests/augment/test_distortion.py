"""Distortion in few passes against the operations one by one, in every order and form."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import blur, color, distortion

N, SIZE = 240, 32
LEVEL = 1 / 255
SETTINGS = {
    "paper": (1.0, "multiplicative", True),
    "cifar": (0.5, "multiplicative", False),
    "additive": (1.0, "additive", True),
    "strong": (3.0, "additive", False),
    "blur alone": (0.0, "multiplicative", True),
}


@pytest.fixture(scope="module")
def views() -> tf.Tensor:
    """Noise; a part of the pixels black, white, pure colours or grays."""
    noise = tf.random.stateless_uniform((N, SIZE, SIZE, 3), (1, 2))
    choice = tf.random.stateless_uniform((N, SIZE, SIZE, 1), (3, 4))
    pure, gray = tf.round(noise), tf.repeat(noise[..., :1], 3, -1)
    return tf.where(choice < 0.2, pure, tf.where(choice < 0.4, gray, noise))


@pytest.fixture(scope="module")
def numbers() -> tf.Tensor:
    return tf.random.stateless_uniform((N, color.DISTORTION_DRAWS + blur.BLUR_DRAWS), (5, 6))


def _packed(numbers, strength, brightness, blurs):
    for_color = tf.unstack(numbers[..., : color.DISTORTION_DRAWS], axis=-1)
    for_blur = tf.unstack(numbers[..., color.DISTORTION_DRAWS :], axis=-1)
    return distortion.draw(for_color, for_blur if blurs else None, strength, brightness)


def _one_by_one(views, numbers, strength, brightness, blurs):
    def one(pair):
        view, draws = pair[0], tf.unstack(pair[1])
        view = color.distortion_from(view, strength, draws[: color.DISTORTION_DRAWS], brightness)
        size = blur.blur_kernel_size(SIZE)
        return blur.blur_from(view, draws[color.DISTORTION_DRAWS :], size) if blurs else view

    spec = tf.TensorSpec((SIZE, SIZE, 3))
    mapped = tf.function(lambda *pair: tf.map_fn(one, pair, fn_output_signature=spec))
    return mapped(views, numbers).numpy()


def _mapped(compiled_passes):
    def run(views, packed):
        spec = tf.TensorSpec((SIZE, SIZE, 3))
        return tf.map_fn(
            lambda pair: distortion.distort_image(*pair, compiled=compiled_passes),
            (views, packed), fn_output_signature=spec,
        )  # fmt: skip

    return run


FORMS = {
    "image": tf.function(_mapped(False)),
    "image, passes compiled": tf.function(_mapped(True)),
    "image, whole compiled": tf.function(_mapped(False), jit_compile=True),
    "batch": tf.function(distortion.distort_batch),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_all_forms_give_what_the_operations_give(settings, views, numbers):
    expected = _one_by_one(views, numbers, *settings)
    packed = _packed(numbers, *settings)
    assert np.abs(expected - views).max() > 0.3
    for name, form in FORMS.items():
        found = form(views, packed).numpy()
        assert np.abs(found - expected).max() < 0.01 * LEVEL, name
        assert found.min() >= 0 and found.max() <= 1 + 1e-6


@pytest.mark.parametrize("order", range(24))
def test_every_order_is_kept(order, views, numbers):
    """Against the four operations applied by hand in that order."""
    draws = np.array(numbers[order])
    draws[:3] = 0, 1, (order + 0.5) / 24  # jittered, not gray
    packed = _packed(tf.constant(draws), 1.0, "multiplicative", False)
    found = distortion.distort_image(views[order], packed)
    tone = 0.2 + 1.6 * draws[3:6]
    operations = (
        lambda x: color.adjust_brightness(x, tone[0], "multiplicative"),
        lambda x: color.adjust_contrast(x, tone[1]),
        lambda x: color.adjust_saturation(x, tone[2]),
        lambda x: color.adjust_hue(x, -0.2 + 0.4 * draws[6]),
    )
    expected = views[order]
    for number in color.ORDERS[order]:
        expected = operations[number](expected)
    np.testing.assert_allclose(found, expected, atol=0.01 * LEVEL)


def test_half_precision_in_between_stays_within_a_level(views, numbers):
    """What accelerators get: at worst a contrast and a brightness of 1.8 enlarge the rounding."""
    packed = _packed(numbers, 1.0, "multiplicative", True)
    rounded = distortion.distort_batch(tf.cast(views, tf.float16), packed)
    exact = distortion.distort_batch(views, packed)
    assert 0 < np.abs(rounded - exact).max() < LEVEL


def test_input_view_distorts_what_is_left_to_do(views, numbers):
    packed = _packed(numbers, 1.0, "multiplicative", False)
    batch = {"view_0": views, "view_1": views, "distortion_1": packed}
    np.testing.assert_array_equal(distortion.input_view(batch, 0), views)
    np.testing.assert_array_equal(
        distortion.input_view(batch, 1), distortion.distort_batch(views, packed)
    )
