"""The projector plugin itself, with and without TensorFlow's files, reads what was written."""

import io
import json
import pathlib
import types

import numpy as np
import pytest
from PIL import Image
from tensorboard.compat.tensorflow_stub.io import gfile
from tensorboard.plugins.projector import projector_plugin
from werkzeug.test import Client

from simclr_tf.errors import InputError
from simclr_tf.report import projector
from simclr_tf.report.embedding_map import choose_examples
from simclr_tf.report.projector import sprite_image, write_projector

NAMES = ["cat", "tab\there", "line\nbreak", "Käfer"]


def random_features(count=30, size=8, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


class Plugin:
    """TensorBoard's plugin on one log directory, asked as the browser asks it."""

    def __init__(self, folder, runs=()):
        runs = [types.SimpleNamespace(run_name=run) for run in runs]
        provider = types.SimpleNamespace(list_runs=lambda *args, **kwargs: runs)
        context = types.SimpleNamespace(data_provider=provider, logdir=str(folder))
        self.apps = projector_plugin.ProjectorPlugin(context).get_plugin_apps()

    def get(self, route, **arguments):
        answer = Client(self.apps[route]).get(route, query_string=arguments)
        assert answer.status_code == 200, answer.text
        return answer.data

    def info(self, run="."):
        return json.loads(self.get("/info", run=run))["embeddings"]

    def tensor(self, name="embedding", run="."):
        [entry] = [entry for entry in self.info(run) if entry["tensorName"] == name]
        data = self.get("/tensor", run=run, name=name, num_rows=100_000)
        return np.frombuffer(data, np.float32).reshape(entry["tensorShape"])

    def metadata(self, name="embedding"):
        text = self.get("/metadata", run=".", name=name, num_rows=100_000).decode()
        return [line.split("\t") for line in text.splitlines()]

    def sprite(self, name="embedding"):
        return np.asarray(Image.open(io.BytesIO(self.get("/sprite_image", run=".", name=name))))


def test_the_plugin_reads_everything(tmp_path):
    features, labels = random_features(), np.arange(30) % 4
    labels[7] = -1
    thumbnails = np.random.default_rng(1).integers(0, 256, (30, 4, 6, 3)).astype(np.uint8)
    indices = write_projector(tmp_path, features, labels, NAMES, thumbnails)
    assert indices.tolist() == list(range(30))
    plugin = Plugin(tmp_path)
    assert json.loads(plugin.get("/runs")) == ["."]
    np.testing.assert_array_equal(plugin.tensor(), features)
    header, *rows = plugin.metadata()
    assert header == ["label", "index"]
    escaped = ["cat", r"tab\there", r"line\nbreak", "Käfer"]
    expected = [[escaped[i % 4], str(i)] for i in range(30)]
    expected[7] = ["no label", "7"]
    assert rows == expected
    [entry] = plugin.info()
    width, height = entry["sprite"]["singleImageDim"]
    assert (height, width) == (4, 6)
    sprite = plugin.sprite()
    assert sprite.shape == (6 * 4, 6 * 6, 3)
    for index in range(30):  # The projector counts from the left in each row.
        row, column = divmod(index, 6)
        found = sprite[4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
        np.testing.assert_array_equal(found, thumbnails[index])


def test_a_run_with_events_and_several_embeddings(tmp_path):
    run = tmp_path / "pretrained"
    h, g = random_features(20, 16), random_features(20, 3, seed=1)
    write_projector(run, h, None, name="h")
    write_projector(run, g, None, name="g_of_h")
    write_projector(run, 2 * h, None, name="h")
    plugin = Plugin(tmp_path, runs=["pretrained"])
    assert [entry["tensorName"] for entry in plugin.info("pretrained")] == ["g_of_h", "h"]
    np.testing.assert_array_equal(plugin.tensor("h", "pretrained"), 2 * h)
    np.testing.assert_array_equal(plugin.tensor("g_of_h", "pretrained"), g)


TEXT_LIKE = {
    "zeros": np.zeros((5, 4), np.float32),
    "whole numbers": np.tile(np.float32([0, 2, 2.5, 32]), (6, 1)),
    # Bytes 0a 00 00 00: a line break before anything that is not text.
    "line break first": np.concatenate(
        [np.full((1, 4), np.frombuffer(b"\n\0\0\0", np.float32)[0]), random_features(5, 4)]
    ),
    "rectified": np.maximum(random_features(200, 16), 0),
}


@pytest.mark.parametrize("name", TEXT_LIKE)
@pytest.mark.parametrize("files", ["tensorflow", "stub"])
def test_features_that_look_like_text(tmp_path, monkeypatch, name, files):
    features = TEXT_LIKE[name]
    write_projector(tmp_path, features, None)
    if files == "stub":
        monkeypatch.setattr(projector_plugin, "tf", types.SimpleNamespace(
            io=types.SimpleNamespace(gfile=gfile), __version__="stub"))  # fmt: skip
    np.testing.assert_array_equal(Plugin(tmp_path).tensor(), features)


def test_most_features_are_raw_numbers(tmp_path):
    write_projector(tmp_path, random_features(), None)
    assert (tmp_path / "embedding" / "tensors.bytes").stat().st_size == 30 * 8 * 4


def test_paths_are_relative_and_nothing_else_lies_there(tmp_path):
    write_projector(tmp_path / "a", random_features(), None, thumbnails=np.zeros((30, 2, 2, 3)))
    (tmp_path / "a").rename(tmp_path / "b")
    assert Plugin(tmp_path / "b").sprite().shape == (12, 12, 3)
    found = {p.relative_to(tmp_path / "b").as_posix() for p in (tmp_path / "b").rglob("*.*")}
    assert found == {
        "projector_config.pbtxt", "embedding/embedding.pbtxt", "embedding/metadata.tsv",
        "embedding/sprite.png", "embedding/tensors.bytes",
    }  # fmt: skip
    assert str(tmp_path) not in (tmp_path / "b" / "projector_config.pbtxt").read_text()


def test_no_more_than_asked_for(tmp_path):
    features, labels = random_features(50), np.arange(50)
    thumbnails = np.tile(np.arange(50, dtype=np.uint8)[:, None, None, None], (1, 1, 1, 3))
    indices = write_projector(tmp_path, features, labels, None, thumbnails, max_points=9)
    assert indices.tolist() == choose_examples(50, 9).tolist() == sorted(set(indices.tolist()))
    plugin = Plugin(tmp_path)
    np.testing.assert_array_equal(plugin.tensor(), features[indices])
    assert plugin.metadata()[1:] == [[str(index), str(index)] for index in indices]
    assert plugin.sprite()[..., 0].ravel().tolist() == indices.tolist()


def test_empty_names_keep_their_line(tmp_path):
    write_projector(tmp_path, random_features(3), np.arange(3), ["", " ", "x"])
    assert Plugin(tmp_path).metadata()[1:] == [["", "0"], [" ", "1"], ["x", "2"]]


@pytest.mark.parametrize("count, columns", [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4)])
def test_sprites_are_square_grids(count, columns):
    picture, sides = sprite_image(np.full((count, 3, 5, 3), 1.0))
    assert sides == (3, 5)
    assert picture.shape == (3 * columns, 5 * columns, 3)
    assert (picture == 255).sum() == count * 3 * 5 * 3


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (5, [0, 1, 2])])
def test_thumbnails_of_any_number_of_channels(channels, shown):
    thumbnails = np.random.default_rng(0).integers(0, 256, (9, 4, 6, channels)).astype(np.uint8)
    picture, _ = sprite_image(thumbnails)
    np.testing.assert_array_equal(picture, sprite_image(thumbnails[..., shown])[0])


