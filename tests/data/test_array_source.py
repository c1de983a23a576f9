import numpy as np
import pytest
import tensorflow as tf

import simclr_tf
from simclr_tf.augment import policy
from simclr_tf.config import AugmentConfig
from simclr_tf.data import decode, pipeline
from simclr_tf.data.fingerprint import fingerprint
from simclr_tf.data.samples import sample_views
from simclr_tf.data.views import ImageViews, ViewRecipe
from simclr_tf.errors import InputError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 5, 4, 3), np.uint8)
LABELS = np.array([0, 0, 1, 1, 2, 2])


def examples(source, split="train"):
    return {one["id"].decode(): one for one in source.examples(split).as_numpy_iterator()}


def test_images_and_labels_keep_their_places():
    test = IMAGES[:3, ::-1]
    source = simclr_tf.from_arrays(
        {"train": IMAGES, "test": test}, {"train": LABELS, "test": LABELS[:3]}
    )
    assert source.splits == {"train": 6, "test": 3} and source.num_classes == 3
    assert source.image_shape == (5, 4) and source.class_names is None
    for split, images in (("train", IMAGES), ("test", test)):
        found = examples(source, split)
        assert set(found) == {f"{split}/{at}" for at in range(len(images))}
        for at, image in enumerate(images):
            one = found[f"{split}/{at}"]
            np.testing.assert_array_equal(decode.decode_image(tf.constant(one["image"])), image)
            assert one["label"] == LABELS[at]
    assert source.location("train/3") == "image 3 of train"
    both = source.records("test+train[:2]").as_numpy_iterator()
    assert [one["id"].split(b"/")[0] for one in both] == [b"test"] * 3 + [b"train"] * 2


def test_a_slice_holds_more_than_what_lies_at_the_start():
    labels = np.repeat(np.arange(10), 20)
    source = simclr_tf.from_arrays(np.zeros((200, 2, 2), np.uint8), labels)
    held_out = [one["label"] for one in source.records("train[:25%]").as_numpy_iterator()]
    assert len(held_out) == 50 and len(set(held_out)) >= 9
    assert [one["label"] for one in source.records("train[:25%]").as_numpy_iterator()] == held_out


@pytest.mark.parametrize(("images", "value_range", "expected"), [
    (np.array([[[0, 65_535]]], np.uint16), None, [0, 255]),
    (np.array([[[0, 4_095]]], np.uint16), (0, 4_095), [0, 255]),
    (np.array([[[0.0, 0.2]]]), None, [0, 51]),
    (np.array([[[-1.0, 0.0]]], np.float32), (-1, 1), [0, 128]),
    (np.array([[[[7], [9]]]], np.uint8), None, [7, 9]),
])  # fmt: skip
def test_values(images, value_range, expected):
    source = simclr_tf.from_arrays(images, value_range=value_range)
    found = examples(source)["train/0"]["image"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.repeat(np.array(expected)[None, :, None], 3, axis=-1))


def test_alpha_lies_over_white():
    image = np.array([[[[255, 0, 0, 0], [255, 0, 0, 255]]]], np.uint8)
    found = examples(simclr_tf.from_arrays(image))["train/0"]["image"]
    np.testing.assert_array_equal(found, [[[255, 255, 255], [255, 0, 0]]])


def test_the_fingerprint_is_that_of_the_content():
    first = fingerprint(simclr_tf.from_arrays(IMAGES, LABELS), "train")
    assert fingerprint(simclr_tf.from_arrays(IMAGES.copy(), LABELS), "train") == first
    changed = IMAGES.copy()
    changed[3, 2, 1, 0] += 1
    for other in (
        simclr_tf.from_arrays(changed, LABELS),
        simclr_tf.from_arrays(IMAGES, LABELS % 2),
    ):
        assert fingerprint(other, "train") != first


def test_views_are_made_of_them_as_of_a_folder(tmp_path):
    for at, image in enumerate(IMAGES):
        tf.io.write_file(str(tmp_path / f"{at}.png"), tf.io.encode_png(image))
    batches = pipeline.eval_batches(
        simclr_tf.from_arrays(IMAGES, LABELS), pipeline.Selection("train"), 4, 4
    )
    seen = np.concatenate([batch["image"][: int(sum(batch["weight"]))] for batch in batches])
    folder = simclr_tf.open_source(simclr_tf.DataConfig(dataset=f"folder:{tmp_path}"))
    same = pipeline.eval_batches(folder, pipeline.Selection("train"), 6, 4)
    expected = next(iter(same))["image"].numpy()
    by_sum = [np.argsort(part.sum(axis=(1, 2, 3))) for part in (seen, expected)]
    np.testing.assert_allclose(seen[by_sum[0]], expected[by_sum[1]], atol=1e-6)


