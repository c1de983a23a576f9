"""What a record of somebody else's may name, and what a prepared data set."""

import json
import os
import sys

import pytest

from simclr_tf.data import trust
from simclr_tf.errors import InputError


@pytest.fixture
def prepared(tmp_path):
    """A folder with a data set `cifar10`, as far as its name tells."""
    (tmp_path / "tfds" / "cifar10").mkdir(parents=True)
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "dataset_info.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    "dataset",
    ["cifar10", "cifar10/plain_text", "cifar10:3.0.2", "cifar10/a.b-1:1.0.0"],
)
def test_names_of_tfds(dataset, prepared, monkeypatch):
    with pytest.raises(InputError, match="data_dir must be given: .* not prepared in the folder"):
        trust.recorded_data(dataset, None)  # TFDS would download it
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared / "tfds"))
    for folder in (None, str(prepared / "tfds"), str(prepared / "version")):
        assert trust.recorded_data(dataset, folder) == (dataset, folder)
    assert trust.recorded_data(dataset, "gs://b/x", remote=True) == (dataset, "gs://b/x")


def test_folders_of_images():
    assert trust.recorded_data("folder:/a b/c", None) == ("folder:/a b/c", None)
    assert trust.recorded_data("folder", "/a b/c") == ("folder", "/a b/c")


def test_embedded_sets_are_not_prepared_where_a_record_says(tmp_path):
    from simclr_tf.data import embedded

    assert sorted(trust.EMBEDDED) == sorted(embedded.BUILDERS)
    for name in trust.EMBEDDED:
        assert trust.recorded_data(name, str(tmp_path / "not mine")) == (name, None)


@pytest.mark.parametrize(
    ("dataset", "data_dir", "text"),
    [
        ("huggingface:mnist", None, "dataset must be given: .* nor a name of TFDS itself"),
        ("module:Class", None, "nor a name of TFDS itself"),
        ("os.path", None, "nor a name of TFDS itself"),
        ("../cifar10", None, "nor a name of TFDS itself"),
        ("/etc", None, "nor a name of TFDS itself"),
        ("cifar10/a=b,c=d", None, "nor a name of TFDS itself"),
        ("cifar10/../../x", None, "nor a name of TFDS itself"),
        ("https://host/x", None, "nor a name of TFDS itself"),
        ("cifar10\n", None, "nor a name of TFDS itself"),
        ("folder:", None, "nor a name of TFDS itself"),
        ("", None, "nor a name of TFDS itself"),
        (5, None, "dataset must be given: what is recorded is no name"),
        (None, None, "is no name"),
        (["cifar10"], None, "is no name"),
        ("cifar10\0", None, "is no name"),
        ("cifar10", 5, "data_dir must be given: what is recorded is no path"),
        ("cifar10", "a\0b", "is no path"),
        ("cifar10", "{folder}", "data_dir must be given: cifar10 is not prepared"),
        ("cifar10", "gs://bucket/x", "data_dir must be given: the recorded one is not local"),
        ("cifar10", "http://host/x", "is not local"),
        ("folder:gs://bucket/x", None, "is not local"),
    ],
)
def test_what_a_record_may_not_name(dataset, data_dir, text, tmp_path):
    data_dir = str(tmp_path) if data_dir == "{folder}" else data_dir
    with pytest.raises(InputError, match=text):
        trust.recorded_data(dataset, data_dir)


def features(image):
    """What TFDS writes beside a data set, today and before."""
    inner = {"pythonClassName": image, "image": {"shape": {"dimensions": ["-1"]}}}
    label = {"pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel"}
    top = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    yield {"pythonClassName": top, "featuresDict": {"features": {"type": label, "image": inner}}}
    yield {"python_class_name": top, "features_dict": {"features": {"image": [
        {"python_class_name": image}]}}}  # fmt: skip
    yield {"type": top, "content": {"image": {"type": image, "content": {"type": "x"}}}}


