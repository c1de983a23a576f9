"""Damaged TFDS sets: whatever reads them names the data set or the file."""

from __future__ import annotations

import functools
import io
import json
import os
import pathlib
import shutil
import struct

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from simclr_tf.config import DataConfig
from simclr_tf.data import decode, embedded, sources
from simclr_tf.data.views import function_views
from simclr_tf.errors import InputError
from simclr_tf.evaluation import encoders
from simclr_tf.modes import embed as embed_mode
from tests.data import streams
from tests.modes.asked import embed

_COUNT = 6  # images in two shards


class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Image i is filled with i."""

    VERSION = tfds.core.Version("1.0.0")
    several = False

    def _info(self):
        label = tfds.features.ClassLabel(num_classes=3)
        labels = {"labels": tfds.features.Sequence(label)} if self.several else {"label": label}
        features = {"image": tfds.features.Image(shape=(4, 4, 3)), **labels}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(_COUNT):
            labels = {"labels": [i % 3, 2]} if self.several else {"label": i % 3}
            yield i, {"image": np.full((4, 4, 3), i, np.uint8), **labels}


class Several(Tiny, skip_registration=True):
    """The same with lists of labels, which TFDS itself reads."""

    several = True


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folders of both sets."""
    root = tmp_path_factory.mktemp("sound")
    for builder_class in (Tiny, Several):
        builder = builder_class(data_dir=str(root))
        with embedded.quiet():
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    return root


# Damages. Each changes the folder of a set and returns a part of the name that the error must have:
# a file, or "dataset" for the setting.


def _shard(folder):
    (path,) = folder.glob("*train*-00001-of-00002")
    return path


