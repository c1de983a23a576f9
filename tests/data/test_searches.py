import json
import os

import pytest

from simclr_tf.data import decode, searches, sources
from simclr_tf.settings.data import DataConfig


@pytest.fixture
def root(write_images):
    root = write_images(["a.png", "b.png", "c.png"])
    (root / "b.png").write_bytes(b"")
    return root


class Runs:
    """Opens the folder again and again, as processes of a run do."""

    def __init__(self, root, path, monkeypatch):
        self.path, self.said, self.searched = path, [], 0
        self._data = DataConfig(dataset=f"folder:{root}", skip_bad_images=True)
        find = decode.bad_examples

        def counting(*args, **kwargs):
            self.searched += 1
            return find(*args, **kwargs)

        monkeypatch.setattr(decode, "bad_examples", counting)

    def left_out(self, split, writes=True):
        kept = searches.Searches(str(self.path), writes, self.said.append)
        return sources.open_source(self._data, self.said.append, kept).left_out(split)


@pytest.fixture
def runs(root, tmp_path, monkeypatch):
    return Runs(root, tmp_path / "run" / "bad_images.json", monkeypatch)


def test_a_search_is_kept_until_its_images_change(root, runs):
    for _ in range(2):
        assert runs.left_out("train") == ["b.png"] and runs.searched == 1
    assert sum("left out" in line for line in runs.said) == 2  # said by every process
    runs.left_out("train[:2]")
    runs.left_out("train")
    assert runs.searched == 2
    (root / "b.png").write_bytes((root / "a.png").read_bytes())
    assert runs.left_out("train") == [] and runs.searched == 3
    assert runs.left_out("train") == [] and runs.searched == 3
    (root / "c.png").write_bytes(b"no image")
    os.utime(root / "c.png", ns=(1, 1))
    assert runs.left_out("train") == ["c.png"]
    assert len(json.loads(runs.path.read_text())["searches"]) == 2  # none is of what was there


def test_only_the_process_that_owns_the_folder_writes(runs):
    runs.left_out("train", writes=False)
    assert not runs.path.exists()


@pytest.mark.parametrize("change", [
    lambda kept: "{",
    lambda kept: kept.replace('"b.png"', "7"),
    lambda kept: kept.replace('"left_out": [', '"left_out": [[99, "x"],'),
    lambda kept: kept.replace('"left_out": [', '"left_out": "", "more": ['),
])  # fmt: skip
def test_what_can_not_be_a_result_is_searched_anew(runs, change):
    runs.left_out("train")
    runs.path.write_text(change(runs.path.read_text()))
    assert runs.left_out("train") == ["b.png"] and runs.searched == 2
    assert runs.left_out("train") == ["b.png"] and runs.searched == 2


def test_a_file_that_changes_during_a_search_is_looked_at_again(root, runs, monkeypatch):
    find = decode.bad_examples

    def overtaken(*args, **kwargs):
        found = list(find(*args, **kwargs))
        (root / "c.png").write_bytes(b"no image any more")
        return iter(found)

    with monkeypatch.context() as patched:
        patched.setattr(decode, "bad_examples", overtaken)
        assert runs.left_out("train") == ["b.png"]
    assert sorted(runs.left_out("train")) == ["b.png", "c.png"] and runs.searched == 2
