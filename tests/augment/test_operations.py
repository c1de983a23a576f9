"""What operations do to images, against NumPy, Pillow and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from scipy import ndimage

from simclr_tf import views
from simclr_tf.augment import color, crop, operations, seeds, studied
from simclr_tf.errors import InputError
from simclr_tf.settings.operations import OPERATIONS

SIZE = 24
EACH = [kind() for name, kind in OPERATIONS.items() if name not in ("random_apply", "one_of")] + [
    views.random_apply(views.rot90(), 0.5),
    views.one_of(views.solarize(), views.random_apply(views.crop()), lambda image: image * 0.5),
]
COLORED = (views.color, views.grayscale)


def image_of(channels=3, height=30, width=26, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).random((height, width, channels))
    if dtype == np.float32:
        return values.astype(np.float32)
    return np.round(values * np.iinfo(dtype).max).astype(dtype)


def seed_of(number):
    return seeds.example_seed(1, 2, number, 0)


def once(steps, image, size=None, seed=0):
    """The view that a list makes; of an image of its size the operations see it as it is."""
    size = len(image) if size is None else size
    return operations.view_maker(list(steps), size)(image, seed_of(seed)).numpy()


def several(steps, image, count=64, size=None):
    """Views of many seeds, traced once."""
    make = tf.function(operations.view_maker(list(steps), size or len(image)), autograph=False)
    return np.stack([make(tf.constant(image), seed_of(i)) for i in range(count)])


@pytest.mark.parametrize("step", EACH, ids=lambda one: one.text)
def test_every_operation_on_any_channels(step):
    """The same in a data set of images of unknown size as one by one; decided by the seed."""
    channels = 3 if isinstance(step, COLORED) else 5
    make = operations.views_of_image(views.Views([step, views.crop()]), SIZE)
    images = [image_of(channels, height, 30, np.uint16) for height in (25, 40)]
    all_seeds = seeds.example_seed(1, 0, 5, tf.range(2))
    dataset = tf.data.Dataset.from_generator(
        lambda: images, output_signature=tf.TensorSpec((None, None, channels), tf.uint16)
    )
    mapped = dataset.map(lambda image: make(image, all_seeds))
    made, again = (list(mapped.as_numpy_iterator()) for _ in range(2))
    for image, found, repeated in zip(images, made, again, strict=True):
        assert len(found) == 2
        for view, wanted, once_more in zip(found, make(image, all_seeds), repeated, strict=True):
            assert view.shape == (SIZE, SIZE, channels) and view.dtype == np.float32
            assert view.min() >= 0 and view.max() <= 1
            np.testing.assert_allclose(view, wanted, atol=1e-4)
            np.testing.assert_array_equal(view, once_more)


@pytest.mark.parametrize("step", COLORED)
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_colors_need_three_channels(step, channels):
    with pytest.raises(InputError, match="must be used on images of 3 channels") as caught:
        once([views.one_of(views.blur(), step())], image_of(channels))
    assert caught.value.name == step.__name__ and caught.value.received == channels


def test_a_crop_is_decided_by_its_place_in_the_list():
    """Two crops of one list are drawn apart."""
    image = image_of(3, 60, 60)
    (first, _), found = seeds.split(seed_of(0), 2), once([views.crop(), views.crop()], image)
    inner = crop.random_resized_crop(image, 60, first)
    wanted = crop.random_resized_crop(inner, 60, seeds.split(seed_of(0), 2)[1])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_without_a_crop_the_central_square_is_resized(dtype):
    image = image_of(5, 30, 44, dtype)
    found = once([views.solarize(1)], image, size=15)
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    square = image[:, 7:37] / np.float32(scale)
    wanted = tf.image.resize(square, (15, 15), method="bicubic").numpy().clip(0, 1)
    wanted = np.where(wanted >= 1, 1 - wanted, wanted)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_stands_before_a_crop_sees_the_whole_image():
    def shapes_around(step):
        shapes = {}

        def before(image):
            shapes["before"] = tuple(image.shape)
            return image

        def after(image):
            shapes["after"] = tuple(image.shape)
            return image

        once([before, step, after], image_of(3, 30, 44), size=16)
        return shapes

    assert shapes_around(views.crop()) == {"before": (30, 44, 3), "after": (16, 16, 3)}
    by_chance = shapes_around(views.random_apply(views.crop()))
    assert by_chance == {"before": (16, 16, 3), "after": (16, 16, 3)}


def test_crops_are_those_of_the_policy_with_ranges_of_their_own():
    image, steps = image_of(4, 50, 70), [views.crop((0.3, 0.4), (1, 1))]
    for i in range(5):
        (own,) = seeds.split(seed_of(i), 1)
        y, x, h, w = crop.random_crop_box(50, 70, own, (0.3, 0.4), (1, 1))
        assert 0.27 < float(h * w) / 3500 < 0.43 and abs(float(w / h) - 1.4) < 0.06
        box = image[y : y + h, x : x + w]
        wanted = tf.image.resize(box, (20, 20), method="bicubic").numpy().clip(0, 1)
        np.testing.assert_allclose(once(steps, image, 20, i), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("step", "kinds"),
    [
        (views.flip(), {"": 0.5, "h": 0.5}),
        (views.flip(False, True), {"": 0.5, "v": 0.5}),
        (views.flip(True, True), {"": 0.25, "h": 0.25, "v": 0.25, "hv": 0.25}),
        (views.rot90(), {"": 0.25, "r": 0.25, "rr": 0.25, "rrr": 0.25}),
        (views.random_apply(views.flip(), 0.4), {"": 0.8, "h": 0.2}),
        (views.one_of(lambda i: i, lambda i: i[::-1]), {"": 0.5, "v": 0.5}),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_pixels_that_are_only_moved(step, kinds):
    image = image_of(2, 6, 6)
    moves = {"h": lambda a: a[:, ::-1], "v": lambda a: a[::-1], "r": np.rot90}
    counts = dict.fromkeys(kinds, 0)
    for found in several([step], image, 400):
        for name in kinds:
            wanted = image
            for move in name:
                wanted = moves[move](wanted)
            counts[name] += bool(np.array_equal(found, wanted))
    assert sum(counts.values()) == 400
    for name, share in kinds.items():
        assert abs(counts[name] - 400 * share) < 4 * math.sqrt(400 * share * (1 - share)), counts


@pytest.mark.parametrize("degrees", [0, 17, -100, 180])
def test_rotations_by_any_angle(degrees):
    """Against SciPy: the coordinates, turned counter-clockwise, bilinear, mirrored outside."""
    image = image_of(2, 21, 16)
    angle = math.radians(degrees)
    y, x = np.mgrid[:21, :16].astype(np.float64)
    dy, dx = y - 10, x - 7.5
    at = [math.sin(angle) * dx + math.cos(angle) * dy + 10,
          math.cos(angle) * dx - math.sin(angle) * dy + 7.5]  # fmt: skip
    wanted = np.stack([ndimage.map_coordinates(image[..., c].astype(np.float64), at, order=1,
                                               mode="reflect") for c in range(2)], -1)  # fmt: skip
    np.testing.assert_allclose(studied.rotate_by(image, float(degrees)), wanted, atol=1e-4)


def test_the_direction_of_a_rotation():
    image = image_of(3, 9, 9)
    np.testing.assert_allclose(studied.rotate_by(image, 90.0), np.rot90(image), atol=1e-5)


def test_angles_are_uniform(uniformity):
    found = []
    for i in range(150):
        (own,) = seeds.split(seed_of(i), 1)
        found.append(float(seeds.between(seeds.uniforms(own, 1)[0], -30.0, 30.0)))
    uniformity(found, -30, 30)
    turned = once([views.rotate(30)], image_of(1, 12, 12), seed=7)
    wanted = studied.rotate_by(image_of(1, 12, 12), found[7])
    np.testing.assert_allclose(turned, wanted, atol=1e-6)


def test_colors_are_those_of_the_paper_with_a_probability():
    image, step = image_of(3, SIZE, SIZE), views.color(0.7, p=0.3, brightness="additive")
    changed = 0
    for i in range(40):
        (own,) = seeds.split(seed_of(i), 1)
        coin, *draws = seeds.uniforms(own, 6)
        wanted = color.jitter_from(image, 0.7, draws, "additive") if coin < 0.3 else image
        np.testing.assert_allclose(once([step], image, seed=i), wanted, atol=1e-6)
        changed += bool(coin < 0.3)
    assert 4 < changed < 22


def test_grayscale_is_the_luma():
    image = image_of(3, 8, 8)
    luma = (image @ np.array([0.2989, 0.587, 0.114], np.float32))[..., None].repeat(3, -1)
    found = several([views.grayscale(0.5)], image)
    gray = [np.allclose(one, luma, atol=1e-5) for one in found]
    assert 18 < sum(gray) < 46
    assert all(same or np.array_equal(one, image) for one, same in zip(found, gray, strict=True))


def test_tone_is_brightness_and_contrast_in_either_order():
    image, limits, orders = image_of(6, SIZE, SIZE), (0.6, 1.4), set()

    def contrast(values, factor):
        mean = values.mean(axis=(0, 1), keepdims=True, dtype=np.float64)
        return np.clip((values - mean) * factor + mean, 0, 1)

    for i in range(24):
        (own,) = seeds.split(seed_of(i), 1)
        coin, order, *draws = (float(one) for one in seeds.uniforms(own, 4))
        by, factor = (limits[0] + draw * (limits[1] - limits[0]) for draw in draws)
        found = once([views.tone(0.5, p=0.9)], image, seed=i)
        if coin >= 0.9:
            np.testing.assert_array_equal(found, image)
            continue
        first = contrast(np.clip(image * by, 0, 1), factor)
        last = np.clip(contrast(image, factor) * by, 0, 1)
        np.testing.assert_allclose(found, first if order < 0.5 else last, atol=1e-5)
        if np.abs(first - last).max() > 1e-3:
            orders.add(order < 0.5)
    assert orders == {True, False}


def test_blur_is_a_gaussian_of_the_given_widths():
    image = image_of(5, 40, 40)
    found = several([views.blur(p=0.7, sigma=(1, 1))], image, 40)
    taps = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    wanted = image.astype(np.float64)
    for axis in (0, 1):
        wanted = ndimage.correlate1d(wanted, taps / taps.sum(), axis=axis, mode="constant")
    blurred = [np.allclose(one, wanted, atol=1e-5) for one in found]
    assert 18 < sum(blurred) < 38
    assert all(same or np.array_equal(one, image) for one, same in zip(found, blurred, strict=True))
    few, many = (several([views.blur(1, sigma)], image, 4) for sigma in ((0.3, 0.4), (3, 4)))
    assert few.std() > 1.5 * many.std()


def test_noise_has_its_deviation():
    image = np.full((64, 64, 4), 0.5, np.float32)
    found = once([views.noise(0.05)], image) - 0.5
    assert abs(found.std() - 0.05) < 0.002 and abs(found.mean()) < 0.003
    assert not np.array_equal(found[..., 0], found[..., 1])


def test_cutout_blackens_a_square_of_its_side():
    image = np.ones((40, 40, 5), np.float32)
    holes = []
    for found in several([views.cutout(0.3)], image):
        black = found == 0
        assert black.all(axis=-1).sum() == black.any(axis=-1).sum()
        rows, columns = np.nonzero(black[..., 0])
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width and max(height, width) <= 12
        holes.append((height, width))
    assert (12, 12) in holes and len(set(holes)) > 3


def test_solarize_and_equalize_are_pillows():
    image = image_of(3, 20, 20, np.uint8)
    pillow = Image.fromarray(image)
    found = once([views.solarize(0.3)], image)
    np.testing.assert_allclose(
        found * 255, np.asarray(ImageOps.solarize(pillow, 77)), atol=1e-3
    )  # 0.3 is 76.5
    narrow = image // 4 + 60
    found = once([views.equalize()], narrow)
    wanted = np.asarray(ImageOps.equalize(Image.fromarray(narrow)))
    np.testing.assert_allclose(found * 255, wanted, atol=1e-3)
    alone = once([views.equalize()], narrow[..., :1])
    np.testing.assert_array_equal(alone[..., 0], found[..., 0])


@pytest.mark.parametrize("step", [views.sobel(), views.motion_blur()])
def test_channels_are_computed_apart(step):
    image = image_of(5, 40, 40)
    found = once([step], image)
    np.testing.assert_allclose(once([step], image[..., 1:4]), found[..., 1:4], atol=1e-6)
    assert np.abs(found - image).max() > 0.1


def test_two_lists_make_the_two_views():
    image = image_of(3, SIZE, SIZE)
    make = operations.views_of_image(views.Views([views.solarize(0)], [views.solarize(1)]), SIZE)
    first, second = make(image, seeds.example_seed(1, 0, 5, tf.range(2)))
    np.testing.assert_allclose(first, 1 - image, atol=1e-6)
    np.testing.assert_array_equal(second, image)


# Functions of the user's.


def noisy(image, seed):
    return image + 0.1 * tf.random.stateless_uniform(image.shape, seed)


def with_python_branches(image):
    if tf.reduce_mean(image) > 0.5:
        return image
    return 1.0 - image


def too_small(image):
    return image[:-1]


def too_small_in_the_graph(image):
    return image[: tf.shape(image)[0] - 1]


def of_bytes(image):
    return tf.cast(image * 255, tf.uint8)


def gray(image):
    return image[..., 0]


def nothing(image):
    return None


def divided(image):
    return image / (image * 0)


def failing(image):
    raise KeyError("no stain")


def test_functions_get_seeds_and_are_traced():
    image = image_of(3, SIZE, SIZE) * 0.5
    (own,) = seeds.split(seed_of(3), 1)
    wanted = image + 0.1 * tf.random.stateless_uniform(image.shape, own)
    np.testing.assert_allclose(once([noisy], image, seed=3), wanted, atol=1e-6)
    np.testing.assert_allclose(once([with_python_branches], image), 1 - image, atol=1e-6)
    np.testing.assert_array_equal(once([lambda image: image - 2], image), 0 * image)
    by_name = once([views.own(f"{__name__}:noisy")], image, seed=3)
    np.testing.assert_array_equal(by_name, once([noisy], image, seed=3))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (too_small, "must return an image of the shape it was given, (24, 24, 3). Received: '(23,"),
        (of_bytes, "must return float32, as it was given. Received: 'uint8'"),
        (gray, "must return an image of the shape it was given, (24, 24, 3)"),
        (nothing, "must be a function that TensorFlow can trace"),
        (failing, "KeyError: 'no stain'"),
    ],
)
def test_functions_that_return_something_else_are_named_when_traced(function, says):
    make = operations.view_maker([views.random_apply(function)], SIZE)
    spec = tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.int64)
    with pytest.raises(InputError) as caught:
        tf.function(make, autograph=False).get_concrete_function(*spec)
    assert caught.value.name == f"{__name__}:{function.__name__}"
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (divided, "must return finite values. Received: 'NaN or infinity'"),
        (too_small_in_the_graph, "must return an image of the given shape"),
    ],
)
def test_functions_that_return_something_else_are_named_at_work(function, says):
    make = operations.view_maker([function, views.crop()], SIZE)
    dataset = tf.data.Dataset.from_generator(
        lambda: [image_of()], output_signature=tf.TensorSpec((None, None, 3), tf.float32)
    ).map(lambda image: make(image, tf.constant([1, 2], tf.int64)))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        next(iter(dataset))
    name = f"{__name__}:{function.__name__}"
    assert f"The function {name} of the views must return" in str(caught.value)
    found = operations.failed_function(caught.value)
    assert found.name == name and says in str(found)
    assert operations.failed_function(ValueError("else")) is None