def _records(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


def _rewrite(folder, change):
    """Replaces the second record of the second shard by sound records around other contents."""
    path = _shard(folder)
    records = _records(path)
    records[1:2] = change(records[1])
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.name


def _example(folder, **changes):
    """The same for features of the record: a list of values, or None to leave one out."""

    def change(record):
        example = tf.train.Example.FromString(record)
        for name, values in changes.items():
            feature = example.features.feature[name]
            feature.Clear()
            if values is None:
                del example.features.feature[name]
            elif isinstance(values[0] if values else 0, bytes):
                feature.bytes_list.value.extend(values)
            elif isinstance(values[0] if values else 0, float):
                feature.float_list.value.extend(values)
            else:
                feature.int64_list.value.extend(values)
        return [example.SerializeToString()]

    return _rewrite(folder, change)


def _image(folder, content):
    _example(folder, image=[content])
    return _shard(folder).name + "__1"


def _bytes(folder, change):
    path = _shard(folder)
    path.write_bytes(change(path.read_bytes()))
    return path.name


def _flipped(content, place):
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def _json(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return "dataset"


def _text(folder, name, text):
    (folder / name).write_bytes(text)
    return "dataset"


def _split(folder, **changes):
    """Other words about the only split."""
    return _json(folder, "dataset_info.json", lambda info: info["splits"][0].update(changes))


def _remove(folder, *names):
    for name in names:
        (folder / name).unlink()
    return "dataset"


def _without_shard(folder):
    _shard(folder).unlink()
    return _shard_name(folder)


def _shard_name(folder):
    return next(folder.glob("*train*-00000-of-00002")).name.replace("-00000-", "-00001-")


def _replaced_by(folder, make):
    path = _shard(folder)
    path.unlink()
    make(path)
    return path.name


def _encoded(shape, file_format="PNG", mode=None):
    stream = io.BytesIO()
    image = Image.fromarray(np.zeros(shape, np.uint8))
    (image.convert(mode) if mode else image).save(stream, file_format)
    return stream.getvalue()


def _declared(width, height):
    content = bytearray(_encoded((4, 4, 3)))
    content[16:24] = struct.pack(">II", width, height)
    return bytes(content)


_p = functools.partial
OF_RECORDS = {
    "no shard": _without_shard,
    "empty shard": _p(_bytes, change=lambda c: b""),
    "one byte": _p(_bytes, change=lambda c: c[:1]),
    "cut in a record": _p(_bytes, change=lambda c: c[: len(c) // 2]),
    "cut in a checksum": _p(_bytes, change=lambda c: c[:-2]),
    "one record less": _p(_rewrite, change=lambda record: []),
    "other content": _p(_bytes, change=lambda c: b"<html>not found</html>" * 20),
    "zeros": _p(_bytes, change=lambda c: b"\0" * len(c)),
    "a bit of a length": _p(_bytes, change=lambda c: _flipped(c, 0)),
    "a bit of a high length": _p(_bytes, change=lambda c: _flipped(c, 6)),
    "a bit of the data": _p(_bytes, change=lambda c: _flipped(c, 30)),
    "the last bit": _p(_bytes, change=lambda c: _flipped(c, len(c) - 1)),
    "a shard that is a folder": _p(_replaced_by, make=pathlib.Path.mkdir),
    "a link to nothing": _p(_replaced_by, make=lambda path: path.symlink_to("nowhere")),
    "no example": _p(_rewrite, change=lambda record: [b"\xff\xff\xff"]),
    "an empty record": _p(_rewrite, change=lambda record: [b""]),
    "no image": _p(_example, image=None),
    "two images": _p(_example, image=[b"a", b"b"]),
    "a number as image": _p(_example, image=[1]),
    "an empty image": _p(_image, content=b""),
    "text as image": _p(_image, content=b"hello"),
    "half an image": _p(_image, content=_encoded((4, 4, 3))[:50]),
    "a wider image": _p(_image, content=_encoded((4, 5, 3))),
    "a smaller image": _p(_image, content=_encoded((2, 2, 3))),
    "a wider JPEG": _p(_image, content=_encoded((9, 9, 3), "JPEG")),
    "13,000 pixels wide": _p(_image, content=_declared(13_000, 13_000)),
    "two billion pixels wide": _p(_image, content=_declared(2**31 - 1, 2**31 - 1)),
}
OF_LABELS = {
    "no label": _p(_example, label=None),
    "label 999": _p(_example, label=[999]),
    "label 3 of 3": _p(_example, label=[3]),
    "label -1": _p(_example, label=[-1]),
    "two labels": _p(_example, label=[1, 2]),
    "an empty label": _p(_example, label=[]),
    "a text as label": _p(_example, label=[b"cat"]),
    "a real label": _p(_example, label=[0.5]),
}
OF_LISTS = {
    "label 999 in a list": _p(_example, labels=[0, 999]),
    "label -1 in a list": _p(_example, labels=[-1]),
    "texts in a list": _p(_example, labels=[b"cat"]),
    "no shard of lists": _without_shard,
    "a bit of the data of lists": _p(_bytes, change=lambda c: _flipped(c, 30)),
    "half an image with a list": _p(_image, content=_encoded((4, 4, 3))[:50]),
    "an image with a list cut off": _p(_bytes, change=lambda c: c[: len(c) // 2]),
    "no image with a list": _p(_example, image=None),
    "one record less of lists": _p(_rewrite, change=lambda record: []),
}
# Evaluation meets every damage, training and the whole of `embed` one of each kind.
_EVERYWHERE = (
    "no shard",
    "cut in a record",
    "half an image",
    "no example",
    "label 999",
    "label 999 in a list",
)
_INFO, _FEATURES = "dataset_info.json", "features.json"
OF_DESCRIPTIONS = {
    "no dataset_info.json": lambda f: _remove(f, _INFO),
    "no features.json": lambda f: _remove(f, _FEATURES),
    "no descriptions": lambda f: _remove(f, _INFO, _FEATURES),
    "an empty dataset_info.json": lambda f: _text(f, _INFO, b""),
    "half a dataset_info.json": lambda f: _text(f, _INFO, (f / _INFO).read_bytes()[:100]),
    "a list as dataset_info.json": lambda f: _text(f, _INFO, b"[]"),
    "an empty object as dataset_info.json": lambda f: _text(f, _INFO, b"{}"),
    "bytes as dataset_info.json": lambda f: _text(f, _INFO, b"\xff\xfe\0"),
    "an empty features.json": lambda f: _text(f, _FEATURES, b"") and _FEATURES,
    "half a features.json": lambda f: (
        _text(f, _FEATURES, (f / _FEATURES).read_bytes()[:100]) and _FEATURES
    ),
    "an empty object as features.json": lambda f: _text(f, _FEATURES, b"{}"),
    "a features.json that names code": lambda f: (
        _json(f, _FEATURES, lambda c: c.update(pythonClassName="os.system")) and _FEATURES
    ),
    "no splits": lambda f: _json(f, _INFO, lambda info: info.update(splits=[])),
    "a split without a name": lambda f: _split(f, name=""),
    "another split": lambda f: _split(f, name="other") and "train_split",
    "lengths as texts": lambda f: _split(f, shardLengths=["a", "b"]),
    "negative lengths": lambda f: _split(f, shardLengths=["-3", "-3"]),
    "longer shards": lambda f: _split(f, shardLengths=["3", "9"]) and _shard_name(f),
    "a shard more": lambda f: _split(f, shardLengths=["3", "3", "3"]) and "-of-00003",
    "no shards": lambda f: _split(f, shardLengths=[]) and "train_split",
    "huge shards": lambda f: _split(f, shardLengths=["3", str(2**62)]) and "-of-00002",
    "no version": lambda f: _json(f, _INFO, lambda info: info.pop("version")),
    "another format": lambda f: (
        _json(f, _INFO, lambda info: info.update(fileFormat="parquet")) and ".parquet"
    ),
    "an unknown format": lambda f: _json(f, _INFO, lambda info: info.update(fileFormat="x")),
}


def _batches(source):
    """What training and evaluation read, traced once for all damages."""
    unlabeled = sources.UnlabeledSource(source) if source.multi_label else source
    views = function_views([lambda image, seed: tf.ensure_shape(image, (4, 4, 3))])
    view = lambda image, size: tf.image.convert_image_dtype(image, tf.float32)  # noqa: E731
    train = streams.training(unlabeled, "train", batch_size=3, views=views, seed=0)
    eval_batches = streams.evaluation(source, "train", batch_size=3, image_size=4, view_fn=view)
    return {"training": train.take(2), "evaluation": eval_batches}


class _Uncached(sources.WrappedSource):
    """Reads the files every time, as large sets do."""

    always_cached = False


class _Readers:
    """A set that can be damaged, and all that reads it."""

    def __init__(self, prepared, root, name):
        self.sound, self.folder = prepared / name / "1.0.0", root / name
        self.config = DataConfig(dataset=name, data_dir=str(self.folder))
        self.renew()
        self.source = sources.open_source(self.config)
        self.batches = _batches(_Uncached(self.source))

    def renew(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.sound, self.folder)


def _outcome(batches, source):
    try:
        with decode.naming_bad_image(source, "train"):
            list(batches)
    except InputError as error:
        return error
    return None


@pytest.fixture(scope="module")
def readers(prepared, tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    return {name: _Readers(prepared, root, name) for name in ("tiny", "several")}


def _embed(config):
    output = os.path.join(os.path.dirname(str(config.data_dir)), "x.npz")
    try:
        embed(config, "encoder", output, endpoint="mean", batch_size=4, say=[].append)
    except InputError as error:
        assert not os.path.exists(output)
        return error
    os.remove(output)
    return None


@pytest.fixture(autouse=True)
def an_encoder(monkeypatch):
    """Stands for every checkpoint."""
    encoder = encoders.FrozenEncoder(
        "mean", lambda images: {"mean": tf.reduce_mean(images, axis=(1, 2))}, image_size=4
    )
    monkeypatch.setattr(embed_mode.encoders, "open_encoder", lambda *arguments: encoder)


def _check(error, expected):
    assert isinstance(error, InputError), error
    assert expected in error.name, str(error)
    assert "\n" not in str(error) and "{{" not in str(error)


@pytest.mark.parametrize("name", ["tiny", "several"])
def test_sound_sets_are_read(readers, name):
    readers[name].renew()
    for batches in _batches(readers[name].source).values():
        assert len(list(batches)) == 2
    assert _embed(readers[name].config) is None


@pytest.mark.parametrize("name", OF_RECORDS | OF_LABELS | OF_LISTS)
def test_records(readers, name):
    of = readers["several" if name in OF_LISTS else "tiny"]
    of.renew()
    expected = (OF_RECORDS | OF_LABELS | OF_LISTS)[name](of.folder)
    _check(_outcome(of.batches["evaluation"], of.source), expected)
    if name in _EVERYWHERE:
        _check(_outcome(of.batches["training"], of.source), expected)
        _check(_embed(of.config), expected)


@pytest.mark.parametrize("name", OF_DESCRIPTIONS)
def test_descriptions(prepared, tmp_path, name):
    folder = tmp_path / "set"
    shutil.copytree(prepared / "tiny" / "1.0.0", folder)
    expected = OF_DESCRIPTIONS[name](folder)
    _check(_embed(DataConfig(dataset="tiny", data_dir=str(folder))), expected)
