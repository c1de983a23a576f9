"""Limits of image files."""

import os

import pytest
import tensorflow as tf

from simclr_tf.data import folder_source, limits
from simclr_tf.errors import InputError


def _make(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "broken link":
        path.symlink_to("nowhere")
    elif kind == "20 GB":
        with open(path, "wb") as file:
            file.truncate(20 * 10**9)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "broken link", "20 GB"])
def test_what_is_no_image_file_is_never_opened(kind, tmp_path):
    path = tmp_path / "a.png"
    _make(kind, path)
    assert limits.file_problem(path).startswith("must ")
    assert limits.read_file(path) is None
    if kind != "folder":  # which may be called like this
        with pytest.raises(InputError) as caught:
            folder_source.open_folder(str(tmp_path), "data_dir")
        assert caught.value.name == str(path)


def test_files_and_links_to_them_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    for name in "ab":
        assert limits.file_problem(tmp_path / name) is None
        assert limits.read_file(tmp_path / name) == b"x"
    assert limits.file_problem("a\0b").startswith("must ")


def test_only_pngs_that_declare_too_much_are_replaced():
    def png(width, height):
        start = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
        return start + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"..."

    small = [png(1, 1), png(2**20, 2**7), b"", b"\x89PNG", b"\xff\xd8\xff" + b"\xff" * 90]
    large = [png(2**20, 2**7 + 1), png(2**32 - 1, 2**31)]
    found = limits.replace_large_pngs(tf.constant(small + large)).numpy().tolist()
    assert found == small + [limits.TOO_LARGE] * 2
