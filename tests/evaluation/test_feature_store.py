import json
import os
import time

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.evaluation.feature_store import FeatureStore, collect
from simclr_tf.evaluation.features import FeatureBatch

IDENTITY = {"encoder": "abc", "split": "train"}


def batches(labels=True, fail_after=None):
    for start in range(0, 10, 4):
        if fail_after is not None and start >= fail_after:
            raise InputError("final_avg_pool", f"must be finite at example {start}", float("nan"))
        rows = np.arange(start, min(start + 4, 10))
        values = {
            "final_avg_pool": np.stack([rows, rows**2], axis=1).astype(np.float32),
            "proj_head_output": rows[:, None].astype(np.float32),
        }
        yield FeatureBatch(values, rows % 3 if labels else None)


class Counter:
    def __init__(self, **settings):
        self.calls, self.settings = 0, settings

    def __call__(self):
        self.calls += 1
        return batches(**self.settings)


def check(found):
    rows = np.arange(10)
    np.testing.assert_array_equal(found.features, np.stack([rows, rows**2], axis=1))
    np.testing.assert_array_equal(found.endpoints["proj_head_output"][:, 0], rows)
    np.testing.assert_array_equal(found.labels, rows % 3)


def test_in_memory_features_are_made_once():
    store, make = FeatureStore(), Counter()
    check(store.get(IDENTITY, make))
    check(store.get(dict(IDENTITY), make))
    assert make.calls == 1
    store.get({**IDENTITY, "split": "test"}, make)
    assert make.calls == 2


def test_stored_features_serve_later_processes(tmp_path):
    make = Counter()
    check(FeatureStore(str(tmp_path / "cache")).get(IDENTITY, make))
    again = FeatureStore(str(tmp_path / "cache")).get(IDENTITY, make)
    check(again)
    assert make.calls == 1
    assert isinstance(again.features, np.memmap) and not again.features.flags.writeable
    assert not list((tmp_path / "cache").glob(".*")), "no scratch folder is left"


def test_another_encoder_is_another_entry(tmp_path):
    make = Counter()
    for encoder in ("abc", "abd"):
        FeatureStore(str(tmp_path)).get({**IDENTITY, "encoder": encoder}, make)
    assert make.calls == 2 and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("encoder", ["", None])
def test_an_encoder_without_fingerprint_is_not_stored(tmp_path, encoder):
    FeatureStore(str(tmp_path)).get({"encoder": encoder}, Counter())
    assert not list(tmp_path.iterdir())