def test_rgb_images_that_are_not_finite_are_refused():
    images = RANDOM.random((5, 8, 8, 3)).astype(np.float32)
    images[3, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="must be finite. Received: 'NaN or infinity in image 3'"):
        simclr_tf.from_arrays(images)


def test_protocols_take_them():
    patterns = RANDOM.integers(0, 256, (4, 8, 8, 3), np.uint8)
    labels = np.tile(np.arange(4), 20)
    noisy = np.clip(patterns[labels] + RANDOM.normal(0, 20, (80, 8, 8, 3)), 0, 255).astype(np.uint8)
    source = simclr_tf.from_arrays(
        {"train": noisy[:60], "test": noisy[60:]}, {"train": labels[:60], "test": labels[60:]}
    )
    flat = simclr_tf.from_model(lambda images: tf.reshape(images, (-1, 192)), 8)
    found = simclr_tf.evaluate(
        flat, source, protocols="knn", knn_neighbors="5", map_points=0, say=lambda text: None
    )
    assert found["knn"].metrics["plain"]["k_5"] == 1


@pytest.mark.parametrize(("arguments", "line"), [
    ((np.zeros((0, 4, 4, 3), np.uint8),), r"images\['train'\] must be of shape .* \(0, 4, 4, 3\)"),
    ((np.zeros((4, 4)),), r"images\['train'\] must be of shape"),
    ((np.array([["a"]]),), r"images\['train'\] must be of shape"),
    ((np.full((1, 2, 2), "a"),), r"must hold numbers. Received: '?str"),
    (({},), "images must have at least one split"),
    ((IMAGES / 1.0,), r"must hold values whose range is known.*value_range=\(LOW, HIGH\)"),
    ((IMAGES.astype(np.int32),), "must hold values whose range is known"),
    ((IMAGES, LABELS[:4]), r"labels\['train'\] must be of shape \(6,\)"),
    ((IMAGES, LABELS / 2), "must be whole numbers"),
    ((IMAGES, LABELS - 1), "must be 0 or more"),
    ((IMAGES, np.eye(6, dtype=int) * 2), "must be 0 and 1"),
    ((IMAGES, {"test": LABELS}), "labels must have the splits of the images: train"),
])  # fmt: skip
def test_refusals(arguments, line):
    with pytest.raises(InputError, match=line) as caught:
        simclr_tf.from_arrays(*arguments)
    assert "\n" not in str(caught.value)


def test_names_of_classes_cover_the_labels():
    source = simclr_tf.from_arrays(IMAGES, LABELS, class_names=["a", "b", "c", "d"])
    assert source.num_classes == 4
    with pytest.raises(InputError, match="class_names must name all 3 classes"):
        simclr_tf.from_arrays(IMAGES, LABELS, class_names=["a", "b"])
    with pytest.raises(InputError, match="class_names must name all 0 classes"):
        simclr_tf.from_arrays(IMAGES, class_names=["a", "b"])


DEEP = RANDOM.integers(0, 65_536, (5, 6, 6, 5), np.uint16)


