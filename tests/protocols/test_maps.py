import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from simclr_tf.protocols import maps


def test_map_and_projector(make_context, pixels):
    context = make_context(pixels, map_points=30)
    maps.write_maps(context)
    folder = pathlib.Path(context.folder)
    assert (folder / "map.png").read_bytes().startswith(b"\x89PNG")
    names = {path.name for path in (folder / "projector").rglob("*")}
    assert "projector_config.pbtxt" in names and any("sprite" in name for name in names)


def test_thumbnails_are_the_test_images(make_context, pixels):
    context = make_context(pixels, eval_batch_size=7)
    found = maps.thumbnails(context, 10)
    assert found.shape == (10, 32, 32, 3) and found.dtype == np.uint8
    assert found.std() > 10


def test_too_few_images_for_a_map_are_said(make_context, pixels):
    said = []
    maps.write_maps(make_context(pixels, test_split="test[:2]", say=said.append))
    assert "no map" in said[0]


def test_a_remote_folder_has_the_map_alone(make_context, pixels):
    said = []
    context = make_context(pixels, map_points=30, say=said.append)
    maps.write_maps(dataclasses.replace(context, folder="ram://maps"))
    assert tf.io.gfile.listdir("ram://maps") == ["map.png"]
    assert "projector reads local folders only" in said[-1]