def test_sprites_shrink_to_the_projectors_limit(monkeypatch):
    monkeypatch.setattr(projector, "_LARGEST_SPRITE", 50)
    thumbnails = np.zeros((10, 20, 40, 3), np.uint8)
    thumbnails[3] = (10, 200, 30)
    picture, (height, width) = sprite_image(thumbnails)
    assert (height, width) == (6, 12)  # 4 columns of at most 12.
    assert picture.shape == (24, 48, 3)
    np.testing.assert_array_equal(picture[:6, 36:48], np.broadcast_to((10, 200, 30), (6, 12, 3)))


def test_sprite_sides_in_earnest():
    thumbnails = np.broadcast_to(np.uint8(7), (3, 4200, 4200, 3))
    picture, (height, width) = sprite_image(thumbnails)
    assert height == width
    assert 8000 < picture.shape[0] == picture.shape[1] <= 8192


def test_a_remote_folder_is_refused():
    with pytest.raises(InputError, match="folder must be local"):
        write_projector("gs://bucket/run", np.zeros((6, 4)), None)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"features": np.zeros((1, 4))}, "N and D at least 2"),
        ({"features": np.zeros((6, 1))}, "N and D at least 2"),
        ({"features": np.full((6, 4), np.nan)}, "features must be finite.*example 0"),
        ({"labels": np.arange(5)}, r"labels must have shape \(6,\)"),
        ({"labels": np.arange(6), "class_names": ["a"]}, "labels must be below 1"),
        ({"name": "../outside"}, "name must consist of"),
        ({"name": ".."}, "name must consist of"),
        ({"name": "a b"}, "name must consist of"),
        ({"thumbnails": np.zeros((5, 2, 2, 3))}, r"thumbnails must have shape \(6, h, w, C\)"),
        ({"thumbnails": np.zeros((6, 2, 2))}, "thumbnails must have shape"),
        ({"thumbnails": np.full((6, 2, 2, 3), 2.0)}, r"must lie in \[0, 1\]"),
        ({"thumbnails": np.zeros((6, 2, 2, 3), int)}, "must be uint8 or floats"),
        ({"max_points": 1}, "max_points must be at least 2"),
    ],
)
def test_refused_before_anything_is_written(tmp_path, change, text):
    folder = pathlib.Path(tmp_path / "new")
    arguments = {"features": np.zeros((6, 4)), "labels": None, **change}
    with pytest.raises(InputError, match=text):
        write_projector(folder, **arguments)
    assert not folder.exists()
