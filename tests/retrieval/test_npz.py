"""The file as NumPy reads it."""

import io
import json

import numpy as np
import pytest

from simclr_tf.retrieval import npz
from simclr_tf.retrieval.columns import ForeignFileError


def test_numpy_reads_it_without_pickle(tmp_path, ids, vectors):
    with open(tmp_path / "x.npz", "wb") as file:
        rows = npz.NpzRows(file, tmp_path, 5, True, '{"endpoint": "h"}')
        rows.append(ids[:4], np.arange(4), vectors[:4])
        rows.append(ids[4:], np.arange(4, 7), np.asfortranarray(vectors)[4:])
        rows.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["embeddings", "ids", "labels", "metadata"]
        np.testing.assert_array_equal(arrays["embeddings"], vectors)
        assert arrays["ids"].tolist() == ids
        assert arrays["labels"].tolist() == list(range(7))
        assert json.loads(str(arrays["metadata"])) == {"endpoint": "h"}


def test_without_labels_there_is_no_such_array(tmp_path, ids, vectors):
    buffer = io.BytesIO()
    rows = npz.NpzRows(buffer, tmp_path, 5, False, "{}")
    rows.append(ids, None, vectors)
    rows.finish()
    assert "labels" not in np.load(io.BytesIO(buffer.getvalue())).files


def test_foreign_archives(tmp_path):
    np.savez(tmp_path / "x.npz", ids=np.array(["a"]), other=1)
    with pytest.raises(ForeignFileError, match="no array embeddings, metadata"):
        npz.read(tmp_path / "x.npz")
    with open(tmp_path / "y.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="a single array"):
        npz.read(tmp_path / "y.npz")


def test_pickled_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", ids=np.array([{}]), embeddings=np.ones((1, 1)), metadata="{}")
    with pytest.raises(npz.ERRORS, match="allow_pickle"):
        npz.read(tmp_path / "x.npz")


def test_damage_inside_is_noticed(tmp_path, ids):
    vectors = np.random.default_rng(0).normal(size=(7, 3000)).astype(np.float32)
    path = tmp_path / "x.npz"
    with open(path, "wb") as file:
        rows = npz.NpzRows(file, tmp_path, 3000, False, "{}")
        rows.append(ids, None, vectors)
        rows.finish()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(npz.ERRORS):
        npz.read(path)
