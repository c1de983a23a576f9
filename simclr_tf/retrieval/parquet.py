"""Embeddings as Parquet: what pandas, Polars, DuckDB and Spark read.

Columns: `id` (string); `label` (int64) and `label_name` (string) where there are labels, null for
an image without one; `embedding` (a list of D float32). The header stands in the file's key-value
metadata under `simclr_tf`. Pages carry checksums.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simclr_tf.array_files import check_declared
from simclr_tf.retrieval.columns import Columns, ForeignFileError

HEADER_KEY = b"simclr_tf"
# Also of files that are damaged: reading one raises nothing else.
ERRORS = (pa.ArrowException, OSError, ValueError, MemoryError)


class ParquetRows:
    """See `simclr_tf.retrieval.columns.RowWriter`; every `append` becomes a row group.

    Args:
        file: Open for writing.
        dimension: D.
        labeled: Whether rows come with labels.
        class_names: Names by label; a label beyond them has no name.
        header: JSON text.
    """

    def __init__(
        self,
        file: BinaryIO,
        dimension: int,
        labeled: bool,
        class_names: Sequence[str],
        header: str,
    ):
        columns = [("id", pa.string())]
        if labeled:
            columns += [("label", pa.int64()), ("label_name", pa.string())]
        columns.append(("embedding", pa.list_(pa.float32(), dimension)))
        self._schema = pa.schema(columns, metadata={HEADER_KEY: header.encode("utf-8")})
        self._class_names = np.array([*class_names, None], dtype=object)
        self._writer = pq.ParquetWriter(
            file, self._schema, use_dictionary=["label_name"], write_page_checksum=True
        )

    def append(self, ids: Sequence[str], labels: np.ndarray | None, vectors: np.ndarray) -> None:
        """Writes a row group."""
        values = pa.array(np.ascontiguousarray(vectors).reshape(-1))  # (n * D,)
        arrays = {
            "id": pa.array(list(ids), pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]),
        }
        if labels is not None:
            arrays["label"] = pa.array(labels, pa.int64(), mask=labels < 0)
            arrays["label_name"] = pa.array(self._names(labels), pa.string())
        self._writer.write_table(pa.table(arrays, schema=self._schema))

    def finish(self) -> None:
        """Writes the footer, without which nobody can read the file."""
        self._writer.close()

    def close(self) -> None:
        """Ends the writer."""
        self._writer.close()

    def _names(self, labels: np.ndarray) -> np.ndarray:
        known = (labels >= 0) & (labels < len(self._class_names) - 1)
        return self._class_names[np.where(known, labels, -1)]


def read(path: str | os.PathLike[str]) -> Columns:
    """Reads a file, row group by row group: beside the result, memory holds one of them.

    Raises:
        ForeignFileError: Parquet, but not of this kind.
        pyarrow.ArrowException, OSError, ValueError: No Parquet file, or a damaged one.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        header = _header(schema)
        labeled = "label" in schema.names
        count = file.metadata.num_rows
        dimension = schema.field("embedding").type.list_size
        groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
        unpacked = sum(group.total_byte_size for group in groups)
        numbers = count * max(dimension, 1) * np.dtype(np.float32).itemsize
        check_declared(max(unpacked, numbers), os.path.getsize(path))
        vectors = np.empty((count, dimension), np.float32)
        labels = np.empty(count, np.int64) if labeled else None
        ids: list[str] = []
        for batch in file.iter_batches(columns=["id", *["label"] * labeled, "embedding"]):
            rows = slice(len(ids), len(ids) + batch.num_rows)
            vectors[rows] = batch["embedding"].flatten().to_numpy().reshape(-1, dimension)
            if labels is not None:
                labels[rows] = batch["label"].fill_null(-1).to_numpy()
            ids += batch["id"].to_pylist()
    return Columns(ids, labels, vectors, header)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _header(schema: pa.Schema) -> str:
    header = (schema.metadata or {}).get(HEADER_KEY)
    if header is None:
        raise ForeignFileError("its metadata has no entry simclr_tf")
    if not {"id", "embedding"} <= set(schema.names):
        raise ForeignFileError(f"its columns are {', '.join(schema.names)}")
    kinds = {"id": _is_text, "label": pa.types.is_integer}
    for name in sorted(kinds.keys() & set(schema.names)):
        if not kinds[name](schema.field(name).type):
            raise ForeignFileError(f"its column {name} holds {schema.field(name).type}")
    kind = schema.field("embedding").type
    is_list = pa.types.is_fixed_size_list(kind) and kind.list_size > 0
    if not is_list or kind.value_type != pa.float32():
        raise ForeignFileError(f"its column embedding holds {kind}")
    return header.decode("utf-8")