@pytest.mark.parametrize(("images", "settings", "expected"), [
    (IMAGES.repeat(2, axis=-1), {}, IMAGES.repeat(2, axis=-1)),
    (IMAGES[..., :1], {"channels": 1}, IMAGES[..., :1]),
    (IMAGES[..., 0], {"channels": 1}, IMAGES[..., :1]),
    (IMAGES[..., :2], {"channels": 2}, IMAGES[..., :2]),
    (IMAGES.repeat(2, axis=-1)[..., :4], {"channels": 4}, IMAGES.repeat(2, axis=-1)[..., :4]),
    (DEEP, {}, DEEP.astype(np.float32) / np.float32(65_535)),
    (DEEP.astype(">u2"), {}, DEEP.astype(np.float32) / np.float32(65_535)),
    (DEEP // 16, {"value_range": (0, 4_095)}, (DEEP // 16).astype(np.float32) / np.float32(4_095)),
    (DEEP.astype(np.int32) - 5, {"value_range": (-5, 65_530)}, (DEEP / 65_535).astype(np.float32)),
    (DEEP / 65_535, {}, (DEEP / 65_535).astype(np.float32)),
    ((DEEP / 65_535).astype(np.float16), {}, (DEEP / 65_535).astype(np.float16)),
    ((DEEP / 65_535).astype(np.longdouble), {}, (DEEP / 65_535).astype(np.float32)),
    (IMAGES[..., :2] // 16, {"channels": 2, "value_range": (0, 15)}, IMAGES[..., :2] // 16 / 15.0),
])  # fmt: skip
def test_channels_and_depth_are_kept(images, settings, expected):
    source = simclr_tf.from_arrays(images, **settings)
    assert source.channels == expected.shape[-1]
    found = examples(source)
    stacked = np.stack([found[f"train/{at}"]["image"] for at in range(len(images))])
    assert stacked.dtype == (np.uint8 if expected.dtype == np.uint8 else np.float32)
    np.testing.assert_allclose(stacked, expected, rtol=1e-6, atol=0)
    assert stacked.min() >= 0 and (stacked.dtype == np.uint8 or stacked.max() <= 1)


def test_large_arrays_are_held_in_the_type_they_came_in():
    (split,) = simclr_tf.from_arrays(DEEP).content.values()
    assert split.images is DEEP
    (split,) = simclr_tf.from_arrays(DEEP[..., 0], channels=1).content.values()
    assert np.shares_memory(split.images, DEEP)


def test_three_channels_are_rgb_of_8_bits_whether_asked_for_or_not():
    gray = DEEP[..., 0]
    for images in (gray, DEEP[..., :2], DEEP[..., :3], DEEP[..., :4]):
        plain, asked = (examples(simclr_tf.from_arrays(images, channels=one)) for one in (None, 3))
        for name, one in asked.items():
            assert one["image"].dtype == np.uint8 and one["image"].shape == (6, 6, 3)
            np.testing.assert_array_equal(one["image"], plain[name]["image"])


def test_splits_of_several_depths_and_sizes_meet():
    small, large = DEEP[:2], IMAGES.repeat(2, axis=-1)[..., :5]
    source = simclr_tf.from_arrays({"train": small, "test": large})
    assert source.image_shape is None and source.channels == 5
    found = {one["id"].decode(): one["image"] for one in
             source.examples("train+test").as_numpy_iterator()}  # fmt: skip
    np.testing.assert_allclose(found["train/1"], small[1] / 65_535, rtol=1e-6)
    np.testing.assert_allclose(found["test/3"], large[3] / 255, rtol=1e-6)


def test_the_fingerprint_tells_how_values_are_read():
    found = {
        fingerprint(simclr_tf.from_arrays(images, value_range=value_range), "train")
        for images in (DEEP // 16, (DEEP // 16).astype(np.int32))
        for value_range in ((0, 4_095), (0, 65_535))
    }
    assert len(found) == 4


@pytest.mark.parametrize(("images", "settings", "line"), [
    (DEEP / 1.0, {}, r"images\['train'\] must lie in \[0, 1\], the range of its type.*value_range"),
    (DEEP, {"value_range": (0, 4_095)}, r"must lie in \[0, 4095\], the value_range"),
    (DEEP - 9e3, {"value_range": (0, 65_535)}, r"must lie in \[0, 65535\].*values in \[-"),
    (np.where(DEEP[1, 2, 3, 4] == DEEP, np.nan, 0), {}, "must hold finite numbers"),
    (np.where(DEEP[1, 2, 3, 4] == DEEP, np.inf, 0), {"value_range": (0, 1)}, "must hold finite"),
    (DEEP.astype(np.int32), {}, r"range is known: give value_range=\(LOW, HIGH\).*int32"),
    (DEEP, {"channels": 4}, "channels must be 5, the last number of the shape"),
    (DEEP, {"channels": 3}, "channels must be 5"),
    (DEEP[..., :3], {"channels": 1}, "channels must be 3"),
    (DEEP, {"channels": 0}, "channels must be a whole number of 1 or more"),
    (DEEP, {"channels": 2.5}, "channels must be a whole number of 1 or more"),
    (np.moveaxis(DEEP, -1, 1), {"channels": 5}, r"or use np.moveaxis\(images, 1, -1\)"),
    (np.moveaxis(DEEP, -1, 1), {}, r"not \(N, C, H, W\): use np.moveaxis.*or say channels=6"),
    (np.zeros((2, 3, 8, 9)), {}, r"not \(N, C, H, W\): use np.moveaxis.*or say channels=9"),
    ({"train": DEEP, "test": DEEP[..., :3]}, {}, "must have the same number of channels in every"),
    ([DEEP[0], DEEP[1, :3]], {}, "must be an array, or arrays of one shape"),
    (DEEP, {"value_range": (1, 1)}, r"value_range must be \(LOW, HIGH\)"),
    (DEEP, {"value_range": (0, np.inf)}, r"value_range must be \(LOW, HIGH\)"),
    (DEEP, {"value_range": 255}, r"value_range must be \(LOW, HIGH\)"),
    (DEEP, {"labels": np.full((5, 1), 3)}, r"must be of shape \(5,\): use labels\[:, 0\]"),
])  # fmt: skip
def test_refusals_where_channels_are_kept(images, settings, line):
    with pytest.raises(InputError, match=line) as caught:
        simclr_tf.from_arrays(images, **settings)
    assert "\n" not in str(caught.value)


def in_order(batches, source, count):
    """The images of evaluation batches by their position in the array."""
    seen = np.concatenate([batch["image"].numpy() for batch in batches])[:count]
    ids = pipeline.example_ids(source, pipeline.Selection("train"))
    return seen[np.argsort([int(one.split("/")[1]) for one in ids])]


@pytest.mark.parametrize("cached", [False, True])
def test_batches_of_five_channels_of_16_bits(cached):
    images = RANDOM.integers(0, 65_536, (6, 32, 32, 5), np.uint16)
    source = simclr_tf.from_arrays(images, np.arange(6))
    unit = images.astype(np.float32) / np.float32(65_535)
    batches = pipeline.eval_batches(source, pipeline.Selection("train"), 4, 32)
    np.testing.assert_array_equal(in_order(batches, source, 6), unit)
    # All of the image is seen, mirrored or not: crops of the whole area.
    stream = pipeline.Stream("train", 6, cache=cached)
    for views in (
        ViewRecipe(AugmentConfig(crop_area_min=1.0), 32, 2).maker(),
        ImageViews(2, ViewRecipe(AugmentConfig(crop_area_min=1.0), 32).of_image()),
    ):
        batch = next(iter(pipeline.train_batches(source, stream, views)))
        mirrored = 0
        for name in ("view_0", "view_1"):
            assert batch[name].shape == (6, 32, 32, 5) and batch[name].dtype == tf.float32
            for view, label in zip(batch[name].numpy(), batch["label"].numpy(), strict=True):
                both = np.abs(view - unit[label]).max(), np.abs(view - unit[label, :, ::-1]).max()
                assert min(both) < 1e-5 < max(both)
                mirrored += both[1] < both[0]
        assert 0 < mirrored < 12


@pytest.mark.parametrize(
    ("side", "size", "channels"), [(20, 16, 1), (90, 80, 2), (90, 16, 7), (20, 16, 7)]
)
def test_crops_of_floats_of_any_channels_are_those_of_the_policy(side, size, channels):
    images = RANDOM.uniform(0, 1, (3, side, side + 3, channels)).astype(np.float32)
    source = simclr_tf.from_arrays(images, channels=channels)
    recipe = ViewRecipe(AugmentConfig(), size)
    stream = pipeline.Stream("train", 3)
    fast = next(iter(pipeline.train_batches(source, stream, recipe.maker())))
    plain = next(iter(pipeline.train_batches(source, stream, ImageViews(1, recipe.of_image()))))
    np.testing.assert_allclose(fast["view_0"], plain["view_0"], atol=1e-5)
    np.testing.assert_array_equal(fast["label"], plain["label"])
    assert fast["view_0"].shape == (3, size, size, channels)
    assert float(tf.math.reduce_std(fast["view_0"])) > 0.05
    batches = pipeline.eval_batches(source, pipeline.Selection("train"), 3, size)
    each = [policy.eval_view(one, size) for one in images]
    np.testing.assert_allclose(in_order(batches, source, 3), each, atol=1e-6)


def test_color_distortion_needs_three_channels():
    views = ViewRecipe(AugmentConfig(), 32, 2, distorted=True).maker()
    with pytest.raises(InputError, match="views must be named without color distortion, which "
                       "needs 3 channels, for images of 5") as caught:  # fmt: skip
        pipeline.train_batches(simclr_tf.from_arrays(DEEP), pipeline.Stream("train", 4), views)
    assert "\n" not in str(caught.value)


def test_protocols_and_pictures_take_any_channels():
    labels = np.arange(24) % 3
    images = RANDOM.integers(0, 2_000, (24, 8, 8, 6), np.uint16)
    images[..., 4] += (20_000 * labels).astype(np.uint16)[:, None, None]
    source = simclr_tf.from_arrays({"train": images[:15], "test": images[15:]},
                                   {"train": labels[:15], "test": labels[15:]})  # fmt: skip
    flat = simclr_tf.from_model(lambda x: tf.reduce_mean(x, axis=(1, 2)), 8, channels=6)
    found = simclr_tf.evaluate(
        flat, source, protocols="knn", knn_neighbors="3", map_points=9, say=lambda text: None
    )
    assert found["knn"].metrics["plain"]["k_3"] == 1


def test_samples_of_any_channels():
    source = simclr_tf.from_arrays(DEEP)
    found = sample_views(source, pipeline.Stream("train", 5), ViewRecipe(AugmentConfig(), 6), 2, 0)
    assert found.originals.shape == found.views[0].shape == (2, 6, 6, 5)
    first = next(iter(source.records("train")))["place"].numpy()[1]
    np.testing.assert_allclose(found.originals[0], DEEP[first] / 65_535, rtol=1e-6)
