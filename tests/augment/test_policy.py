"""Policies: shapes and ranges, statelessness, and the same views eagerly, traced and mapped."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import crop, policy, seeds
from simclr_tf.config import AugmentConfig
from simclr_tf.errors import InputError

CONFIGS = {
    "paper": AugmentConfig(),
    "cifar": AugmentConfig(color_jitter_strength=0.5, use_blur=False),
    "additive": AugmentConfig(brightness="additive", crop_area_min=0.3),
    "crop only": AugmentConfig(color_jitter_strength=0.0, use_blur=False),
}


def _seed(index, seed: int = 0, epoch: int = 0, view: int = 0) -> tf.Tensor:
    return seeds.example_seed(seed, epoch, index, view)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_eager_traced_and_mapped_views_are_equal(config, random_image):
    image = random_image(25, 35)

    def view(index):
        return policy.pretrain_view(image, _seed(index), 24, config)

    eager = np.array([view(index) for index in range(12)])
    traced = tf.function(view, input_signature=[tf.TensorSpec((), tf.int64)])
    mapped = tf.data.Dataset.range(12).map(view, num_parallel_calls=2)
    np.testing.assert_allclose([traced(index) for index in range(12)], eager, atol=1e-6)
    np.testing.assert_allclose(list(mapped.as_numpy_iterator()), eager, atol=1e-6)
    assert eager.min() >= 0 and eager.max() <= 1 and eager.dtype == np.float32


def test_views_depend_on_all_four_numbers_and_on_nothing_else(random_image):
    image, config = random_image(), AugmentConfig()

    def view(*numbers):
        return policy.pretrain_view(image, seeds.example_seed(*numbers), 16, config).numpy()

    first = view(3, 1, 77, 0)
    tf.random.set_seed(99)
    np.testing.assert_array_equal(view(3, 1, 77, 0), first)
    for other in ((4, 1, 77, 0), (3, 2, 77, 0), (3, 1, 78, 0), (3, 1, 77, 1)):
        assert np.abs(view(*other) - first).max() > 0.01, other


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (9, 70)])
def test_views_of_extreme_images(shape, random_image):
    as_bytes = np.round(random_image(*shape) * 255).astype(np.uint8)
    for make in (
        lambda image: policy.pretrain_view(image, _seed(5), 20, AugmentConfig()),
        lambda image: policy.finetune_view(image, _seed(5), 20, 0.08),
        lambda image: policy.eval_view(image, 20),
        lambda image: policy.eval_view(image, 40),
    ):
        view, from_float = make(as_bytes).numpy(), make(as_bytes / 255).numpy()
        assert view.shape in ((20, 20, 3), (40, 40, 3)) and np.isfinite(view).all()
        assert view.min() >= 0 and view.max() <= 1
        np.testing.assert_allclose(view, from_float, atol=1e-4)


def test_unknown_shapes_get_a_static_one():
    specs = [tf.TensorSpec(None, tf.uint8), tf.TensorSpec((None, None, 3), tf.uint8)]
    for spec in specs:
        for make in (
            lambda image: policy.pretrain_view(image, _seed(1), 32, AugmentConfig()),
            lambda image: policy.finetune_view(image, _seed(1), 32, 0.08),
            lambda image: policy.eval_view(image, 32),
            lambda image: policy.eval_view(image, 48),
        ):
            traced = tf.function(make, input_signature=[spec]).get_concrete_function()
            assert traced.output_shapes.is_fully_defined()
            image = tf.fill((10, 12, 3), tf.constant(255, tf.uint8))
            assert traced(image).shape == traced.output_shapes


def test_blur_and_color_are_switched_by_the_config(random_image):
    """With both off a view is a crop, mirrored or not."""
    image, config = random_image(), CONFIGS["crop only"]
    mirrored = []
    for index in range(20):
        view = policy.pretrain_view(image, _seed(index), 8, config)
        draws = seeds.uniforms(_seed(index), 14)
        plain = crop.resized_crop_from(image, 8, draws[:4], config.crop_area_min).numpy()
        mirrored.append(float(draws[4]) < 0.5)
        np.testing.assert_allclose(view, plain[:, ::-1] if mirrored[-1] else plain, atol=1e-6)
    assert any(mirrored) and not all(mirrored)


RAMP = np.linspace(0.2, 0.3, 20)[:, None] * np.float32([1.0, 0.8, 0.6])  # (20, 3), of one hue


@pytest.fixture(scope="module")
def ramps() -> np.ndarray:
    """The paper's views of an image whose rows are all `RAMP`, uncropped: (16, 20, 20, 3)."""
    image = np.broadcast_to(RAMP, (20, 20, 3)).astype(np.float32)
    config = AugmentConfig(crop_area_min=1.0)
    return np.array([policy.pretrain_view(image, _seed(i), 20, config) for i in range(7, 23)])


