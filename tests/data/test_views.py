"""Fast views against the policy's functions, for small and large images of any kind."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.augment import distortion, policy, seeds
from simclr_tf.config import AugmentConfig
from simclr_tf.data import views
from simclr_tf.data.decode import decode_image
from simclr_tf.errors import InputError
from simclr_tf.settings.view_text import parse_views

LEVEL = 1 / 255
CONFIGS = {
    "paper": AugmentConfig(),
    "cifar": AugmentConfig(color_jitter_strength=0.5, use_blur=False),
    "crop only": AugmentConfig(color_jitter_strength=0.0, use_blur=False, crop_area_min=0.3),
}


def _encoded(height: int, width: int, seed: int, file_format: str = "PNG") -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, file_format)
    return stream.getvalue()


@functools.cache
def _reference(image_size, augment, distorted):
    """The policy's function, traced once for all tests."""

    def one(image, seed):
        if distorted:
            return policy.pretrain_view(image, seed, image_size, augment)
        return policy.finetune_view(image, seed, image_size, augment.crop_area_min)

    return tf.function(one, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8),
                                             tf.TensorSpec((2,), tf.int64)])  # fmt: skip


def _expected(maker, images, all_seeds):
    traced = _reference(maker.image_size, maker.augment, maker.distorted)
    return [
        np.stack([traced(decode_image(image), seed[i]) for image, seed in zip(
            images, all_seeds, strict=True)])
        for i in range(maker.count)
    ]  # fmt: skip


def _batch(maker, images):
    """A batch of all images by way of tf.data, with another entry, and the seeds."""
    all_seeds = [seeds.example_seed(1, 2, i, tf.range(maker.count)) for i in range(len(images))]
    dataset = tf.data.Dataset.from_tensor_slices((images, tf.stack(all_seeds)))
    made = dataset.map(lambda image, seed: {**maker.of_image(image, seed), "label": seed[0, 1]})
    batch = next(iter(made.batch(len(images), drop_remainder=True).map(maker.of_batch)))
    np.testing.assert_array_equal(batch.pop("label"), [seed[0, 1] for seed in all_seeds])
    return batch, all_seeds


def _check(maker, images):
    batch, all_seeds = _batch(maker, images)
    expected = _expected(maker, images, all_seeds)
    assert set(batch) == {f"view_{i}" for i in range(maker.count)}
    for i, wanted in enumerate(expected):
        found = batch[f"view_{i}"]
        assert found.dtype == tf.float32 and found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 0.05 * LEVEL
    assert np.abs(expected[0] - expected[-1]).max() > 0.1 or maker.count == 1


@pytest.mark.parametrize(
    ("name", "compiled"),
    [("paper", True), ("paper", False), ("cifar", True), ("crop only", True), ("crop only", False)],
)
def test_small_images_of_one_shape(name, compiled):
    maker = views.PolicyViews(2, 32, CONFIGS[name], compiled=compiled).of_shape((24, 28))
    assert set(maker.of_image(_encoded(24, 28, 0), tf.zeros((2, 2), tf.int64))) == {
        "image", "seeds"}  # fmt: skip
    _check(maker, [_encoded(24, 28, i) for i in range(40)])


@pytest.mark.parametrize("compiled", [True, False])
def test_small_views_of_images_of_any_shape(compiled):
    shapes = [(8, 8), (40, 9), (1, 1), (70, 300), (3, 90)] * 3
    images = [_encoded(h, w, i, "JPEG" if i % 2 else "PNG") for i, (h, w) in enumerate(shapes)]
    _check(views.PolicyViews(2, 32, AugmentConfig(), compiled=compiled), images)


@pytest.mark.parametrize("compiled", [True, False])
def test_large_views(compiled):
    shapes = [(90, 120), (300, 200), (20, 30)] * 4
    images = [_encoded(h, w, i, "JPEG" if i % 2 else "PNG") for i, (h, w) in enumerate(shapes)]
    maker = views.PolicyViews(2, 96, AugmentConfig(), compiled=compiled).of_shape(None)
    _check(maker, images)


@pytest.mark.parametrize(("size", "shape"), [(16, (24, 28)), (16, None), (80, None)])
def test_views_for_fine_tuning(size, shape):
    maker = views.PolicyViews(1, size, AugmentConfig(), distorted=False).of_shape(shape)
    _check(maker, [_encoded(24, 28, i) for i in range(6)])


@pytest.mark.parametrize("distorted", [True, False])
@pytest.mark.parametrize(("size", "shape"), [(16, (24, 28)), (16, None), (80, None)])
def test_floats_give_the_views_of_bytes(size, shape, distorted):
    # Compiled where it takes no long time; distortions come after what the test is about.
    maker = views.PolicyViews(2, size, AugmentConfig(), distorted, compiled=not distorted)
    maker = maker.of_shape(shape)
    pixels = [decode_image(_encoded(24, 28, i)) for i in range(4)]
    of_bytes, _ = _batch(maker, pixels)
    of_floats, _ = _batch(maker, [tf.cast(one, tf.float32) / 255 for one in pixels])
    for name, found in of_floats.items():
        np.testing.assert_allclose(found, of_bytes[name], atol=0.05 * LEVEL)
        assert np.std(found) > 0.1


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [("paper", 32, (24, 28)), ("cifar", 32, None), ("paper", 96, None)],
)
def test_views_that_the_device_distorts(name, size, shape):
    """Half precision travels; the result stays within a level."""
    maker = views.PolicyViews(2, size, CONFIGS[name], on_device=True).of_shape(shape)
    images = [_encoded(24, 28, i) for i in range(12)]
    batch, all_seeds = _batch(maker, images)
    assert set(batch) == {"view_0", "view_1", "distortion_0", "distortion_1"}
    assert batch["view_0"].dtype == tf.float16
    for i, wanted in enumerate(_expected(maker, images, all_seeds)):
        assert np.abs(distortion.input_view(batch, i) - wanted).max() < LEVEL


