"""The table of the transfer data sets, and which of them are found and opened."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from simclr_tf.data import embedded, pipeline, subset, tfds_source
from simclr_tf.errors import InputError
from simclr_tf.evaluation import transfer


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(tfds_source, "_download", refuse)


def _prepare(folder, name, splits, num_classes=3, several=False):
    """Prepares a data set of one-coloured images under a name of TFDS: {split: images}."""
    base, _, config = name.partition("/")
    classes = tfds.features.ClassLabel(num_classes=num_classes)

    class Fake(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Images of one colour."""

        VERSION = tfds.core.Version("1.2.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            features = {"image": tfds.features.Image(shape=(8, 8, 3))}
            if several:
                features["labels"] = tfds.features.Sequence(classes)
                features["labels_no_difficult"] = tfds.features.Sequence(classes)
            else:
                features["label"] = classes
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(count) for split, count in splits.items()}

        def _generate_examples(self, count):
            for i in range(count):
                image, label = np.full((8, 8, 3), i, np.uint8), i % num_classes
                labels = {"labels": [0, label], "labels_no_difficult": [label]}
                yield i, {"image": image, **(labels if several else {"label": label})}

    Fake.name = base
    with embedded.quiet():
        Fake(data_dir=str(folder)).download_and_prepare()


def _write_folder(folder, splits, classes=("a", "b")):
    for split, count in splits.items():
        for i in range(count):
            path = folder / split / classes[i % len(classes)] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((6, 6), i, np.uint8)).save(path)


def _names(datasets):
    return [dataset.name for dataset in datasets]


# The table.


def test_order_and_metrics_are_the_papers():
    assert _names(transfer.TRANSFER_DATASETS) == [
        "Food-101", "CIFAR-10", "CIFAR-100", "Birdsnap", "SUN397", "Cars", "Aircraft", "VOC2007",
        "DTD", "Pets", "Caltech-101", "Flowers",
    ]  # fmt: skip
    metrics = {d.name: d.metric for d in transfer.TRANSFER_DATASETS}
    per_class = {"Aircraft", "Pets", "Caltech-101", "Flowers"}
    assert {name for name, m in metrics.items() if m == transfer.MEAN_PER_CLASS} == per_class
    assert [n for n, m in metrics.items() if m == transfer.MEAN_AVERAGE_PRECISION] == ["VOC2007"]
    assert all(m == transfer.TOP_1 for n, m in metrics.items() if n not in {*per_class, "VOC2007"})
    published = {d.name for d in transfer.TRANSFER_DATASETS if d.published_validation}
    assert published == {"Aircraft", "VOC2007", "DTD", "Flowers"}


def test_accuracies_are_the_papers():
    rows = transfer.TRANSFER_DATASETS
    table_b5 = "68.4 90.6 71.6 37.4 58.8 50.3 50.3 80.5 74.5 83.6 90.3 91.2"
    table_8 = "76.9 95.3 80.2 48.4 65.9 60.0 61.2 84.2 78.9 89.2 93.9 95.0"
    assert " ".join(str(d.accuracy_1x) for d in rows) == table_b5
    assert " ".join(str(d.accuracy_4x) for d in rows) == table_8


def test_names_and_classes_are_those_of_tfds(tmp_path):
    """Against the code of TFDS, which needs no data for it."""
    known = set(tfds.list_builders())
    absent = [d.name for d in transfer.TRANSFER_DATASETS if d.folder not in known]
    assert absent == ["Birdsnap", "Aircraft"]
    for dataset in transfer.TRANSFER_DATASETS:
        if dataset.name in absent:
            continue
        builder = tfds.builder(dataset.tfds_name, data_dir=str(tmp_path), try_gcs=False)
        features = builder.info.features
        label = features["labels"].feature if dataset.multi_label else features["label"]
        assert label.num_classes == dataset.num_classes, dataset.name
        assert len(builder.builder_configs) == 0 or "/" in dataset.tfds_name, dataset.name


