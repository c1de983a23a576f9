"""The file as others read it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simclr_tf.retrieval import parquet
from simclr_tf.retrieval.columns import ForeignFileError


def write(path, ids, vectors, labels, class_names=(), header="{}"):
    with open(path, "wb") as file:
        rows = parquet.ParquetRows(file, vectors.shape[1], labels is not None, class_names, header)
        rows.append(ids, labels, vectors)
        rows.finish()
    return path


def test_pyarrow_reads_it_directly(tmp_path, ids, vectors):
    labels = np.array([1, 0, -1, 1, 0, 9, 0])
    path = write(tmp_path / "x.parquet", ids, vectors, labels, ["cat", "dog"], '{"endpoint": "h"}')
    table = pq.read_table(path)
    assert table.column_names == ["id", "label", "label_name", "embedding"]
    assert table["id"].to_pylist() == ids
    assert table["label"].to_pylist() == [1, 0, None, 1, 0, 9, 0]
    assert table["label_name"].to_pylist() == ["dog", "cat", None, "dog", "cat", None, "cat"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 5)
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), vectors)
    assert json.loads(table.schema.metadata[b"simclr_tf"]) == {"endpoint": "h"}


def test_without_labels_there_are_no_such_columns(tmp_path, ids, vectors):
    table = pq.read_table(write(tmp_path / "x.parquet", ids, vectors, None))
    assert table.column_names == ["id", "embedding"]


def test_without_names_labels_are_numbers_alone(tmp_path, ids, vectors):
    table = pq.read_table(write(tmp_path / "x.parquet", ids, vectors, np.arange(7)))
    assert table["label"].to_pylist() == list(range(7))
    assert table["label_name"].null_count == 7


def test_damage_inside_is_noticed(tmp_path, ids):
    vectors = np.random.default_rng(0).normal(size=(7, 3000)).astype(np.float32)
    path = write(tmp_path / "x.parquet", ids, vectors, None)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(parquet.ERRORS):
        parquet.read(path)


@pytest.mark.parametrize(
    ("columns", "metadata", "text"),
    [
        ({"id": ["a"], "embedding": [[1.0]]}, None, "no entry simclr_tf"),
        ({"id": ["a"], "other": [1]}, {"simclr_tf": "{}"}, "its columns are id, other"),
        ({"id": ["a"], "embedding": [1.0]}, {"simclr_tf": "{}"}, "embedding holds double"),
        ({"id": ["a"], "embedding": [[1.0]]}, {"simclr_tf": "{}"}, "embedding holds list"),
    ],
)
def test_foreign_tables(tmp_path, columns, metadata, text):
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ForeignFileError, match=text):
        parquet.read(tmp_path / "x.parquet")