def test_classes_of_features(tmp_path):
    place = tmp_path / "name" / "1.0.0" / "features.json"
    place.parent.mkdir(parents=True)
    for content in features("tensorflow_datasets.core.features.image_feature.Image"):
        place.write_text(json.dumps(content))
        for folder in (place.parent, tmp_path / "name", tmp_path, tmp_path / "nothing"):
            trust.check_texts(folder)
    for content in features("module_of_nobody.Image"):
        place.write_text(json.dumps(content))
        for folder in (place.parent, tmp_path / "name", tmp_path):
            with pytest.raises(
                InputError, match="must name feature classes of tensorflow_datas"
            ) as e:
                trust.check_texts(folder)
            assert (e.value.name, e.value.received) == (str(place), "module_of_nobody.Image")
    place.write_text("no JSON")
    with pytest.raises(InputError, match="must be JSON"):
        trust.check_texts(tmp_path)


@pytest.mark.parametrize("name", ["label.labels.txt", "dataset_info.json", "features.json"])
def test_texts_without_end(name, tmp_path):
    place = tmp_path / "name" / "1.0.0" / name
    place.parent.mkdir(parents=True)
    with open(place, "wb") as file:
        file.truncate(20 * 2**30)
    with pytest.raises(InputError, match="must have at most 16777216 bytes") as caught:
        trust.check_texts(tmp_path / "name")
    assert caught.value.name == str(place)
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(InputError, match="must be a regular file"):
        trust.check_texts(tmp_path / "name")


def test_the_texts_of_an_embedded_set_are_checked(tmp_path):
    from simclr_tf.data import tfds_source

    place = tmp_path / "digits" / "1.0.0" / "label.labels.txt"
    place.parent.mkdir(parents=True)
    with open(place, "wb") as file:
        file.truncate(20 * 2**30)
    with pytest.raises(InputError, match="must have at most 16777216 bytes"):
        tfds_source.open_tfds("digits", str(tmp_path))


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A prepared data set without its features, beside a module that must not be imported."""
    (tmp_path / "module_of_nobody.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    place = tmp_path / "data" / "unheard_of" / "1.0.0"
    place.mkdir(parents=True)
    info = {"name": "unheard_of", "version": "1.0.0", "splits": [], "fileFormat": "tfrecord"}
    (place / "dataset_info.json").write_text(json.dumps(info))
    return place


def test_a_prepared_data_set_of_others_imports_nothing(foreign, tmp_path):
    from simclr_tf.data import tfds_source

    content = next(features("module_of_nobody.Image"))
    (foreign / "features.json").write_text(json.dumps(content))
    for name, folder in [("x", foreign), ("unheard_of", tmp_path / "data"),
                         ("unheard_of:1.0.0", tmp_path / "data")]:  # fmt: skip
        with pytest.raises(InputError, match="must name feature classes of tensorflow_datasets"):
            tfds_source.open_tfds(name, str(folder))
        assert not tfds_source.is_prepared(name, str(folder))
    assert "module_of_nobody" not in sys.modules


IN_JSON = {"image": {"pythonClassName": "module_of_nobody.Image", "jsonFeature": {"json": "{}"}}}
FEATURES = "tensorflow_datasets.core.features.features_dict.FeaturesDict"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("unheard_of", {"pythonClassName": FEATURES, "jsonFeature": {"json": json.dumps(
            {"image": {"type": "module_of_nobody.Image", "content": {}}})}}),
        ("unheard_of", {"type": FEATURES, "proto_cls": "tensorflow_datasets.FeaturesDict",
                        "content": json.dumps({"features": IN_JSON})}),
        ("UnheardOf", {"pythonClassName": FEATURES, "featuresDict": {"features": IN_JSON}}),
    ],
    ids=["JSON in JSON", "content as text", "name in capitals"],
)  # fmt: skip
def test_however_a_class_is_spelt_it_is_not_imported(name, content, foreign, tmp_path):
    from simclr_tf.data import tfds_source

    (foreign / "features.json").write_text(json.dumps(content))
    for given, folder in ((name, tmp_path / "data"), ("x", foreign)):
        with pytest.raises(InputError, match="must name feature classes of tensorflow_datasets"):
            tfds_source.open_tfds(given, str(folder))
    assert "module_of_nobody" not in sys.modules
