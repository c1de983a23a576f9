"""What the operations of `simclr_tf.views` do to images.

An operation is decided by its seed alone; that of a list is split into one for each of its
operations, in their order.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import tensorflow as tf

from simclr_tf.augment import blur, color, crop, images, seeds, studied
from simclr_tf.errors import InputError, require
from simclr_tf.settings import operations as ops
from simclr_tf.settings.view_text import Views

Make = Callable[[Any, tf.Tensor, tf.Tensor, int], tf.Tensor]  # operation, image, seed, size

# How errors of graphs that are running name a function; see `failed_function`.
_RETURNED = "The function {} of the views must return {}."
_FAILED = re.compile(r"The function (\S+) of the views must return ([^.]+)\.")


def views_of_image(
    views: Views, image_size: int
) -> Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]:
    """The function that makes the views of an image.

    Args:
        views: Which operations; names of functions are imported now.
        image_size: Side S of the views in pixels.

    Returns:
        From an image, (H, W, C), uint8, uint16 or floating in [0, 1], and seeds, int64 (V, 2), to V
        views, float32 (S, S, C) in [0, 1]. View i is made by list i of two.

    Raises:
        InputError: A function can't be imported. From what is returned: an operation needs other
            channels, or a function does not return what it should.
    """
    makers = [view_maker(steps, image_size) for steps in views.lists]

    def make(image: tf.Tensor, all_seeds: tf.Tensor) -> list[tf.Tensor]:
        return [
            makers[i % len(makers)](image, seed) for i, seed in enumerate(tf.unstack(all_seeds))
        ]

    return make


def view_maker(
    steps: Sequence[ops.Step], image_size: int
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The function from an image and a seed, int64 (2,), to a view; see `views_of_image`.

    An image whose list has no crop is brought to the size of the view first: its central square,
    resized bicubically. A crop that is only applied by chance does not count, as it can't be relied
    on: it crops the view.
    """
    loaded = [_loaded(step) for step in ops.as_operations(steps)]
    cropping = [step for step in loaded if ops.crop in map(type, ops.parts(step))]
    crops = bool(cropping) and isinstance(cropping[0], ops.crop)

    # User functions are converted by AutoGraph, this is not: its errors stay as they are.
    @tf.autograph.experimental.do_not_convert
    def make(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        image = images.unit_range(images.check_image(image, channels=None))
        channels = image.shape[-1]
        require(channels is not None, "image", "must have a known number of channels", image.shape)
        if not crops:
            image = images.clip(crop.center_crop(image, image_size, 1.0))
        for step, own_seed in zip(loaded, seeds.split(seed, len(loaded)), strict=True):
            image = _apply(step, image, own_seed, image_size)
        return tf.ensure_shape(images.clip(image), (image_size, image_size, channels))

    return make


def failed_function(error: Exception) -> InputError | None:
    """What a function of the user's did wrong, if that is why a graph failed."""
    found = _FAILED.search(str(error))
    if found is None:
        return None
    received = "NaN or infinity" if "finite" in found[2] else "another shape"
    return InputError(found[1], f"must return {found[2]}", received)


def _loaded(step: ops.Operation) -> ops.Operation:
    """The operation with its functions imported."""
    if isinstance(step, ops.own):
        return step.loaded()
    if isinstance(step, ops.random_apply):
        return ops.random_apply(_loaded(step.operation), step.p)
    if isinstance(step, ops.one_of):
        return ops.one_of(*map(_loaded, step.operations))
    return step


def _apply(step: ops.Operation, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    """The result of an operation on an image, float32 (H, W, C) in [0, 1]."""
    return _MAKE[type(step)](step, image, seed, size)


def _with_probability(
    coin: tf.Tensor, p: float, image: tf.Tensor, change: Callable[[], tf.Tensor]
) -> tf.Tensor:
    return tf.cond(coin < p, change, lambda: tf.identity(image))


def _need_colors(step: ops.Operation, image: tf.Tensor) -> None:
    require(image.shape[-1] == 3, step.name, "must be used on images of 3 channels, red, green and "
            "blue", image.shape[-1])  # fmt: skip


def _crop(step: ops.crop, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    draws = seeds.uniforms(seed, crop.CROP_DRAWS)
    return crop.resized_crop_from(image, size, draws, *step.area, step.aspect)


def _flip(step: ops.flip, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    across, down = seeds.uniforms(seed, 2)
    if step.horizontal:
        image = crop.flip_from(image, [across])
    return crop.flip_from(image, [down], axis=-3) if step.vertical else image


def _color(step: ops.color, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    _need_colors(step, image)
    coin, *draws = seeds.uniforms(seed, 1 + color.JITTER_DRAWS)
    return _with_probability(coin, step.p, image, lambda: color.jitter_from(
        image, step.strength, draws, step.brightness))  # fmt: skip


def _grayscale(step: ops.grayscale, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    _need_colors(step, image)
    (coin,) = seeds.uniforms(seed, 1)
    return _with_probability(coin, step.p, image, lambda: color.to_grayscale(image))


def _blur(step: ops.blur, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    draws = seeds.uniforms(seed, blur.BLUR_DRAWS)
    return blur.blur_from(image, draws, blur.blur_kernel_size(size), step.p, step.sigma)


def _tone(step: ops.tone, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    coin, order, *draws = seeds.uniforms(seed, 4)
    reach = color.TONE_RANGE * step.strength
    by, factor = (seeds.between(draw, max(1 - reach, 0.0), 1 + reach) for draw in draws)

    def brighter(image: tf.Tensor) -> tf.Tensor:
        return color.adjust_brightness(image, by, "multiplicative")

    def change() -> tf.Tensor:
        return tf.cond(
            order < 0.5,
            lambda: color.adjust_contrast(brighter(image), factor),
            lambda: brighter(color.adjust_contrast(image, factor)),
        )

    return _with_probability(coin, step.p, image, change)


def _rot90(step: ops.rot90, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    turns = seeds.below(seeds.uniforms(seed, 1)[0], 4)
    height, width = image.shape[:2]
    if height is not None and height == width:
        return studied.rotate(image, turns)
    turned = tf.image.rot90(image, turns)
    return tf.ensure_shape(turned, (None, None, image.shape[-1]))


def _rotate(step: ops.rotate, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    angle = seeds.between(seeds.uniforms(seed, 1)[0], -step.degrees, step.degrees)
    return studied.rotate_by(image, angle)


def _noise(step: ops.noise, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    return studied.gaussian_noise(image, seed, step.stddev)


def _cutout(step: ops.cutout, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    return studied.cutout(image, seeds.uniforms(seed, studied.CUTOUT_DRAWS), step.side)


def _solarize(step: ops.solarize, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    return studied.solarize(image, step.threshold)


def _equalize(step: ops.equalize, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    return studied.equalize(image)


def _sobel(step: ops.sobel, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    return studied.sobel(image)


def _motion_blur(step: ops.motion_blur, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    draws = seeds.uniforms(seed, studied.MOTION_BLUR_DRAWS)
    return studied.motion_blur(image, draws, blur.blur_kernel_size(size))


def _random_apply(
    step: ops.random_apply, image: tf.Tensor, seed: tf.Tensor, size: int
) -> tf.Tensor:
    for_coin, for_step = seeds.split(seed, 2)
    return _with_probability(seeds.uniforms(for_coin, 1)[0], step.p, image, lambda: _apply(
        step.operation, image, for_step, size))  # fmt: skip


def _one_of(step: ops.one_of, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    for_choice, for_step = seeds.split(seed, 2)
    chosen = seeds.below(seeds.uniforms(for_choice, 1)[0], len(step.operations))
    branches = [
        functools.partial(lambda one: tf.identity(_apply(one, image, for_step, size)), one)
        for one in step.operations
    ]
    return tf.switch_case(chosen, branches)


def _own(step: ops.own, image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    function, name = cast(Callable[..., Any], step.function), step.text
    arguments = (image, seed) if step.takes_seed else (image,)
    try:
        made = tf.convert_to_tensor(_traced(function)(*arguments))
    except Exception as error:  # whatever the function does
        *_, last = "", *str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {last.strip()}"
        raise InputError(name, "must be a function that TensorFlow can trace, from an image to an "
                         "image", reason) from error  # fmt: skip
    require(made.dtype == tf.float32, name, "must return float32, as it was given", made.dtype.name)
    fits = made.shape.rank in (None, 3) and made.shape.is_compatible_with(image.shape)
    require(fits, name, f"must return an image of the shape it was given, {_shape(image)}",
            _shape(made))  # fmt: skip
    checks = [] if made.shape.is_fully_defined() else [tf.debugging.assert_equal(
        tf.shape(made), tf.shape(image), _RETURNED.format(name, "an image of the given shape")
    )]  # fmt: skip
    with tf.control_dependencies([check for check in checks if check is not None]):
        made = tf.debugging.check_numerics(
            tf.ensure_shape(tf.identity(made), image.shape), _RETURNED.format(name, "finite values")
        )
    return images.clip(made)


@functools.cache
def _traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """With Python's loops and conditions on tensors."""
    return tf.function(function)


def _shape(image: tf.Tensor) -> str:
    return f"({', '.join('?' if one is None else str(one) for one in image.shape)})"


_MAKE: dict[type[ops.Operation], Make] = {
    ops.crop: _crop,
    ops.flip: _flip,
    ops.color: _color,
    ops.grayscale: _grayscale,
    ops.blur: _blur,
    ops.tone: _tone,
    ops.rot90: _rot90,
    ops.rotate: _rotate,
    ops.noise: _noise,
    ops.cutout: _cutout,
    ops.solarize: _solarize,
    ops.equalize: _equalize,
    ops.sobel: _sobel,
    ops.motion_blur: _motion_blur,
    ops.random_apply: _random_apply,
    ops.one_of: _one_of,
    ops.own: _own,
}
