"""Blocks of rows from arrays, mapped files, parts and chains of them."""

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.evaluation import rows

MATRIX = np.arange(60, dtype=np.float32).reshape(15, 4)


def mapped(tmp_path, array, mode="r"):
    np.save(tmp_path / "rows.npy", array)
    return np.load(tmp_path / "rows.npy", mmap_mode=mode)


def gathered(features, size):
    """All blocks as one array; checks their type and where they say they come from."""
    blocks, end = [], 0
    for where, block in rows.row_blocks(features, size):
        assert where.start == end and len(block) == where.stop - where.start <= size
        assert block.dtype == np.float32
        blocks.append(block)
        end = where.stop
    assert end == len(features)
    return np.concatenate(blocks)


@pytest.mark.parametrize("size", [1, 4, 15, 99])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.uint8])
def test_blocks_are_float32_in_order(tmp_path, size, kind):
    for features in (MATRIX.astype(kind), mapped(tmp_path, MATRIX.astype(kind))):
        np.testing.assert_array_equal(gathered(features, size), MATRIX)


def resident_file_kib():
    with open("/proc/self/status") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("RssFile")), None)


@pytest.mark.skipif(not hasattr(rows.mmap, "MADV_DONTNEED"), reason="no madvise here")
@pytest.mark.parametrize("wrap", [lambda file: file, lambda file: file[1:],
                                  lambda file: np.asarray(file).view(),
                                  lambda file: rows.RowSubset(file, np.arange(16_000)),
                                  lambda file: rows.RowChain([file, file])],
                         ids=["file", "slice", "view", "subset", "chain"])  # fmt: skip
def test_pages_of_a_file_are_given_back(tmp_path, wrap):
    file = mapped(tmp_path, np.ones((16_000, 512), np.float32))  # 32 MiB
    before = resident_file_kib()
    if before is None:
        pytest.skip("the system does not count mapped pages")
    largest = max(resident_file_kib() - before for _ in rows.row_blocks(wrap(file), 1000))
    assert largest < 8 * 1024
    assert file.sum() == 16_000 * 512  # and the file is as readable as before


def test_changes_of_a_copy_on_write_mapping_stay(tmp_path):
    features = mapped(tmp_path, MATRIX, mode="c")
    features[3] = -1
    np.testing.assert_array_equal(gathered(features, 5)[3], [-1] * 4)
    rows.release_pages(features)
    np.testing.assert_array_equal(features[3], [-1] * 4)


def test_a_block_of_a_file_outlives_it(tmp_path):
    features = mapped(tmp_path, MATRIX, mode="r+")
    first = next(rows.row_blocks(features, 5))[1]
    features[:] = 0
    np.testing.assert_array_equal(first, MATRIX[:5])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_subset(tmp_path, size):
    index = np.array([1, 3, 4, 9, 14, 2])
    for features in (MATRIX, mapped(tmp_path, MATRIX)):
        subset = rows.RowSubset(features, index)
        assert subset.shape == (6, 4) and len(subset) == 6
        np.testing.assert_array_equal(gathered(subset, size), MATRIX[index])


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_chain(tmp_path, size):
    parts = [MATRIX[:3], mapped(tmp_path, MATRIX[3:4].astype(np.float16)),
             rows.RowSubset(MATRIX, np.arange(4, 15))]  # fmt: skip
    chain = rows.RowChain(parts)
    assert chain.shape == (15, 4) and chain.dtype == np.float32
    np.testing.assert_array_equal(gathered(chain, size), MATRIX)


def test_rows_within():
    assert rows.rows_within(MATRIX, 64) == 4
    assert rows.rows_within(MATRIX, 1) == 1


def test_lists_become_arrays():
    checked = rows.check_rows("features", [[1, 2], [3, 4]])
    np.testing.assert_array_equal(checked[0:2], [[1, 2], [3, 4]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("limit", [1, 48, 10**6])
def test_the_first_bad_row_is_named(tmp_path, monkeypatch, bad, limit):
    monkeypatch.setattr(rows, "_CHECK_BYTES", limit)
    features = MATRIX.copy()
    features[7, 2] = features[11, 0] = bad
    for matrix in (features, mapped(tmp_path, features.astype(np.float16)),
                   rows.RowChain([features[:5], features[5:]])):  # fmt: skip
        with pytest.raises(InputError, match="bank must be finite.*at example 7"):
            rows.check_rows("bank", matrix)


def test_what_float32_cannot_hold_is_refused():
    with pytest.raises(InputError, match="features must be finite.*example 1"):
        rows.check_rows("features", np.array([[1.0], [1e39]]))


@pytest.mark.parametrize(
    "features, text",
    [
        (np.zeros((0, 3)), "must have shape"),
        (np.zeros((3, 0)), "must have shape"),
        (np.zeros(3), "must have shape"),
        (np.zeros((3, 2), complex), "must be real numbers"),
        ([["a", "b"]], "must be real numbers"),
    ],
)
def test_what_is_no_feature_matrix(features, text):
    with pytest.raises(InputError, match=text):
        rows.check_rows("features", features)


def test_bad_parts():
    with pytest.raises(InputError, match="index must be row numbers"):
        rows.RowSubset(MATRIX, np.array([15]))
    with pytest.raises(InputError, match="index must be row numbers"):
        rows.RowSubset(MATRIX, np.array([-1]))
    with pytest.raises(InputError, match="parts must have the same number of dimensions"):
        rows.RowChain([MATRIX, MATRIX[:, :2]])
    with pytest.raises(InputError, match="parts must hold at least one"):
        rows.RowChain([])
    with pytest.raises(InputError, match="step 1"):
        rows.RowChain([MATRIX])[::2]


def test_full_float32_is_undone():
    read = rows.tf.config.experimental.tensor_float_32_execution_enabled
    before = read()
    with pytest.raises(KeyError), rows.full_float32():
        assert not read()
        raise KeyError
    assert read() == before


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_rows_depend_on_the_row_alone(dtype):
    row = np.random.default_rng(0).normal(size=11).astype(dtype)
    found = rows.unit_rows(np.tile(row, (1027, 1))).numpy()
    assert found.dtype == np.float32 and np.all(found == found[0])
    exact = row.astype(np.float64)
    np.testing.assert_allclose(found[0], exact / np.linalg.norm(exact), rtol=3e-7)


def test_unit_rows_of_zeros_and_of_extremes():
    found = rows.unit_rows(np.array([[0, 0], [3e38, 3e38], [1e-30, 0], [-3, 4]], np.float32))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found, [[0, 0], [half, half], [1, 0], [-0.6, 0.8]], rtol=3e-7)
