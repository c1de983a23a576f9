import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import simclr_tf
from simclr_tf.errors import InputError


def evaluate(encoder, **settings):
    return simclr_tf.evaluate(
        encoder, "digits", train_split="train[:200]", test_split="test[:50]", map_points=0,
        say=lambda text: None, **settings,
    )  # fmt: skip


def test_a_keras_model_and_a_callable_of_the_same_function():
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Flatten()])
    by_model = evaluate(simclr_tf.from_model(model, 8), protocols="knn", knn_neighbors="1")
    flat = simclr_tf.from_model(lambda images: tf.reshape(images, (-1, 192)), 8)
    by_callable = evaluate(flat, protocols="knn", knn_neighbors="1")
    accuracy = by_model["knn"].metrics["plain"]["k_1"]
    assert accuracy == by_callable["knn"].metrics["plain"]["k_1"] > 0.7


def test_files_appear_where_a_folder_is_given(no_pictures, tmp_path):
    flat = simclr_tf.from_model(lambda images: tf.reshape(images, (-1, 192)), 8)
    evaluate(flat, protocols="logreg", logreg_values=2, folder=str(tmp_path))
    with np.load(tmp_path / "predictions" / "logreg.npz") as stored:
        assert stored["labels"].shape == (50,)
    assert (tmp_path / "scoreboard.md").is_file()


def test_a_setting_that_is_none_is_named():
    flat = simclr_tf.from_model(lambda images: tf.reshape(images, (-1, 192)), 8)
    with pytest.raises(InputError, match="knn_neighbours is not a setting"):
        evaluate(flat, knn_neighbours="1")