def test_an_image_of_another_shape_than_declared_is_refused():
    maker = views.PolicyViews(2, 32, AugmentConfig()).of_shape((24, 28))
    with pytest.raises(tf.errors.InvalidArgumentError, match="24"):
        _batch(maker, [_encoded(24, 27, 0)])


def test_views_by_functions():
    maker = views.function_views((lambda image, seed: image[0, 0], lambda image, seed: seed))
    assert maker.of_shape((24, 28)) is maker and maker.count == 2
    encoded = _encoded(24, 28, 0)
    found = maker.of_image(encoded, tf.constant([[1, 2], [3, 4]], tf.int64))
    np.testing.assert_array_equal(found["view_0"], decode_image(encoded)[0, 0])
    np.testing.assert_array_equal(found["view_1"], [3, 4])
    assert maker.of_batch(found) is found


def test_without_xla_views_are_made_all_the_same(monkeypatch):
    def fail(*args, **options):
        raise tf.errors.UnimplementedError(None, None, "no XLA here")

    views.compiles.cache_clear()
    monkeypatch.setattr(views.tf, "function", lambda *args, **options: fail)
    assert not views.compiles()
    monkeypatch.undo()
    views.compiles.cache_clear()
    assert views.compiles()


# Views of the user's own.

POLICIES = {
    "crop flip color grayscale blur": AugmentConfig(),
    "crop(0.3,1) flip color(0.5,brightness=additive) grayscale":
        AugmentConfig(crop_area_min=0.3, color_jitter_strength=0.5, brightness="additive",
                      use_blur=False),
    "crop flip blur": AugmentConfig(color_jitter_strength=0.0),
    "crop(0.2,1) flip": AugmentConfig(crop_area_min=0.2, color_jitter_strength=0.0,
                                      use_blur=False),
}  # fmt: skip


@pytest.mark.parametrize("size", [16, 72])
@pytest.mark.parametrize("text", POLICIES)
def test_the_papers_policy_in_words_is_made_the_fast_way(text, size):
    own = views.ViewRecipe(AugmentConfig(views=text), size, 2, distorted=True)
    wanted = views.ViewRecipe(POLICIES[text], size, 2, distorted=True)
    assert own.maker() == wanted.maker() and isinstance(own.maker(), views.PolicyViews)
    assert own.own_views is None
    by_object = views.ViewRecipe(AugmentConfig(), size, 2, True, parse_views(text))
    assert by_object.maker() == wanted.maker()


@pytest.mark.parametrize(
    "text",
    ["crop", "flip crop", "crop flip color", "crop flip color grayscale(0.3)", "crop flip color(0)",
     "crop(0.1,0.9) flip", "crop flip(vertical)", "crop flip blur(0.4)", "crop flip color(p=0.7)",
     "crop flip | crop flip blur", "crop flip crop", "crop(aspect=(1,1)) flip"],
)  # fmt: skip
def test_all_else_is_made_as_it_is_written(text):
    recipe = views.ViewRecipe(AugmentConfig(views=text), 16, 2, distorted=True)
    assert recipe.own_views == parse_views(text)
    assert isinstance(recipe.maker(), views.ImageViews)


def test_own_views_from_encoded_images():
    recipe = views.ViewRecipe(AugmentConfig(views="solarize(0) | rot90"), 24, 2, distorted=True)
    images = [_encoded(24, 24, i) for i in range(3)]
    batch, all_seeds = _batch(recipe.maker(), images)
    pixels = np.stack([decode_image(image) for image in images]) / 255
    np.testing.assert_allclose(batch["view_0"], 1 - pixels, atol=1e-6)
    for i, seed in enumerate(all_seeds):
        wanted = recipe.of_image()(decode_image(images[i]), seed)[1]
        np.testing.assert_allclose(batch["view_1"][i], wanted, atol=1e-6)


def test_one_view_is_made_by_the_first_list():
    config = AugmentConfig(views="crop flip | rot90")
    assert isinstance(views.ViewRecipe(config, 16, 1, distorted=True).maker(), views.PolicyViews)
    other = views.ViewRecipe(AugmentConfig(views="rot90 | crop"), 16, 1, distorted=True)
    assert other.own_views == parse_views("rot90")


def test_fine_tuning_only_crops_and_flips():
    config = AugmentConfig(views="rot90 no.module:here", crop_area_min=0.4)
    recipe = views.ViewRecipe(config, 16, 1, distorted=False)
    recipe.check()
    assert isinstance(recipe.maker(), views.PolicyViews)
    assert recipe.maker().augment.crop_area_min == 0.4


def test_views_that_cannot_be_made_are_refused_beforehand():
    for name in ("no.module:here", f"{__name__}:_encoded"):
        recipe = views.ViewRecipe(AugmentConfig(views=f"crop {name}"), 16, 2, distorted=True)
        with pytest.raises(InputError) as caught:
            recipe.check()
        assert caught.value.name == name
