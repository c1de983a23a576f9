"""Embedding a data set: every image once, labels, refusals, nothing half written."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tf_keras as keras
from PIL import Image

from simclr_tf.augment import policy
from simclr_tf.config import DataConfig
from simclr_tf.data import decode
from simclr_tf.errors import InputError
from simclr_tf.retrieval.embeddings import read_embeddings
from tests.modes.asked import embed

NAMES = ["plain.png", "with space.png", "nested/deeper/ünï写.png", "wide.png", "gray.png"]


@pytest.fixture
def encoder(tiny_model, tmp_path):
    """The model and the prefix of its checkpoint."""
    model = tiny_model(None)
    rng = np.random.default_rng(0)
    for variable in model.variables:  # batch norm that does something
        if "moving" in variable.name:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    prefix = tf.train.Checkpoint(model=model).write(str(tmp_path / "weights" / "ckpt-7"))
    return model, prefix


@pytest.fixture(scope="module")
def mean_color(tmp_path_factory):
    """A foreign encoder whose embedding anybody can compute: the mean of each channel."""
    layers = [keras.layers.InputLayer((32, 32, 3)), keras.layers.GlobalAveragePooling2D()]
    path = str(tmp_path_factory.mktemp("mean_color") / "mean.keras")
    keras.Sequential(layers).save(path)
    return path


def write_image(path, seed=0, shape=(40, 40, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    """Unlabeled images of several sizes and colour types."""
    root = tmp_path / "photos"
    for seed, name in enumerate(NAMES):
        shape = {"wide.png": (20, 90, 3), "gray.png": (33, 33)}.get(name, (40, 40, 3))
        write_image(root / name, seed, shape)
    return root


def expected_vector(model, path):
    """The embedding of one file, one image at a time."""
    image = decode.decode_image(tf.constant(path.read_bytes()))
    view = policy.eval_view(image, 32)
    return model(view[None], training=False)["final_avg_pool"][0].numpy()


def test_every_image_of_a_folder(encoder, photos, tmp_path):
    model, prefix = encoder
    said = []
    output = str(tmp_path / "out" / "photos.parquet")
    path = embed(
        DataConfig(dataset=f"folder:{photos}"), prefix, output, image_size=32,
        batch_size=2, say=said.append,
    )  # fmt: skip
    assert path == output and said[-1].startswith(f"{output}: 5 images, final_avg_pool")
    found = read_embeddings(path)
    assert sorted(found.ids) == sorted(NAMES)
    assert found.labels is None and found.vectors.dtype == np.float32
    for name, vector in zip(found.ids, found.vectors, strict=True):
        np.testing.assert_allclose(vector, expected_vector(model, photos / name), atol=1e-5)


def test_metadata_finds_everything_again(encoder, photos, tmp_path, monkeypatch):
    _, prefix = encoder
    monkeypatch.chdir(tmp_path)
    embed(
        DataConfig(dataset="folder", data_dir="photos"), os.path.relpath(prefix), "x.parquet",
        image_size=32, say=[].append,
    )  # fmt: skip
    header = json.loads(pq.read_table(tmp_path / "x.parquet").schema.metadata[b"simclr_tf"])
    assert header["checkpoint"] == prefix and header["dataset"] == f"folder:{photos}"
    assert header["endpoint"] == "final_avg_pool" and header["image_size"] == 32
    assert header["splits"] == ["train"] and header["data_dir"] is None
    assert len(header["fingerprint"]) == 64 and header["global_step"] == 7


def test_a_run_is_recorded_as_its_checkpoint(encoder, tmp_path):
    _, prefix = encoder
    embed(DataConfig(dataset="digits"), os.path.dirname(prefix), str(tmp_path / "x.npz"),
          split="test[:3]", image_size=32, say=[].append)  # fmt: skip
    recorded = read_embeddings(tmp_path / "x.npz").metadata["checkpoint"]
    assert recorded in (prefix, os.path.dirname(prefix))


def test_labels_and_all_splits(mean_color, tmp_path):
    root = tmp_path / "labeled"
    for seed, name in enumerate(["train/cat/0.png", "train/dog/0.png", "test/dog/1.png"]):
        write_image(root / name, seed)
    embed(DataConfig(dataset=f"folder:{root}"), mean_color, str(tmp_path / "x.parquet"),
          image_size=32, say=[].append)  # fmt: skip
    table = pq.read_table(tmp_path / "x.parquet")
    rows = set(zip(*(table[name].to_pylist() for name in ("id", "label", "label_name")),
                   strict=True))  # fmt: skip
    assert rows == {("train/cat/0.png", 0, "cat"), ("train/dog/0.png", 1, "dog"),
                    ("test/dog/1.png", 1, "dog")}  # fmt: skip
    assert table["id"].to_pylist()[-1] == "test/dog/1.png"


def test_one_split(mean_color, tmp_path):
    data = DataConfig(dataset="digits")
    embed(data, mean_color, str(tmp_path / "x.npz"), split="test[:7]", say=[].append)
    found = read_embeddings(tmp_path / "x.npz")
    assert len(found.ids) == 7 and found.label_names == tuple("0123456789")
    assert found.metadata["splits"] == ["test[:7]"]
    embed(data, mean_color, str(tmp_path / "y.npz"), say=[].append)
    train = read_embeddings(tmp_path / "y.npz")
    assert train.metadata["splits"] == ["train"] and not set(train.ids) & set(found.ids)


def test_another_endpoint(encoder, photos, tmp_path):
    model, prefix = encoder
    embed(DataConfig(dataset=f"folder:{photos}"), prefix, str(tmp_path / "x.npz"),
          endpoint="block_group2", image_size=32, say=[].append)  # fmt: skip
    found = read_embeddings(tmp_path / "x.npz")
    view = policy.eval_view(tf.constant(np.asarray(Image.open(photos / "plain.png"))), 32)
    maps = model(view[None], training=False)["block_group2"].numpy()
    np.testing.assert_allclose(
        found.vectors[found.ids.index("plain.png")], maps[0].mean((0, 1)), atol=1e-5
    )


def test_bad_images_are_named_or_left_out(mean_color, photos, tmp_path):
    """An existing file is replaced when all went well."""
    (photos / "bad one.jpg").write_bytes(b"\xff\xd8\xff nothing")
    output = tmp_path / "out" / "x.parquet"
    output.parent.mkdir()
    output.write_text("old")
    arguments = {"checkpoint": mean_color, "output": str(output), "image_size": 32}
    with pytest.raises(InputError, match="bad one.jpg must be a readable"):
        embed(DataConfig(dataset=f"folder:{photos}"), **arguments, say=[].append)
    assert list(output.parent.iterdir()) == [output] and output.read_text() == "old"
    said = []
    data = DataConfig(dataset=f"folder:{photos}", skip_bad_images=True)
    embed(data, **arguments, say=said.append)
    assert sorted(read_embeddings(output).ids) == sorted(NAMES)
    assert said[0].startswith("note: 1 undecodable image") and "bad one.jpg" in said[0]


def test_a_folder_of_bad_images_only(mean_color, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"nothing")
    data = DataConfig(dataset=f"folder:{tmp_path / 'photos'}", skip_bad_images=True)
    with pytest.raises(InputError, match="dataset must hold at least one readable image"):
        embed(data, mean_color, str(tmp_path / "x.npz"), image_size=32, say=[].append)


def test_replicas_give_the_same(mean_color, tmp_path):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices[:1])
    data = DataConfig(dataset="digits", eval_split="test[:9]")
    for name, chosen in (("x", None), ("y", strategy)):
        embed(data, mean_color, str(tmp_path / f"{name}.npz"), image_size=32, strategy=chosen,
              say=[].append)  # fmt: skip
    first, second = (read_embeddings(tmp_path / f"{name}.npz") for name in "xy")
    assert first.ids == second.ids
    np.testing.assert_allclose(first.vectors, second.vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"output": None}, "output must name the file"),
        ({"output": "x.csv"}, "output must end in"),
        ({"checkpoint": None}, "checkpoint must name an encoder"),
        ({"checkpoint": "/nowhere/at/all"}, "checkpoint must be"),
        ({"data": DataConfig(dataset="folder:/nowhere/at/all")}, "dataset must name an existing"),
        ({"split": "validation"}, "eval_split must be a split expression"),
        ({"endpoint": "z"}, r"endpoint must be one of final_avg_pool\. Received: 'z'"),
        ({"output": "/proc/nosuch/x.npz"}, "output must lie in a folder that can be written"),
    ],
)
def test_refusals_come_before_anything_is_written(mean_color, photos, tmp_path, change, text):
    arguments = {"data": DataConfig(dataset=f"folder:{photos}"), "checkpoint": mean_color,
                 "output": str(tmp_path / "new" / "x.npz"), "image_size": 32}  # fmt: skip
    with pytest.raises(InputError, match=text):
        embed(**{**arguments, **change}, say=[].append)
    assert not (tmp_path / "new").exists()