def test_unlabeled_features(tmp_path):
    for store in (FeatureStore(), FeatureStore(str(tmp_path))):
        assert store.get(IDENTITY, Counter(labels=False)).labels is None
    assert FeatureStore(str(tmp_path)).get(IDENTITY, Counter()).labels is None


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="example 4"):
        FeatureStore(str(tmp_path)).get(IDENTITY, Counter(fail_after=4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage",
    ["truncated", "missing rows", "bad json", "empty labels", "missing labels", "no endpoint",
     "one bit", "one label", "a name"],
)  # fmt: skip
def test_damaged_entries_are_made_again(tmp_path, damage):
    make = Counter()
    said: list[str] = []
    FeatureStore(str(tmp_path)).get(IDENTITY, make)
    (entry,) = tmp_path.iterdir()
    rows = entry / "final_avg_pool.float32"
    if damage == "truncated":
        rows.write_bytes(rows.read_bytes()[:-4])
    elif damage == "missing rows":
        rows.unlink()
    elif damage == "bad json":
        (entry / "features.json").write_text("{")
    elif damage == "no endpoint":
        (entry / "features.json").write_text('{"shapes": {}, "labels": true}')
    elif damage in ("one bit", "one label"):
        path = rows if damage == "one bit" else entry / "labels.npy"
        content = bytearray(path.read_bytes())
        content[-8] ^= 1
        path.write_bytes(content)
    elif damage == "a name":
        described = (entry / "features.json").read_text()
        (entry / "features.json").write_text(described.replace("final_avg", "../final_avg"))
    elif damage == "missing labels":
        (entry / "labels.npy").unlink()
    else:
        (entry / "labels.npy").write_bytes(b"")
    for _ in range(2):
        check(FeatureStore(str(tmp_path), said.append).get(IDENTITY, make))
    assert make.calls == 2 and list(tmp_path.iterdir()) == [entry]
    assert len(said) == 1 and said[0].startswith(f"note: features in {entry} are damaged (")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    FeatureStore(str(tmp_path)).get(IDENTITY, Counter())
    (entry,) = tmp_path.iterdir()
    (entry / "final_avg_pool.float32").unlink()
    os.mkfifo(entry / "final_avg_pool.float32")
    with pytest.raises(InputError, match="feature_cache must be a folder whose files"):
        FeatureStore(str(tmp_path)).get(IDENTITY, Counter())


def test_labels_that_do_not_belong_there_are_damage(tmp_path):
    make = Counter(labels=False)
    FeatureStore(str(tmp_path)).get(IDENTITY, make)
    (entry,) = tmp_path.iterdir()
    np.save(entry / "labels.npy", np.arange(10))
    assert FeatureStore(str(tmp_path)).get(IDENTITY, make).labels is None
    assert make.calls == 2


@pytest.mark.parametrize("kind", ["dangling link", "link to a folder"])
def test_a_link_in_the_place_of_an_entry_is_replaced(tmp_path, kind):
    cache, make = tmp_path / "cache", Counter()
    FeatureStore(str(cache)).get(IDENTITY, make)
    (entry,) = cache.iterdir()
    elsewhere = tmp_path / "elsewhere"
    entry.rename(elsewhere)
    entry.symlink_to(elsewhere if kind == "link to a folder" else tmp_path / "nothing")
    (elsewhere / "features.json").unlink()
    for _ in range(2):
        check(FeatureStore(str(cache)).get(IDENTITY, make))
    assert make.calls == 2 and not entry.is_symlink()
    assert (elsewhere / "final_avg_pool.float32").is_file(), "what a link points to stays"


def test_what_others_put_into_a_damaged_entry_stays(tmp_path):
    FeatureStore(str(tmp_path)).get(IDENTITY, Counter())
    (entry,) = tmp_path.iterdir()
    (entry / "features.json").unlink()
    (entry / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="feature_cache must be a folder whose files"):
        FeatureStore(str(tmp_path)).get(IDENTITY, Counter())
    assert (entry / "notes.txt").read_text() == "mine"


def test_an_entry_that_cannot_be_read_back_is_reported(tmp_path):
    FeatureStore(str(tmp_path)).get(IDENTITY, Counter())
    (entry,) = tmp_path.iterdir()
    entry.rename(tmp_path / "elsewhere")

    def blocked():
        yield from batches()
        (entry / "full").mkdir(parents=True)

    with pytest.raises(InputError, match="feature_cache must.*read back") as caught:
        FeatureStore(str(tmp_path)).get(IDENTITY, blocked)
    assert caught.value.received == str(tmp_path)


def age(path, hours):
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


def test_scratch_folders_of_killed_processes_go_after_a_day(tmp_path):
    FeatureStore(str(tmp_path)).get(IDENTITY, Counter())
    (entry,) = tmp_path.iterdir()
    # Hours since each file was written; the folder itself is two days old.
    ages = {"old": [30, 25], "in_use_": [30, 23], "empty": []}
    for name, hours in ages.items():
        folder = tmp_path / f".{entry.name}.{name:_<8}"
        folder.mkdir()
        for index, of_file in enumerate(hours):
            (folder / f"{index}.float32").write_text("rows")
            age(folder / f"{index}.float32", of_file)
        age(folder, 48)
    recent = tmp_path / f".{entry.name}.recent__"
    recent.mkdir()
    others = [tmp_path / ".notes", tmp_path / f".{entry.name}.notes.txt"]
    for other in others:
        other.mkdir()
        age(other, 48)
    age(entry, 48)
    FeatureStore(str(tmp_path))
    in_use = tmp_path / f".{entry.name}.in_use__"
    assert sorted(tmp_path.iterdir()) == sorted([entry, in_use, recent, *others])


def test_the_entry_says_what_it_is(tmp_path):
    FeatureStore(str(tmp_path)).get(IDENTITY, Counter())
    (entry,) = tmp_path.iterdir()
    described = json.loads((entry / "features.json").read_text())
    assert described["identity"] == IDENTITY
    assert described["shapes"]["final_avg_pool"] == [10, 2] and described["labels"] is True


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="feature_cache must be a folder"):
        FeatureStore(str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="feature_cache must be a local path"):
        FeatureStore("gs://bucket/cache")


def test_no_example_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least one example"):
        collect(iter([]))
    with pytest.raises(InputError, match="at least one example"):
        FeatureStore(str(tmp_path)).get(IDENTITY, lambda: iter([]))
