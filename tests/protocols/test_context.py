import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import policy
from simclr_tf.errors import InputError
from simclr_tf.evaluation.encoders import from_model
from simclr_tf.evaluation.feature_store import FeatureStore
from simclr_tf.protocols.context import unchanged


def test_validation_images_are_held_out_or_named(make_context, pixels):
    assert make_context(pixels).train_parts() == ("train[0:270]", "train[270:300]")
    own = make_context(pixels, validation_split="train[300:350]")
    assert own.train_parts() == ("train[:300]", "train[300:350]")


def test_batch_sizes_are_cut_to_the_images(make_context, pixels):
    context = make_context(pixels)
    assert context.batch_size(4096, 300) == 300
    assert context.batch_size(64, 300) == 64


def test_features_are_made_once_for_a_split_and_a_view(make_context, pixels):
    context = make_context(pixels)
    train = context.features("train[:300]").features
    assert context.features("train[:300]").features is train
    assert context.features("test[:100]", setting="eval_split").features.shape == (100, 192)
    other = context.features("train[:300]", view=policy.transfer_view).features
    assert other is not train and other.shape == train.shape


def test_a_second_extraction_needs_no_new_trace(make_context):
    traces = []

    def encode(images):
        traces.append(images.shape)
        return tf.reshape(images, (-1, 192))

    context = make_context(from_model(encode, 8))
    traces.clear()
    context.features("train[:300]")
    context.features("test[:100]", setting="eval_split")
    assert len(traces) == 1


def test_cached_features_serve_a_second_context(make_context, network, tmp_path):
    first = make_context(network, store=FeatureStore(str(tmp_path / "cache")))
    expected = first.features("test[:100]").features
    second = make_context(network, store=FeatureStore(str(tmp_path / "cache")))
    found = second.features("test[:100]").features
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, expected)


def test_predictions_are_stored_as_classes(make_context, pixels):
    context = make_context(pixels)
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    context.write_predictions("x", np.array([1, 1]), scores)
    with np.load(context.path("predictions/x.npz")) as stored:
        assert stored["predictions"].tolist() == [1, 0]
    context.write_predictions("y", np.array([[1, 0], [1, 1]]), scores)
    with np.load(context.path("predictions/y.npz")) as stored:
        np.testing.assert_array_equal(stored["predictions"], scores)


def test_a_changed_statistic_is_named(network):
    statistic = next(v for v in network.variables if "moving_mean" in v.name)
    before = statistic.numpy()
    with pytest.raises(RuntimeError, match="moving_mean"), unchanged(network):
        statistic.assign_add(tf.ones_like(statistic))
    statistic.assign(before)  # the network is of other tests too


def test_an_unlabeled_data_set_is_refused(make_context, pixels, tmp_path):
    from simclr_tf.data.folder_source import open_folder

    for index in range(3):
        image = tf.io.encode_png(tf.zeros((8, 8, 3), tf.uint8)).numpy()
        (tmp_path / f"{index}.png").write_bytes(image)
    context = make_context(pixels, source=open_folder(str(tmp_path), "data_dir"))
    with pytest.raises(InputError, match="must have labels"):
        _ = context.num_classes
