"""Both formats hold the same."""

import io

import numpy as np
import pytest

from simclr_tf.retrieval import npz, parquet
from simclr_tf.retrieval.columns import ForeignFileError


@pytest.mark.parametrize("labeled", [False, True])
def test_formats_agree(tmp_path, ids, vectors, labeled):
    labels = np.array([2, 0, -1, 1, 0, 5, 1]) if labeled else None
    for name in ("parquet", "npz"):
        buffer = io.BytesIO()
        if name == "npz":
            rows = npz.NpzRows(buffer, tmp_path, 5, labeled, "{}")
        else:
            rows = parquet.ParquetRows(buffer, 5, labeled, ["x", "y", "z"], "{}")
        for part in (slice(0, 3), slice(3, 7)):
            rows.append(ids[part], None if labels is None else labels[part], vectors[part])
        rows.finish()
        rows.close()
        (tmp_path / name).write_bytes(buffer.getvalue())
    for read, name in ((parquet.read, "parquet"), (npz.read, "npz")):
        found = read(tmp_path / name)
        assert found.ids == ids and found.header == "{}"
        np.testing.assert_array_equal(found.vectors, vectors)
        assert found.vectors.dtype == np.float32
        assert (found.labels is None) == (labels is None)
        if labels is not None:
            np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.parametrize("module", [npz, parquet])
def test_a_foreign_file_is_among_the_errors_of_a_format(module):
    assert issubclass(ForeignFileError, module.ERRORS)
