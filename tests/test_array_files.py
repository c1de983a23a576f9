"""Arrays in files of others."""

import io
import os
import zipfile

import numpy as np
import pytest

from simclr_tf.array_files import check_declared, open_npz


def _npy(shape, descr="<f4", content=b""):
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


def _zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_what_numpy_wrote_is_read(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.array(1)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    with open_npz(tmp_path / "x.npz") as found:
        assert all((found[name] == arrays[name]).all() for name in arrays)


HOSTILE = {
    "a shape that nobody holds": {"a.npy": _npy((10**12, 10**6))},
    "a shape beyond its bytes": {"a.npy": _npy((1000,), content=b"\0" * 8)},
    "no array": {"a.npy": b"hello"},
    "an object": {"a.npy": _npy((10**9,), "|O")},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_declared_shapes_are_looked_at_first(tmp_path, name):
    _zip(tmp_path / "x.npz", HOSTILE[name])
    with pytest.raises((ValueError, OSError)):
        open_npz(tmp_path / "x.npz")


def test_a_small_archive_of_zeros_is_not_unpacked(tmp_path):
    count = 2**26 // 4 + 1
    _zip(tmp_path / "x.npz", {"a.npy": _npy((count,), content=bytes(4 * count))})
    with pytest.raises(ValueError, match="bytes declare 67,"):
        open_npz(tmp_path / "x.npz")


def test_pipes_and_single_arrays_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    np.save(tmp_path / "x.npy", np.zeros(3))
    for name, why in (("pipe.npz", "regular"), ("x.npy", "single array")):
        with pytest.raises(ValueError, match=why):
            open_npz(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_npz(tmp_path / "absent.npz")


@pytest.mark.parametrize(("declared", "size", "fits"), [
    (2**26, 10, True), (2**26 + 1, 10, False), (10**12, 10**10, True), (10**12 + 1, 10**10, False),
])  # fmt: skip
def test_bounds(declared, size, fits):
    if fits:
        check_declared(declared, size)
    else:
        with pytest.raises(ValueError, match="declare"):
            check_declared(declared, size)
