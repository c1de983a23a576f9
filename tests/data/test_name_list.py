"""Lists of image names as subsets."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow_datasets as tfds

from simclr_tf.data import embedded, folder_source, name_list, subset, tfds_source
from simclr_tf.errors import InputError

# Class -> files, as the published lists have them: the file's name tells the class.
NAMES = {f"n{label}": [f"n{label}_{i}.JPEG" for i in range(4)] for label in range(2)}


@pytest.fixture
def folder(write_images):
    paths = [f"train/{label}/{name}" for label, names in NAMES.items() for name in names]
    paths += [f"train/{label}/same.png" for label in NAMES] + ["test/n0/n0_9.JPEG"]
    return folder_source.open_folder(str(write_images([*paths, "test/n1/t.png"])), "data_dir")


class Named(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images with the names of their files, as imagenet2012 has them."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(4, 4, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(NAMES)),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for label, names in NAMES.items():
            for name in names:
                image = np.full((4, 4, 3), int(name[-6]), np.uint8)
                yield name, {"image": image, "label": label, "file_name": name}


def write(tmp_path, names):
    path = tmp_path / "1percent.txt"
    path.write_bytes(b"\n".join(os.fsencode(name) for name in names) + b"\r\n\n")
    return str(path)


@pytest.mark.parametrize(
    "names",
    [
        ["n1_2.JPEG", "n0_3.JPEG"],
        ["n1/n1_2.JPEG", "train/n0/n0_3.JPEG"],
    ],
)
def test_names_mean_images_of_a_folder(folder, tmp_path, names):
    found = subset.open_subset(folder, "train", write(tmp_path, names), seed=5).description
    assert found.ids == ("train/n0/n0_3.JPEG", "train/n1/n1_2.JPEG")
    assert (found.class_counts, found.rule, found.dataset) == ((1, 1), "1percent.txt", "folder")


def test_names_mean_images_of_tfds(tmp_path):
    builder = Named(data_dir=str(tmp_path / "tfds"))
    with embedded.quiet():
        builder.download_and_prepare()
    source = tfds_source.TfdsSource(builder, "named")
    path = write(tmp_path, ["n1_2.JPEG", "n0_3.JPEG", "n0_1.JPEG"])
    chosen = subset.open_subset(source, "train", path, seed=0)
    assert chosen.description.class_counts == (2, 1)
    values = [(int(one["label"]), one["id"]) for one in chosen.examples("train")]
    by_id = source.file_names("train")
    assert sorted(by_id[one.numpy().decode()] for _, one in values) == [
        "n0_1.JPEG", "n0_3.JPEG", "n1_2.JPEG"
    ]  # fmt: skip
    # What a run records can be given back.
    again = str(tmp_path / "again.json")
    subset.write_subset(again, chosen.description)
    assert subset.read_subset(again, source, "train").ids == chosen.description.ids


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["n0_1.JPEG", "n0_7.JPEG", "x.png"], "2 of 3 names are of none.*'n0_7.JPEG, x.png'"),
        (["n0_9.JPEG"], "1 of 1 names are of none"),  # of the test split
        (["same.png", "n0_1.JPEG"], "1 of 2 names are of several images"),
        (["n0_1.JPEG", "n0_1.JPEG"], "must not hold the same name twice"),
        (["n0_1.JPEG", "n0/n0_1.JPEG"], "must not name the same image twice"),
        ([f"n7_{i}.JPEG" for i in range(9)], r"9 of 9 names are of none.*n7_2.JPEG, \.\.\.'"),
    ],
)
def test_names_that_do_not_fit_are_refused_with_their_number(folder, tmp_path, names, message):
    path = write(tmp_path, names)
    with pytest.raises(InputError, match=message) as caught:
        subset.read_subset(path, folder, "train")
    assert caught.value.name == path


def test_a_data_set_without_names_says_so(embedded_dir, tmp_path):
    source = tfds_source.open_tfds("digits", str(embedded_dir))
    assert source.file_names("test") is None
    with pytest.raises(InputError, match="digits does not keep the names of its files"):
        subset.read_subset(write(tmp_path, ["a.png"]), source, "test")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"n0_1.JPEG\n", True), (b"\n\r\n a/b.png \nx", True), (b"{\n", False), (b"", False),
        (b'{"ids": ["a.png"]}', False), (b"\xff\xfe", False), (b"a.txt\nb.png", False),
    ],
)  # fmt: skip
def test_a_list_is_told_by_its_first_line(tmp_path, content, expected):
    (tmp_path / "file").write_bytes(content)
    assert name_list.is_name_list(str(tmp_path / "file")) == expected
    assert not name_list.is_name_list(str(tmp_path / "absent"))
