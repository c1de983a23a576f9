import numpy as np
import pytest
import tensorflow as tf

import simclr_tf
from simclr_tf.data import decode, pipeline
from simclr_tf.data.fingerprint import fingerprint
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
    (np.array([[[0.0, 0.2, 1.0]]]), None, [0, 51, 255]),
    (np.array([[[-1.0, 0.0, 1.0]]], np.float32), (-1, 1), [0, 128, 255]),
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


def test_protocols_take_them():
    patterns = RANDOM.integers(0, 256, (4, 8, 8, 3), np.uint8)
    labels = np.tile(np.arange(4), 20)
    noisy = np.clip(patterns[labels] + RANDOM.normal(0, 20, (80, 8, 8, 3)), 0, 255).astype(np.uint8)
    source = simclr_tf.from_arrays(
        {"train": noisy[:60], "test": noisy[60:]}, {"train": labels[:60], "test": labels[60:]}
    )
    flat = simclr_tf.from_model(lambda images: tf.reshape(images, (-1, 192)), 8)
    found = simclr_tf.evaluate_protocols(
        flat, source, protocols="knn", knn_neighbors="5", map_points=0, say=lambda text: None
    )
    assert found["knn"].metrics["plain"]["k_5"] == 1


@pytest.mark.parametrize(("arguments", "line"), [
    ((np.zeros((0, 4, 4, 3), np.uint8),), r"images\['train'\] must be of shape .* \(0, 4, 4, 3\)"),
    ((np.zeros((2, 4, 4, 5)),), r"images\['train'\] must be of shape"),
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
