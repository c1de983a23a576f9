"""Which files are images, and that nothing vanishes without a word."""

from __future__ import annotations

import os
import pathlib

import pytest

from simclr_tf.data import decode, folder_scan, folder_source, formats
from simclr_tf.data.reading import RARE_KINDS
from simclr_tf.errors import InputError
from tests.data import files

JPEG, PNG, TIFF = (files.encode(files.PICTURE, kind) for kind in ("JPEG", "PNG", "TIFF"))
WEBP, GIF = (files.encode(files.PICTURE, kind) for kind in ("WEBP", "GIF"))
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 50

# Content by path; and how many of them are images.
FOLDERS = {
    "mixed suffixes": ({"a/0.jpg": JPEG, "a/1.webp": WEBP, "a/2.tiff": TIFF, "b/3.PNG": PNG,
                        "b/4.JFIF": JPEG, "b/notes.txt": b"x"}, 5),
    "by content": ({"a/0": JPEG, "a/1.dat": PNG, "b/2.image": TIFF, "b/3.jpg": WEBP,
                    "b/4.bin": b"\0" * 99}, 4),
    "hidden": ({"a/0.png": PNG, "b/1.png": PNG, ".cache/2.png": PNG, "a/._0.png": b"x",
                "a/.x/y/3.png": PNG}, 2),
    "a class of HEIC": ({"a/0.png": PNG, "b/1.png": PNG, "owl/2.heic": HEIC,
                         "owl/3.HEIF": HEIC}, 2),
    "misplaced": ({"cover.jpg": JPEG, "a/0.jpg": JPEG, "a/more/1.jpg": JPEG, "b/2.jpg": JPEG}, 4),
    "odd names": ({"ü/ä b.png": PNG, "b\n/1.png": PNG, "b\n/\x1b[2J.txt": b"", "'/\".png": PNG}, 3),
    "nested": ({"2020/01/0.png": PNG, "2021/x/y/1.png": PNG, "2021/x/z.csv": b""}, 2),
    "empty files": ({"a/0.png": b"", "b/1.png": PNG, "b/2": b""}, 2),
    "camera": ({"a/0.jpg": JPEG, "a/0.dng": TIFF, "b/1.jpg": JPEG, "b/1.NEF": TIFF}, 2),
    "films": ({"a/0.jpg": JPEG, "a/0.mp4": b"\0\0\0\x18ftypmp42", "b/1.gif": GIF}, 2),
    "splits": ({"Training/a/0.jpg": JPEG, "Training/b/1.jpg": JPEG, "TEST/a/2.jpg": JPEG,
                "TEST/labels.csv": b""}, 3),
    "no suffix at all": ({"a/README": b"text", "a/0": PNG, "b/LICENSE": b"P5 is none", "b/1": GIF},
                         2),
}  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "reads_heic", lambda: False)

    def write_all(content) -> pathlib.Path:
        for name, encoded in content.items():
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded)
        return tmp_path / "data"

    return write_all


def _on_disk(root) -> int:
    return sum(1 for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", FOLDERS)
def test_every_file_is_used_or_counted(name, write, capsys):
    content, images = FOLDERS[name]
    root = write(content)
    found = folder_scan.scan(root)
    assert len(found.images) == images
    assert len(found.images) + sum(found.left_out.values()) == _on_disk(root) == len(content)
    source = folder_source.open_folder(str(root), "data_dir")
    said = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert sum(source.splits.values()) == images and len(said) == (images < len(content))
    if said:
        assert said[0].startswith(f"note: {len(content) - images} file")


def test_the_line(write):
    root = write({
        "a/0.png": PNG, **{f"a/{i}.txt": b"" for i in range(3)}, "b/1.json": b"", "b/.x": b"",
        **{f"b/{i}.heic": HEIC for i in range(2)},
    })  # fmt: skip
    assert folder_scan.scan(root).summary("DATA") == (
        "7 files of DATA left out: 1 (hidden); 2 .heic (need pillow-heif: pip install "
        "'simclr_tf[heic]'); 3 .txt, 1 .json (no images)"
    )
    (root / "b" / "1.json").unlink()
    assert folder_scan.scan(write({})).summary("DATA").startswith("6 files")


def test_what_is_no_file_is_left_out_where_that_is_asked_for(write):
    root = write({"a/0.png": PNG})
    (root / "a" / "1.png").symlink_to(root / "gone")
    (root / "a" / "2.png").mkdir()
    with pytest.raises(InputError, match="broken link.*--skip_bad_images"):
        folder_scan.scan(root)
    found = folder_scan.scan(root, skip_bad=True)
    assert found.images == [("a", "0.png")]
    assert found.summary("DATA") == "1 file of DATA left out: 1 .png (no files, or too long)"


def test_a_class_that_lost_everything_is_named(write, capsys):
    root = write(FOLDERS["a class of HEIC"][0])
    assert folder_source.open_folder(str(root), "data_dir").class_names == ("a", "b")
    said = capsys.readouterr().out
    assert f"note: folders of {root} without an image that is used: owl\n" in said
    folder_source.open_folder(str(root), "data_dir")
    assert not capsys.readouterr().out  # once a process


def test_heic_is_used_where_its_reader_is(write, monkeypatch):
    root = write(FOLDERS["a class of HEIC"][0])
    monkeypatch.setattr(formats, "reads_heic", lambda: True)
    assert folder_source.open_folder(str(root), "data_dir").class_names == ("a", "b", "owl")


@pytest.mark.parametrize("folder", ["b", ".hidden"])
def test_unreadable_folders(write, monkeypatch, folder):
    """The tests may run as root, who can read everything: the system's answer is made up."""
    root = write({"a/0.png": PNG, "b/1.png": PNG, ".hidden/2.png": PNG})
    listed = os.scandir

    def scandir(path):
        if os.path.basename(path) == folder:
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    if folder == ".hidden":
        assert len(folder_scan.scan(root).images) == 2
        return
    with pytest.raises(InputError, match="folder that can be read.*Permission denied") as caught:
        folder_source.open_folder(str(root), "data_dir")
    assert caught.value.name == str(root / "b")


def test_links(write):
    root = write({"a/0.png": PNG, "b/1.png": PNG})
    (root / "a" / "again").symlink_to(root, target_is_directory=True)
    (root / "b" / "gone.txt").symlink_to("nowhere")
    found = folder_scan.scan(root)
    assert len(found.images) == 2 and found.left_out == {("no images", ".txt"): 1}


def test_the_kinds_of_a_folder_are_those_of_its_names_and_other_files_are_read_too(tmp_path):
    for name, content in {"a.jpg": JPEG, "b.png": PNG, "c.jpg": GIF, "d.png": WEBP}.items():
        (tmp_path / name).write_bytes(content)
    source = folder_source.open_folder(str(tmp_path), "data_dir")
    assert source.reading.kinds == frozenset()
    shapes = [decode.decode_image(one["image"], source.reading).shape
              for one in source.examples("train")]  # fmt: skip
    assert shapes == [files.RGB.shape] * 4
    (tmp_path / "e.webp").write_bytes(WEBP)
    assert folder_source.open_folder(str(tmp_path), "data_dir").reading.kinds == {"WEBP"}
    (tmp_path / "f").write_bytes(GIF)
    assert folder_source.open_folder(str(tmp_path), "data_dir").reading.kinds == RARE_KINDS
