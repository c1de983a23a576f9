"""Choosing a source by its name."""

from __future__ import annotations

import pytest

from simclr_tf.config import DataConfig
from simclr_tf.data.sources import open_source
from simclr_tf.errors import InputError


def test_folder_by_data_dir_and_by_name(write_images):
    root = write_images(["a.png", "b.png"])
    for config in (
        DataConfig(dataset="folder", data_dir=str(root)),
        DataConfig(dataset=f"folder:{root}"),
    ):
        assert open_source(config).splits == {"train": 2}


def test_embedded(embedded_dir):
    source = open_source(DataConfig(dataset="digits", data_dir=str(embedded_dir)))
    assert source.always_cached and source.num_classes == 10


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (DataConfig(dataset="folder"), "data_dir"),
        (DataConfig(dataset="folder", data_dir="/does/not/exist"), "data_dir"),
        (DataConfig(dataset="folder:/does/not/exist"), "dataset"),
    ],
)
def test_absent_folder(config, name):
    with pytest.raises(InputError) as caught:
        open_source(config)
    assert caught.value.name == name