def test_the_blur_comes_last(ramps):
    """It darkens the upper edge by one factor all along; what follows it would change that."""
    shares = ramps[:, 0] / ramps[:, 10]  # (16, 20, 3)
    blurred = shares[shares.min((1, 2)) < 0.99]
    assert len(blurred) > 4
    np.testing.assert_allclose(
        blurred, np.broadcast_to(blurred[:, :1, :1], blurred.shape), rtol=1e-3
    )


def test_whether_a_view_is_flipped_jittered_gray_or_blurred_are_four_coins(ramps):
    """Any two of them fall in all four ways."""
    gray = np.ptp(ramps, axis=-1).max((1, 2)) < 1e-6
    middle = RAMP[9:11].mean(0)
    unchanged = np.where(gray[:, None], middle @ [0.2989, 0.5870, 0.1140], middle)
    coins = {
        "flipped": ramps[:, 10, 1].sum(-1) > ramps[:, 10, 18].sum(-1),
        "jittered": np.abs(ramps[:, 10, 9:11].mean(1) - unchanged).max(-1) > 1e-4,
        "gray": gray,
        "blurred": (ramps[:, 0] / ramps[:, 10]).min((1, 2)) < 1 - 1e-4,
    }
    for one, other in itertools.combinations(coins, 2):
        found = set(zip(coins[one].tolist(), coins[other].tolist(), strict=True))
        assert len(found) == 4, (one, other, found)


def test_finetune_views_are_crops_from_8_percent_unless_told_otherwise(random_image):
    image = random_image(60, 80)
    views = [
        np.array([policy.finetune_view(image, _seed(index), 12, *area) for index in range(4)])
        for area in ((), (0.08,), (0.12,))
    ]
    np.testing.assert_array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_finetune_views_have_no_color_change():
    """Bicubic resizing of a one-coloured image keeps its colour."""
    image = np.broadcast_to(np.float32([0.2, 0.5, 0.9]), (20, 30, 3))
    for index in range(10):
        view = policy.finetune_view(image, _seed(index), 12, 0.08)
        np.testing.assert_allclose(view, np.broadcast_to(image[0, 0], (12, 12, 3)), atol=1e-6)


def test_eval_view_above_32_px_is_the_reference_center_crop(fixtures_dir):
    image = np.load(fixtures_dir / "image_ops.npz")["image"]
    expected = np.clip(crop.center_crop(image, 40, 0.875), 0, 1)
    np.testing.assert_array_equal(policy.eval_view(image, 40), expected)


@pytest.mark.parametrize("size", [28, 32])
def test_eval_view_of_the_right_size_is_the_image(size, random_image):
    image = random_image(size, size)
    np.testing.assert_array_equal(policy.eval_view(image, size), image)
    levels = np.round(image * 255).astype(np.uint8)
    np.testing.assert_allclose(policy.eval_view(levels, size), levels / 255, atol=1e-7)
    unknown = tf.function(
        lambda x: policy.eval_view(x, size), input_signature=[tf.TensorSpec(None)]
    )
    np.testing.assert_allclose(unknown(image), image, atol=1e-6)


