"""The fast reader against TFDS's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf.data import tfds_source, tfrecords
from simclr_tf.data.views import function_views
from tests.data import streams

SIZES = [7, 11, 5]


@pytest.fixture
def sharded(tmp_path):
    """A data set in three shards."""

    class Sharded(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Image i is filled with i."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(4, 4, 3)),
                "label": tfds.features.ClassLabel(num_classes=3),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            def generate():
                for i in range(sum(SIZES)):
                    yield i, {"image": np.full((4, 4, 3), i, np.uint8), "label": i % 3}

            return {"train": generate(), "test": generate()}

        def _generate_examples(self):
            raise NotImplementedError

    builder = Sharded(data_dir=str(tmp_path))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=len(SIZES))
    )
    assert builder.info.splits["train"].num_shards == len(SIZES)
    return tfds_source.TfdsSource(builder, "sharded")


def _by_id(dataset):
    examples = list(dataset.as_numpy_iterator())
    found = {example["id"]: (example["image"], int(example["label"])) for example in examples}
    assert len(found) == len(examples)
    return found


@pytest.mark.parametrize(
    "split",
    ["train", "train[:3]", "train[5:17]", "train[-4:]", "train[10%:60%]", "test[:9]+train[20:]"],
)
@pytest.mark.parametrize("record_bytes", [100, 2**21, 2**30])
def test_equals_tfds(sharded, split, record_bytes):
    info = sharded.builder.info
    assert tfrecords.is_readable(info)
    fast = _by_id(tfrecords.examples(info, split, record_bytes))
    assert fast == _by_id(sharded._examples_by_tfds(split))
    assert len(fast) == sharded.num_examples(split)


def test_order_is_fixed(sharded):
    orders = [
        [example["id"] for example in sharded.examples("train").as_numpy_iterator()]
        for _ in range(3)
    ]
    assert orders[0] == orders[1] == orders[2]


def test_other_features_are_left_to_tfds(sharded, monkeypatch):
    class Spectrum(tfds.features.Image):
        """An image of another kind."""

    info = sharded.builder.info
    other = {"image": Spectrum(shape=(4, 4, 3)), "label": info.features["label"]}
    monkeypatch.setattr(type(info), "features", other)
    assert not tfrecords.is_readable(info)


def test_lists_of_labels_are_left_to_tfds(sharded, monkeypatch):
    info = sharded.builder.info
    image, label = info.features["image"], info.features["label"]
    several = {"image": image, "labels": tfds.features.Sequence(label)}
    monkeypatch.setattr(type(info), "features", several)
    assert tfrecords.class_list(info) is label
    assert not tfrecords.is_readable(info)
    numbers = {"image": image, "labels": tfds.features.Sequence(tfds.features.Scalar(np.int64))}
    monkeypatch.setattr(type(info), "features", numbers)
    assert tfrecords.class_list(info) is None and tfrecords.is_readable(info)
    monkeypatch.setattr(type(info), "features", {**several, "label": label})
    assert tfrecords.is_readable(info)


def _files(sharded):
    return sorted(sharded.builder.data_path.glob("*-train.tfrecord*"))


@pytest.mark.parametrize("split", ["train", "train[3:9]+test", "train[-1:]"])
def test_sound_files_have_no_bad_record(sharded, split):
    assert tfrecords.find_bad_record(sharded.builder.info, split) is None
    assert int(sharded.examples(split).cardinality()) == sharded.num_examples(split)


def test_bad_record_of_a_later_file(sharded):
    info = sharded.builder.info
    first, second, _ = _files(sharded)
    content = bytearray(second.read_bytes())
    content[-6] ^= 1  # in the data of the last record
    second.write_bytes(content)
    lengths = info.splits["train"].shard_lengths
    path, position, reason = tfrecords.find_bad_record(info, "train")
    assert (path, position) == (str(second), lengths[1] - 1)
    assert reason.startswith("corrupted record at ")
    # Only what is read has to be sound.
    assert tfrecords.find_bad_record(info, f"train[:{lengths[0] + lengths[1] - 1}]") is None
    assert tfrecords.find_bad_record(info, f"train[-{lengths[2]}:]+test") is None
    first.unlink()
    path, position, reason = tfrecords.find_bad_record(info, "train")
    assert (path, position) == (str(first), 0) and "No such file" in reason


def test_too_few_records_are_an_error(sharded):
    last = _files(sharded)[-1]
    last.write_bytes(b"")
    with pytest.raises(tf.errors.FailedPreconditionError, match="expected to contain 23"):
        list(sharded.examples("train"))
    path, position, reason = tfrecords.find_bad_record(sharded.builder.info, "train")
    assert (path, position) == (str(last), 0) and reason.startswith("the file has 0 records")


def test_a_part_of_a_split_opens_its_own_files_only(sharded):
    lengths = sharded.builder.info.splits["train"].shard_lengths
    _files(sharded)[-1].unlink()
    assert sum(lengths) // 3 <= lengths[0] + lengths[1]  # the first part ends before that file
    batches = streams.training(
        sharded, "train", batch_size=6, views=function_views([lambda image, seed: image]), seed=0,
        sharding="split", shard=(0, 3),
    )  # fmt: skip
    values = [batch["view_0"][:, 0, 0, 0].numpy().tolist() for batch in batches.take(9)]
    assert len({value for batch in values for value in batch}) == sum(lengths) // 3