def test_rows_have_names_of_their_own():
    rows = transfer.TRANSFER_DATASETS
    assert len({d.folder for d in rows}) == len({d.name for d in rows}) == len(rows) == 12


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Aircraft", "Aircraft"), ("fgvc_aircraft", "Aircraft"), ("food-101", "Food-101"),
     ("sun397", "SUN397"), ("sun397/standard-part1-120k", "SUN397"), ("voc/2007", "VOC2007"),
     ("voc2007", "VOC2007"), ("voc", "VOC2007"), ("CIFAR10", "CIFAR-10")],
)  # fmt: skip
def test_find(name, expected):
    assert transfer.find_transfer_dataset(name).name == expected


@pytest.mark.parametrize("name", ["imagenet2012", "", "voc/2012", "sun397/tfds", "cifar"])
def test_unknown_names(name, tmp_path):
    for use in (transfer.find_transfer_dataset, lambda n: transfer.present(tmp_path, [n])):
        with pytest.raises(InputError, match=r"food101, cifar10, .*oxford_flowers102") as caught:
            use(name)
        assert caught.value.name == "transfer_datasets" and caught.value.received == name


# What is there.


def test_nothing_is_present(tmp_path, monkeypatch):
    found, absent = transfer.present(tmp_path)
    assert found == [] and absent == list(transfer.TRANSFER_DATASETS)
    assert transfer.present(tmp_path / "no_such_folder")[0] == []
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert transfer.present(None)[0] == []


def test_present_looks_for_both_layouts(tmp_path, monkeypatch):
    _prepare(tmp_path, "cifar10", {"train": 4, "test": 2})
    _prepare(tmp_path, "voc/2007", {"train": 4, "validation": 4, "test": 2}, 3, True)
    _write_folder(tmp_path / "birdsnap", {"train": 4, "test": 2})
    _write_folder(tmp_path / "dtd", {"train": 4})  # no test images
    (tmp_path / "sun397" / "tfds" / "4.0.0").mkdir(parents=True)  # another config
    (tmp_path / "cifar100" / "3.0.2").mkdir(parents=True)  # not finished
    found, absent = transfer.present(tmp_path)
    assert _names(found) == ["CIFAR-10", "Birdsnap", "VOC2007"]
    assert len(absent) == 9 and "DTD" in _names(absent)
    found, absent = transfer.present(str(tmp_path), ["voc2007", "pets", "cifar10", "CIFAR-10"])
    assert _names(found) == ["VOC2007", "CIFAR-10"]
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert _names(transfer.present(None, ["all"])[0]) == ["CIFAR-10", "Birdsnap", "VOC2007"]
    with pytest.raises(InputError):
        transfer.present(tmp_path, ["oxford_iiit_pets"])


def test_pets_by_the_papers_name(tmp_path):
    assert _names(transfer.present(tmp_path, ["Pets"])[1]) == ["Pets"]


# What is opened.


def _open(name, folder, **options):
    return transfer.open_transfer(transfer.find_transfer_dataset(name), folder, **options)


def _ids(source, split):
    return [e["id"].decode() for e in source.records(split).as_numpy_iterator()]


def _check_parts(source, splits):
    """Train and validation are disjoint and make up what is fitted on at the end."""
    train, validation, both, test = (set(_ids(source, split)) for split in splits)
    assert train and validation and test
    assert not train & validation and train | validation == both and not both & test
    return len(train), len(validation), len(both), len(test)


def test_validation_is_held_out(tmp_path):
    _prepare(tmp_path, "cifar10", {"train": 30, "test": 6})
    source, splits = _open("cifar10", tmp_path)
    assert source.name == "cifar10" and splits.train_and_validation == "train"
    assert _check_parts(source, splits) == (27, 3, 30, 6)
    assert _check_parts(*_open("cifar10", tmp_path, held_out=0.2)) == (24, 6, 30, 6)


def test_published_validation(tmp_path):
    _prepare(tmp_path, "dtd", {"train": 5, "validation": 4, "test": 3})
    source, splits = _open("DTD", tmp_path)
    assert splits == ("train", "validation", "train+validation", "test")
    assert _check_parts(source, splits) == (5, 4, 9, 3)


def test_test_images_of_food_are_tfds_validation(tmp_path):
    _prepare(tmp_path, "food101", {"train": 20, "validation": 7})
    source, splits = _open("Food-101", tmp_path)
    assert splits.test == "validation" and splits.train_and_validation == "train"
    assert _check_parts(source, splits) == (18, 2, 20, 7)


