"""Attributes: balanced values, untouched padding, and encoders whose accuracy is known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.evaluation import attributes
from simclr_tf.evaluation.attributes import ATTRIBUTES, Attribute
from simclr_tf.evaluation.features import Extractor

SIZE, BATCH = 6, 5
BY_NAME = {attribute.name: attribute for attribute in ATTRIBUTES}


def pixels(count, seed=0):
    """Colourful images with a bright upper left, so that turning them shows."""
    images = np.random.default_rng(seed).uniform(0, 0.5, (count, SIZE, SIZE, 3))
    images[:, : SIZE // 2, : SIZE // 2] += 0.5
    return images.astype(np.float32)


def batches(images, batch=BATCH, filling=7.0):
    """The images with labels, the last batch filled up with entries of weight 0."""
    count, padding = len(images), -len(images) % batch
    columns = {
        "image": np.pad(images, [(0, padding), *[(0, 0)] * 3], constant_values=filling),
        "label": np.pad(np.full(count, 9), (0, padding)),
        "weight": np.pad(np.ones(count, np.float32), (0, padding)),
    }
    return tf.data.Dataset.from_tensor_slices(columns).batch(batch, drop_remainder=True)


def joined(dataset):
    """All batches of a data set one below the other."""
    elements = list(dataset.as_numpy_iterator())
    return {name: np.concatenate([element[name] for element in elements]) for name in elements[0]}


def saturation(images):
    spread = tf.reduce_max(images, axis=-1) - tf.reduce_min(images, axis=-1)  # (B, S, S)
    return tf.reduce_mean(spread, axis=(1, 2))[:, None]


def constant(images):
    return tf.ones_like(images[:, :2, 0, 0])


def sorted_gray(images):
    """Blind to any permutation of the pixels."""
    flat = tf.reduce_mean(images, axis=-1)
    return tf.sort(tf.reshape(flat, (tf.shape(images)[0], SIZE * SIZE)), axis=1)


def flat_pixels(images):
    return tf.reshape(images, (-1, SIZE * SIZE * 3))


def test_the_four_rows_of_table_3():
    found = {a.name: (a.num_values, a.paper_h, a.paper_z) for a in ATTRIBUTES}
    assert found == {
        "color": (2, 0.993, 0.974),
        "rotation": (4, 0.676, 0.256),
        "noise": (2, 0.995, 0.596),
        "sobel": (2, 0.966, 0.563),
    }


@pytest.mark.parametrize("name", BY_NAME)
def test_value_zero_is_the_original_and_others_are_not(name):
    attribute, image = BY_NAME[name], pixels(1)[0]
    for value in range(attribute.num_values):
        changed = attribute.apply(image, tf.constant(value), tf.constant([1, 2], tf.int64))
        assert np.array_equal(changed, image) == (value == 0)


def test_rotation_values_are_quarter_turns():
    image = pixels(1)[0]
    for value in range(4):
        turned = BY_NAME["rotation"].apply(image, tf.constant(value), None)
        np.testing.assert_array_equal(turned, np.rot90(image, value))


@pytest.mark.parametrize("name", BY_NAME)
def test_values_are_balanced_and_their_images_have_them(name):
    attribute, images = BY_NAME[name], pixels(37)
    found = joined(attributes.attribute_batches(batches(images), attribute, seed=3))
    labels = found["label"][:37]
    counts = np.bincount(labels, minlength=attribute.num_values)
    assert counts.max() - counts.min() <= 1
    for start in range(0, 36, attribute.num_values):
        block = labels[start : start + attribute.num_values]
        assert sorted(block) == list(range(attribute.num_values))
    unchanged = (found["image"][:37] == images).all((1, 2, 3))
    np.testing.assert_array_equal(unchanged, labels == 0)


def test_padding_is_untouched_and_takes_no_value():
    images = np.concatenate([np.full((3, SIZE, SIZE, 3), 5, np.float32), pixels(8)])
    weights = np.array([0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1], np.float32)
    order = [0, 3, 4, 1, 5, 6, 7, 8, 2, 9, 10]
    data = tf.data.Dataset.from_tensor_slices({"image": images[order], "weight": weights}).batch(4)
    found = joined(attributes.attribute_batches(data, BY_NAME["rotation"], seed=1))
    real = weights != 0
    np.testing.assert_array_equal(found["image"][~real], images[:3])
    assert (found["label"][~real] == 0).all()
    np.testing.assert_array_equal(found["weight"], weights)
    plain = tf.data.Dataset.from_tensor_slices({"image": images[3:]}).batch(3)
    expected = joined(attributes.attribute_batches(plain, BY_NAME["rotation"], seed=1))
    np.testing.assert_array_equal(found["label"][real], expected["label"])
    np.testing.assert_array_equal(found["image"][real], expected["image"])


@pytest.mark.parametrize("name", ["rotation", "noise"])
def test_values_follow_seed_and_part_but_not_the_batch_size(name):
    images = pixels(40)

    def run(batch=BATCH, **numbers):
        data = attributes.attribute_batches(batches(images, batch), BY_NAME[name], **numbers)
        return joined(data)

    first = run(seed=0)
    for again in (run(seed=0), run(batch=8, seed=0)):
        np.testing.assert_array_equal(again["label"], first["label"])
        np.testing.assert_array_equal(again["image"], first["image"])
    for other in (run(seed=1), run(seed=0, part=1)):
        assert (other["label"] != first["label"]).any()


def test_noise_differs_between_images():
    gray = np.full((8, SIZE, SIZE, 3), 0.5, np.float32)
    found = joined(attributes.attribute_batches(batches(gray), BY_NAME["noise"], seed=0))
    noisy = found["image"][found["label"] == 1][:4]
    assert len(np.unique(noisy.reshape(4, -1), axis=0)) == 4


def test_element_spec_stays_static():
    data = attributes.attribute_batches(batches(pixels(9)), BY_NAME["sobel"])
    assert data.element_spec["image"] == tf.TensorSpec((BATCH, SIZE, SIZE, 3), tf.float32)
    assert data.element_spec["label"] == tf.TensorSpec((BATCH,), tf.int64)


def table(encode, names, train=160, test=120, **settings):
    chosen = [BY_NAME[name] for name in names]
    extractor = Extractor(encode, optional=("proj_head_output",))
    return attributes.attribute_table(
        extractor, batches(pixels(train)), batches(pixels(test, 1)), chosen, **settings
    )


def test_encoders_whose_accuracy_is_known():
    """All that matters is in h, nothing of it in z."""

    def encode(images):
        return {"final_avg_pool": saturation(images), "proj_head_output": constant(images)}

    found = table(encode, ["color"])
    assert found.accuracies["color"]["h"] > 0.99
    assert found.accuracies["color"]["z"] == 0.5
    assert found.notes == []


def test_sorted_pixels_are_blind_to_rotation():
    def encode(images):
        return {"final_avg_pool": flat_pixels(images), "proj_head_output": sorted_gray(images)}

    found = table(encode, ["rotation"], train=400, test=400)
    assert found.accuracies["rotation"]["h"] > 0.95
    assert abs(found.accuracies["rotation"]["z"] - 0.25) < 0.075


def test_noise_and_sobel_from_what_shows_them():
    def statistics(images):
        ends = tf.cast((images <= 0.0) | (images >= 1.0), tf.float32)
        clipped = tf.reduce_mean(ends, (1, 2, 3))
        return tf.stack([tf.reduce_mean(images, (1, 2, 3)), clipped], 1)

    found = table(statistics, ["noise", "sobel"])
    assert found.accuracies["noise"]["h"] > 0.95  # only noise reaches the ends
    assert found.accuracies["sobel"]["h"] > 0.95


def test_gray_images_cannot_tell_color_from_gray():
    gray = np.repeat(pixels(200)[..., :1], 3, axis=-1)
    found = attributes.attribute_table(
        Extractor(saturation), batches(gray), batches(gray), [BY_NAME["color"]]
    )
    assert abs(found.accuracies["color"]["h"] - 0.5) < 0.15


def test_an_encoder_without_a_projection_head():
    found = table(lambda images: {"final_avg_pool": saturation(images)}, ["color"], train=20)
    assert set(found.accuracies["color"]) == {"h"}
    (note,) = found.notes
    assert "proj_head_output" in note


def test_limits_and_callbacks():
    counts = []
    table(saturation, ["color", "sobel"], train=30, test=20, limits=(12, 7),
          on_batch=counts.append)  # fmt: skip
    assert counts == [5, 10, 12, 17, 19, 24, 29, 31, 36, 38]


def test_train_and_test_images_get_other_random_numbers():
    first, other = (
        np.concatenate([batch["label"] for batch in attributes.attribute_batches(
            batches(pixels(60)), BY_NAME["color"], part=part).as_numpy_iterator()])
        for part in (0, 1)
    )  # fmt: skip
    assert (first != other).any()


def test_an_attribute_of_ones_own():
    dark = Attribute("dark", "thirds of the brightness", 3, lambda image, value, _: (
        image / tf.cast(value + 1, tf.float32)))  # fmt: skip
    found = attributes.attribute_table(
        Extractor(lambda images: tf.reduce_mean(images, (1, 2))),
        batches(pixels(150)), batches(pixels(90, 1)), [dark],
    )  # fmt: skip
    assert found.accuracies["dark"]["h"] > 0.95


def blobs(seed, size, values=3):
    rng = np.random.default_rng(seed)
    chosen = np.arange(size) % values
    centers = np.array([[0, 0], [4, 0], [0, 4], [4, 4]], np.float32)
    return (centers[chosen] + rng.normal(size=(size, 2)) / 2).astype(np.float32), chosen


def test_the_mlp_separates_what_no_line_does():
    features, corner = blobs(0, 400, 4)
    diagonal = np.isin(corner, (0, 3)).astype(int)
    test_features, test_corner = blobs(1, 200, 4)
    test_diagonal = np.isin(test_corner, (0, 3)).astype(int)
    found = attributes.predict_attribute(features, diagonal, test_features, test_diagonal)
    assert found > 0.97
    scaled = attributes.predict_attribute(
        1000 * features + 7, diagonal, 1000 * test_features + 7, test_diagonal
    )
    assert abs(scaled - found) < 0.02


def test_the_mlp_is_deterministic_and_quiet():
    train, test = blobs(0, 90), blobs(1, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [attributes.predict_attribute(*train, *test, 5, max_epochs=2) for _ in range(2)]
    assert found[0] == found[1]


def test_few_examples_need_no_held_back_part():
    train, test = blobs(0, 6), blobs(1, 60)
    assert attributes.predict_attribute(*train, *test) > 0.9


def test_many_examples_are_partly_held_back(monkeypatch):
    from sklearn import neural_network

    fitted = []

    class Spy(neural_network.MLPClassifier):
        def fit(self, x, y):
            fitted.append(self)
            return super().fit(x, y)

    monkeypatch.setattr(neural_network, "MLPClassifier", Spy)
    test = blobs(1, 60)
    for size in (999, 1000):
        assert attributes.predict_attribute(*blobs(0, size), *test) > 0.97
    features, values = blobs(0, 1200)
    values = np.where(np.arange(1200) < 3, 3, values)  # three examples of a fourth value
    attributes.predict_attribute(features, values, *test)
    assert [model.early_stopping for model in fitted] == [False, True, False]
    scores = fitted[1].validation_scores_
    assert len(scores) < 30 and max(scores) > 0.97
    # 5 epochs without a rise are borne, the next one is the last.
    assert len(scores) - scores.index(max(scores)) == 1 + 5 + 1


GOOD = {"train_features": np.eye(4), "train_values": np.arange(4) % 2,
        "test_features": np.eye(4), "test_values": np.arange(4) % 2}  # fmt: skip


@pytest.mark.parametrize(
    "change, text",
    [
        ({"test_features": np.ones((4, 3))}, "must have the training features' 4 dimensions"),
        ({"train_features": np.zeros((0, 4))}, "train_features must have shape"),
        ({"train_values": np.zeros(4, int)}, "at least two values"),
        ({"test_values": np.zeros(5, int)}, "values of test_features must have shape"),
        ({"train_features": np.diag([1, np.nan, 1, 1])}, "must be finite.*example 1"),
    ],
)
def test_bad_input(change, text):
    with pytest.raises(InputError, match=text):
        attributes.predict_attribute(**{**GOOD, **change})