def test_eval_view_at_32_px_keeps_the_whole_of_a_square_image():
    """The outermost pixels show: nothing is cropped when a 28 px image is enlarged."""
    image = np.zeros((28, 28, 3), np.float32)
    image[0], image[-1] = 1.0, 1.0
    view = policy.eval_view(image, 32).numpy()
    assert view[0].min() > 0.9 and view[-1].min() > 0.9 and view[10:20].max() < 0.05


def test_eval_view_at_32_px_takes_the_central_square_of_others():
    image = np.zeros((64, 192, 3), np.float32)
    image[:, 64:128] = 1.0
    np.testing.assert_allclose(policy.eval_view(image, 32), np.ones((32, 32, 3)), atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 24), (24, 60), (90, 24), (7, 24), (1, 1), (1, 90), (90, 1)])
def test_transfer_view_of_any_shape(shape, random_image):
    as_bytes = np.round(random_image(*shape) * 255).astype(np.uint8)
    view, from_float = policy.transfer_view(as_bytes, 24), policy.transfer_view(as_bytes / 255, 24)
    assert view.shape == (24, 24, 3) and view.dtype == tf.float32
    assert float(tf.reduce_min(view)) >= 0 and float(tf.reduce_max(view)) <= 1
    np.testing.assert_allclose(view, from_float, atol=1e-4)


@pytest.mark.parametrize("size", [24, 32, 224])
def test_transfer_view_of_the_right_size_is_the_image(size, random_image):
    """No proportion is cropped, unlike in `eval_view` above 32 px."""
    image = random_image(size, size)
    np.testing.assert_array_equal(policy.transfer_view(image, size), image)


def test_transfer_view_crops_the_longer_side_only(random_image):
    image = random_image(20, 50)
    np.testing.assert_array_equal(policy.transfer_view(image, 20), image[:, 15:35])
    np.testing.assert_array_equal(
        policy.transfer_view(image.transpose(1, 0, 2), 20), image[:, 15:35].transpose(1, 0, 2)
    )


def test_transfer_view_is_traced_as_it_runs(random_image):
    traced = tf.function(
        lambda image: policy.transfer_view(image, 30), input_signature=[tf.TensorSpec(None)]
    )
    assert traced.get_concrete_function().output_shapes == (30, 30, 3)
    for shape in ((30, 30), (45, 20), (20, 45)):
        image = random_image(*shape)
        np.testing.assert_allclose(traced(image), policy.transfer_view(image, 30), atol=1e-6)


@pytest.mark.parametrize("size", [20, 40])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_channel_is_seen_as_the_others(size, dtype):
    """Each channel of five is what a gray image of this channel alone gives in RGB."""
    most = {"uint8": 255, "uint16": 65_535, "float32": 1}[dtype]
    image = (np.random.default_rng(0).uniform(0, 1, (50, 60, 5)) * most).astype(dtype)
    for view in (
        policy.eval_view,
        policy.transfer_view,
        lambda one, side: policy.finetune_view(one, _seed(3), side),
    ):
        found = view(tf.constant(image), size).numpy()
        assert found.shape == (size, size, 5) and found.dtype == np.float32
        for at in range(5):
            alone = view(tf.constant(image[..., [at] * 3]), size).numpy()
            np.testing.assert_allclose(found[..., [at] * 3], alone, atol=1e-6)
    with pytest.raises(InputError, match=r"image must have the shape \(H, W, 3\)"):
        policy.pretrain_view(tf.constant(image), _seed(3), size, CONFIGS["paper"])


def test_which_views_are_the_image():
    """What is said against what is done."""
    levels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for view in (policy.eval_view, policy.transfer_view):
        for size in (24, 32, 40):
            for shape in ((size, size), (size, size - 1), (40, 40)):
                image = levels[: shape[0], : shape[1]]
                found = view(image, size).numpy()
                same = found.shape == image.shape and np.allclose(found, image / 255, atol=1e-6)
                assert policy.is_identity(view, shape, size) == same, (view, shape, size)
    assert not policy.is_identity(policy.eval_view, None, 32)
    assert not policy.is_identity(lambda image, size: image, (32, 32), 32)