def test_first_split_of_sun(tmp_path):
    _prepare(tmp_path, "sun397/standard-part1-120k", {"train": 10, "test": 4})
    source, splits = _open("SUN397", tmp_path)
    assert _check_parts(source, splits) == (9, 1, 10, 4)


def test_voc_has_several_labels(tmp_path):
    _prepare(tmp_path, "voc/2007", {"train": 6, "validation": 3, "test": 3}, 3, True)
    source, splits = _open("VOC2007", tmp_path)
    assert source.multi_label and source.num_classes == 3
    assert _check_parts(source, splits) == (6, 3, 9, 3)
    labels = [tuple(e["label"]) for e in source.records("test").as_numpy_iterator()]
    # Class 0 is on every image, but difficult on those that are not of class 0.
    assert sorted(labels) == [(-1, 0, 1), (-1, 1, 0), (1, 0, 0)]


def test_a_later_tfds_may_know_more(tmp_path):
    sizes = {"train": 5, "validation": 4, "test": 3}
    _prepare(tmp_path, "fgvc_aircraft", sizes)
    source, splits = _open("Aircraft", tmp_path)
    assert _check_parts(source, splits) == (5, 4, 9, 3)


@pytest.mark.parametrize("name", ["birdsnap", "fgvc_aircraft", "food101"])
def test_folders(tmp_path, name):
    _write_folder(tmp_path / name, {"train": 20, "test": 5})
    source, splits = _open(name, tmp_path)
    assert splits.test == "test" and source.class_names == ("a", "b")
    assert _check_parts(source, splits) == (18, 2, 20, 5)
    _write_folder(tmp_path / name, {"validation": 4})
    source, splits = _open(name, tmp_path)
    assert _check_parts(source, splits) == (20, 4, 24, 5)


def test_caltech_as_in_the_paper(tmp_path):
    """TFDS's training split is taken as it is: it has the same number of images of each class."""
    _prepare(tmp_path, "caltech101", {"train": 30, "test": 9})
    source, splits = _open("Caltech-101", tmp_path)
    _, labels = subset.read_labels(source, splits.train_and_validation)
    assert np.bincount(labels).tolist() == [10, 10, 10]


def test_prepared_set_comes_before_a_folder(tmp_path):
    _prepare(tmp_path, "cars196", {"train": 10, "test": 4})
    _write_folder(tmp_path / "cars196", {"train": 6, "test": 2})
    source, _ = _open("Cars", tmp_path)
    assert source.splits == {"train": 10, "test": 4}


def test_absent(tmp_path):
    with pytest.raises(InputError, match=r"VOC2007, prepared as voc/2007") as caught:
        _open("VOC2007", tmp_path)
    assert caught.value.name == "data_dir" and caught.value.received == str(tmp_path)


def test_wrong_content(tmp_path):
    _prepare(tmp_path, "cifar10", {"train": 6})
    with pytest.raises(InputError, match="must have a split test"):
        _open("cifar10", tmp_path)
    _prepare(tmp_path, "voc/2007", {"train": 6, "validation": 3, "test": 3})
    with pytest.raises(InputError, match="several labels per image"):
        _open("VOC2007", tmp_path)
    _write_folder(tmp_path / "birdsnap", {"train": 4, "test": 4}, classes=("only",))
    with pytest.raises(InputError, match=r"labels.*Birdsnap"):
        _open("Birdsnap", tmp_path)


def test_real_cifar10(shared_dir):
    folder = shared_dir / "data" / "tfds"
    found, absent = transfer.present(folder)
    if "CIFAR-10" not in _names(found):
        pytest.skip(f"CIFAR-10 is absent: {folder}")
    assert len(found) + len(absent) == 12
    dataset = transfer.find_transfer_dataset("cifar10")
    source, splits = transfer.open_transfer(dataset, folder)
    sizes = [source.num_examples(split) for split in splits]
    assert sizes == [45_000, 5_000, dataset.train_images, dataset.test_images]
    assert source.num_classes == dataset.num_classes
    assert len(pipeline.example_ids(source, pipeline.Selection(splits.validation, 3))) == 3
