"""AutoAugment's policy for ImageNet (Cubuk et al., arXiv 1805.09501, Table 9), as in Table 1.

One of 25 pairs of operations is drawn for an image; each operation of the pair is applied with its
probability, at one of ten strengths, those with two directions in a random one. Operations are
those of the Python Imaging Library on 256 levels. Turned and sheared images take the nearest pixel
and are filled with grey, AutoAugment's (128, 128, 128).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from simclr_tf.augment import images, seeds, studied

DRAWS = 5  # the pair; of each operation: whether, and in which direction
_FILL = 128.0 / 255.0
_LUMA = (0.299, 0.587, 0.114)

# (operation, probability, strength 0 to 9) twice; None: it has no strength.
POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
    (("equalize", 0.8, None), ("equalize", 0.6, None)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, None), ("solarize", 0.2, 4)),
    (("equalize", 0.4, None), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, None)),
    (("posterize", 0.8, 5), ("equalize", 1.0, None)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, None), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, None)),
    (("equalize", 0.0, None), ("equalize", 0.8, None)),
    (("invert", 0.6, None), ("equalize", 1.0, None)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, None)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, None)),
    (("color", 0.4, 0), ("equalize", 0.6, None)),
    (("equalize", 0.4, None), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
    (("invert", 0.6, None), ("equalize", 1.0, None)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, None), ("equalize", 0.6, None)),
)


def autoaugment(image: tf.Tensor, draws: Sequence[tf.Tensor]) -> tf.Tensor:
    """Applies one pair of the policy.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        draws: `DRAWS` numbers uniform in [0, 1).

    Returns:
        float32 (H, W, 3) in [0, 1].
    """
    pair, *rest = draws
    image = images.check_image(image)
    branches = [
        lambda first=first, second=second: _apply(
            _apply(image, first, *rest[:2]), second, *rest[2:]
        )
        for first, second in POLICY
    ]
    chosen = tf.switch_case(seeds.below(pair, len(POLICY)), branches)
    return tf.ensure_shape(images.clip(chosen), image.shape)


def _apply(
    image: tf.Tensor,
    operation: tuple[str, float, int | None],
    whether: tf.Tensor,
    direction: tf.Tensor,
) -> tf.Tensor:
    name, probability, strength = operation
    sign = tf.where(direction < 0.5, -1.0, 1.0)
    changed = _OPERATIONS[name](image, strength or 0, sign)
    return tf.where(whether < probability, changed, image)


def _posterize(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    dropped = round(strength * 4 / 9)  # of 8 bits
    levels = images.to_levels(image)
    return images.from_levels(tf.bitwise.left_shift(
        tf.bitwise.right_shift(levels, dropped), dropped))  # fmt: skip


def _solarize(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    return studied.solarize(image, 1.0 - strength / 9)


def _autocontrast(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    """Stretches every channel over [0, 1]; one of a single level stays."""
    low = tf.reduce_min(image, axis=(0, 1))  # (3,)
    span = tf.reduce_max(image, axis=(0, 1)) - low
    return tf.where(span > 0, tf.math.divide_no_nan(image - low, span), image)


def _equalize(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    return studied.equalize(image)


def _invert(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    return 1.0 - image


def _away_from(other: tf.Tensor, image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    """Moves the image towards (sign -1) or away from another by 0.1 per strength."""
    return images.clip(other + (1.0 + 0.1 * strength * sign) * (image - other))


def _gray(image: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(image * _LUMA, axis=-1, keepdims=True)  # (H, W, 1)


def _color(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    return _away_from(_gray(image), image, strength, sign)


def _contrast(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    return _away_from(tf.reduce_mean(_gray(image)), image, strength, sign)


def _sharpness(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    """Away from the image smoothed by 3 x 3 pixels, the middle one counted five times."""
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13
    kernels = tf.tile(kernel[:, :, None, None], [1, 1, 3, 1])  # (3, 3, 3, 1)
    smooth = tf.nn.depthwise_conv2d(image[None], kernels, [1, 1, 1, 1], "VALID")[0]
    padding = [[1, 1], [1, 1], [0, 0]]
    inside = tf.pad(tf.ones_like(smooth), padding) > 0  # the border stays as it is
    return _away_from(tf.where(inside, tf.pad(smooth, padding), image), image, strength, sign)


def _rotate(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    """Turns by up to 30 degrees about the middle."""
    angle = sign * math.radians(30) * strength / 9
    sin, cos = tf.sin(angle), tf.cos(angle)
    height, width = tf.unstack(tf.cast(images.lengths(image) - 1, tf.float32))
    x = (width - (cos * width - sin * height)) / 2
    y = (height - (sin * width + cos * height)) / 2
    zero = tf.zeros([])
    return _transformed(image, tf.stack([cos, -sin, x, sin, cos, y, zero, zero]))


def _shear_x(image: tf.Tensor, strength: int, sign: tf.Tensor) -> tf.Tensor:
    """Shifts row y by up to 0.3 y pixels, counted from the upper edge to the row's middle."""
    one, zero = tf.ones([]), tf.zeros([])
    shear = sign * 0.3 * strength / 9
    return _transformed(image, tf.stack([one, shear, shear / 2, zero, one, zero, zero, zero]))


def _transformed(image: tf.Tensor, transform: tf.Tensor) -> tf.Tensor:
    """Pixel (x, y) becomes that at (a x + b y + c, d x + e y + f); (8,) holds a to f and zeros."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform[None],
        output_shape=images.lengths(image),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
        fill_value=_FILL,
    )[0]


_OPERATIONS: dict[str, Callable[[tf.Tensor, int, tf.Tensor], tf.Tensor]] = {
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "invert": _invert,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "rotate": _rotate,
    "shear_x": _shear_x,
}
