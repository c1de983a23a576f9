"""`simclr_tf.removal`: what goes, and what of others stays."""

from __future__ import annotations

import os

import pytest

from simclr_tf import files, removal
from simclr_tf.errors import InputError
from simclr_tf.removal import Kind

LETTERS = Kind(r"letters/[a-z]\.txt|index", r"index")


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


@pytest.fixture
def precious(tmp_path):
    make(tmp_path / "precious", "a.txt", "deep/b.txt")
    yield tmp_path / "precious"
    assert files.list_files(tmp_path / "precious") == ["a.txt", "deep/b.txt"]


def test_a_scratch_folder_goes_with_all_that_is_in_it_but_links_lead_nowhere(tmp_path, precious):
    scratch = tmp_path / "new" / "scratch"
    removal.make_scratch(scratch)
    make(scratch, "x", "deep/y")
    (scratch / "deep" / "link").symlink_to(precious)
    (scratch / "file").symlink_to(precious / "a.txt")
    assert removal.remove_tree(scratch) and os.listdir(tmp_path / "new") == []
    assert removal.remove_tree(scratch), "nothing there is as good as removed"


def test_a_link_in_its_place_goes_as_a_link(tmp_path, precious):
    removal.make_scratch(tmp_path / "scratch")
    for target in (precious, tmp_path / "scratch", tmp_path / "nowhere"):
        (tmp_path / "link").symlink_to(target)
        assert removal.remove_tree(tmp_path / "link")
        assert not os.path.lexists(tmp_path / "link")
    assert (tmp_path / "scratch").is_dir()


@pytest.mark.parametrize(
    ("names", "link", "goes"),
    [
        (["index", "letters/a.txt"], None, True),
        ([], None, True),
        (["letters/a.txt"], None, False),  # no mark
        (["index", "notes.txt"], None, False),
        (["index", "letters/a.txt/notes"], None, False),
        (["index"], "letters/a.txt", False),
        (["index"], "letters", False),
        ([], "index", False),
        (["deep/" + removal.MARK], None, False),
    ],
)
def test_other_folders_go_if_they_hold_what_their_kind_does(tmp_path, precious, names, link, goes):
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder, *names)
    if link:
        (folder / link).parent.mkdir(exist_ok=True)
        (folder / link).symlink_to(precious)
    before = removal.held(folder)
    assert removal.remove_tree(folder, LETTERS) is goes
    assert os.path.lexists(folder) is not goes
    assert goes or removal.held(folder) == before


def test_a_planted_mark_that_is_a_link_marks_nothing(tmp_path, precious):
    make(tmp_path / "folder", "notes.txt")
    (tmp_path / "folder" / removal.MARK).symlink_to(precious / "a.txt")
    assert not removal.remove_tree(tmp_path / "folder")
    make(tmp_path, "file")
    assert not removal.remove_tree(tmp_path / "file") and (tmp_path / "file").exists()


def test_scratch_is_made_anew_or_not_at_all(tmp_path, precious):
    for taken in (precious, tmp_path / "link"):
        if taken.name == "link":
            taken.symlink_to(precious)
        with pytest.raises(FileExistsError):
            removal.make_scratch(taken)


def test_unmarked_it_is_an_ordinary_folder_and_remote_ones_do_the_same(tmp_path):
    for folder in (os.fspath(tmp_path / "scratch"), "ram://removal/scratch"):
        removal.make_scratch(folder)
        files.write_text_atomically(f"{folder}/index", "x")
        assert removal.is_ours(folder) and not removal.is_kind(removal.held(folder), LETTERS)
        with pytest.raises(ZeroDivisionError), removal.unmarked(folder):
            assert removal.held(folder) == ["index"]
            raise ZeroDivisionError
        assert removal.MARK in removal.held(folder)
        with removal.unmarked(folder):
            pass
        assert removal.held(folder) == ["index"] and not removal.remove_tree(folder)
        assert removal.remove_tree(folder, LETTERS) and files.list_files(folder) == []


@pytest.mark.parametrize("name", ["examples", "saved_model", "predictions"])
def test_a_link_in_the_place_of_a_runs_folder_is_refused(name, tmp_path):
    removal.refuse_links(tmp_path / "nowhere")
    (tmp_path / "elsewhere").symlink_to("/usr")
    (tmp_path / name).mkdir()
    removal.refuse_links(tmp_path)
    (tmp_path / name).rmdir()
    (tmp_path / name).symlink_to("nothing")
    with pytest.raises(InputError, match="must not be a link.* Received: 'nothing'") as caught:
        removal.refuse_links(tmp_path)
    assert caught.value.name == str(tmp_path / name)
