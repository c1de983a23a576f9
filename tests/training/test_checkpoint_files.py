"""`checkpoints.py` on disk: which files stay, and what kills and full disks leave of them."""

import contextlib
import errno
import json
import os
import pathlib
import random
import shutil
import signal
import time

import pytest
import tensorflow as tf

from simclr_tf.training import checkpoints
from simclr_tf.weights import integrity
from tests.training.runs import (
    DATA,
    INDEX,
    at_step,
    contents,
    filled,
    flip,
    program,
    resumed,
    small,
    steps_in,
    take_steps,
    truncate,
)

# What is kept.


def losses(folder, values, keep_best="train/contrast_loss", name="train/contrast_loss", **settings):
    """Saves a checkpoint for each value, at steps 1, 2, ..."""
    model, optimizer = small()
    store = checkpoints.CheckpointStore(
        str(folder), model, optimizer, keep_best=keep_best, **{"keep": 2, **settings}
    )
    for value in values:
        take_steps(model, optimizer, 1)
        store.save({name: value})
        assert tf.train.latest_checkpoint(str(folder)) == str(
            folder / f"ckpt-{int(optimizer.iterations.numpy())}"
        )


@pytest.mark.parametrize(
    ("name", "values", "kept"),
    [
        ("train/contrast_loss", [3, 1, 2, 5, 4], [2, 4, 5]),
        ("train/contrast_entropy", [3, 1, 2, 5, 4], [2, 4, 5]),
        ("train/weight_decay", [3, 1, 2, 5, 4], [2, 4, 5]),
        ("train/contrast_acc", [3, 9, 2, 5, 4], [2, 4, 5]),
        ("train/contrast_acc", [3, 9, 9, 5, 4], [2, 4, 5]),  # the older of two equals
        ("train/contrast_acc", [3, 9, 2, 10, 4, 1], [4, 5, 6]),  # until a better one exists
        ("train/contrast_acc", [3, 9, 2, float("inf"), 4, float("nan")], [2, 5, 6]),
        ("train/absent", [3, 9, 2, 5, 4], [4, 5]),
    ],
)
def test_the_best_by_a_training_metric_stays(tmp_path, name, values, kept):
    losses(tmp_path, values, keep_best=name, name=name.replace("absent", "other"))
    assert steps_in(tmp_path) == kept
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert list(state.all_model_checkpoint_paths) == [str(tmp_path / f"ckpt-{k}") for k in kept]


def test_the_best_by_an_evaluation_stays(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(
        str(tmp_path), model, optimizer, keep=1, keep_best="eval/label_top_1_accuracy"
    )
    for step, accuracy in enumerate([0.2, 0.7, 0.3, None, 0.6], start=1):
        take_steps(model, optimizer, 1)
        store.save({"eval/label_top_1_accuracy": 100.0 * step})  # not what counts
        if accuracy is not None:
            result = {"eval/label_top_1_accuracy": accuracy, "global_step": step}
            (tmp_path / f"result_{step}.json").write_text(json.dumps(result))
    (tmp_path / "result_4.json").write_text("{")
    assert steps_in(tmp_path) == [2, 5]


def test_a_damaged_best_gives_way_to_the_next(tmp_path):
    losses(tmp_path, [1, 3, 2, 4], keep=4)
    flip(tmp_path / f"ckpt-1{DATA}")
    at_step(5, tmp_path, keep=1, keep_best="train/contrast_loss").save({"train/contrast_loss": 9})
    assert steps_in(tmp_path) == [3, 5]


def test_rotation_knows_its_own_names_and_reads_each_file_once(tmp_path, monkeypatch):
    filled(tmp_path, [1, 2, 3])
    for name in ("best-1.index", "model.ckpt-2.index", "ckpt-x.index", "myckpt-2.index"):
        (tmp_path / name).write_text("someone's")
    hashed = []
    sha256 = integrity.sha256
    monkeypatch.setattr(integrity, "sha256", lambda path: hashed.append(path) or sha256(path))
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer, keep=2)
    take_steps(model, optimizer, 4)
    for _ in range(3):
        store.save()
        take_steps(model, optimizer, 1)
    own = [path.name for path in tmp_path.glob("ckpt-*.index") if path.name != "ckpt-x.index"]
    assert sorted(own) == ["ckpt-5.index", "ckpt-6.index"]
    assert len(list(tmp_path.glob("*.index"))) == 2 + 4
    assert sorted(os.path.basename(path) for path in hashed) == sorted(
        f"ckpt-{step}{suffix}" for step in (3, 4, 5, 6) for suffix in (INDEX, DATA)
    )


def test_the_one_just_saved_stays_even_below_others(tmp_path):
    filled(tmp_path, [8, 9])
    assert os.path.exists(at_step(3, tmp_path, keep=1).save() + ".index")
    assert steps_in(tmp_path) == [3, 8, 9]


def test_what_can_not_be_deleted_is_told_and_in_no_ones_way(tmp_path, monkeypatch):
    filled(tmp_path, [1, 2])
    said = []

    def refuse(path):
        raise tf.errors.PermissionDeniedError(None, None, f"{path}; Permission denied")

    monkeypatch.setattr(tf.io.gfile, "remove", refuse)
    at_step(3, tmp_path, keep=1, say=said.append).save()
    assert len(said) == 2 and all("could not be deleted" in line for line in said)
    assert resumed(tmp_path) == (3, [])


# Kills and full disks.


LEFTOVERS = [
    "ckpt-7_temp/part-00000-of-00001.data-00000-of-00001.tempstate123",
    "ckpt-7_temp_0123456789abcdef/part-00000-of-00001.index",
    "ckpt-8.part-00000-of-00001.data-00000-of-00001.tempstate8609955157272265355",
    "ckpt-8.data-00000-of-00001",
    "ckpt-8.manifest.json",
    ".ckpt-7.0a1b2c3d.tmp/ckpt-7.index",
    ".checkpoint.0a1b2c3d.tmp",
    "checkpoint.tmp0123456789abcdef0123456789abcdef",
]
FOREIGN = [
    "ckpt-7_temporary/notes.txt",
    "ckpt_temp/x",
    "best.data-00000-of-00001",
    "model.ckpt-3.data-00000-of-00001",
    "ckpt-9.data-00000-of-00001",  # under way from elsewhere
    "ckpt-8.data-00001-of-00002",  # not in the manifest
    "ckpt-5.manifest.json",  # no manifest
    "ckpt-6_temp/ckpt-6.notes",
    "x.tempstate3",
    ".result.json.0a1b2c3d.tmp",
    "config.json",
    "events.out.tfevents.1",
]


@pytest.mark.parametrize("resumes", [False, True])
def test_leftovers_go_at_a_resume_or_save_and_foreign_files_stay(tmp_path, resumes):
    filled(tmp_path, [2])
    before = contents(tmp_path)
    for name in LEFTOVERS + FOREIGN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    listed = {name: {"size": 1, "sha256": ""} for name in (".index", ".data-00000-of-00001")}
    (tmp_path / "ckpt-8.manifest.json").write_text(json.dumps({"step": 8, "files": listed}))
    at_step(2, tmp_path).save()  # there already: writes nothing
    assert all((tmp_path / name).exists() for name in LEFTOVERS + FOREIGN)
    if resumes:
        step, said = resumed(tmp_path)
        assert step == 2 and len(said) == 1
        assert said[0].endswith("ckpt-6_temp could not be deleted (it holds other files)")
    else:
        at_step(3, tmp_path).save()
    assert not [name for name in LEFTOVERS if (tmp_path / name.split("/")[0]).exists()]
    assert all((tmp_path / name).read_text() == "x" for name in FOREIGN)
    after = contents(tmp_path)
    assert all(after[name] == data for name, data in before.items() if name != "checkpoint")


def test_links_and_folders_of_others_under_our_names_cost_nothing(tmp_path):
    documents, run = tmp_path / "documents", tmp_path / "run"
    for folder in (documents, run / ".ckpt-7.0a1b2c3d.tmp", run / "ckpt-7_temp"):
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
    filled(run, [2])
    for name in (".ckpt-2.00000000.tmp", "ckpt-2_temp", ".checkpoint.0a1b2c3d.tmp"):
        (run / name).symlink_to(documents)
    said = []
    at_step(3, run, say=said.append).save()
    assert [line.split()[1] for line in said] == [
        f"{run}/.ckpt-7.0a1b2c3d.tmp", f"{run}/ckpt-7_temp"]  # fmt: skip
    assert not [path for path in run.iterdir() if path.is_symlink()]
    for folder in (documents, run / ".ckpt-7.0a1b2c3d.tmp", run / "ckpt-7_temp"):
        assert (folder / "notes.txt").read_text() == "mine"


class Killed(BaseException):
    pass


class Power:
    """Counts what touches the disk, and fails at everything from the `last` call on."""

    def __init__(self, patch, last):
        self.calls = 0
        self.last = last
        touching = {
            tf.io.gfile: ("makedirs", "rename", "remove", "rmtree"),
            os: ("replace", "fsync", "unlink"),
            tf.train.Checkpoint: ("write",),
        }
        for module, names in touching.items():
            for name in names:
                patch.setattr(module, name, self.counted(name, getattr(module, name)))

    def counted(self, name, function):
        def call(*arguments, **named):
            self.calls += 1
            if self.calls > self.last:
                raise Killed
            if self.calls == self.last and name == "write":
                partial = pathlib.Path(f"{arguments[1]}_temp")  # as TensorFlow leaves it
                partial.mkdir()
                (partial / "part-00000-of-00001.data-00000-of-00001.tempstate1").write_text("x")
                raise Killed
            return function(*arguments, **named)

        return call


@pytest.mark.parametrize("damaged", [False, True])
def test_killed_at_any_access_to_the_disk(tmp_path, damaged):
    """Every kill leaves the checkpoint before or the new one; the next save leaves no trace."""
    settings = {"keep": 2, "keep_best": "train/contrast_loss"}
    start = tmp_path / "start"
    losses(start, [1, 3, 4])
    if damaged:  # a damaged one of the step that will be written
        at_step(4, start, **settings).save()
        truncate(start / f"ckpt-4{DATA}")
    last = 0
    outcomes = []
    while True:
        folder = tmp_path / str(last)
        shutil.copytree(start, folder)
        store = at_step(4, folder, **settings)
        with pytest.MonkeyPatch.context() as patch:
            power = Power(patch, last)
            with contextlib.suppress(Killed):
                store.save({"train/contrast_loss": 5})
        step, said = resumed(folder)
        assert step in (3, 4) and (damaged or not said)
        outcomes.append(step)
        assert 1 in steps_in(folder)  # the best
        newest = tf.train.latest_checkpoint(str(folder))
        assert damaged or integrity.problem(newest) is None
        at_step(5, folder, **settings).save({"train/contrast_loss": 5})
        kept = [1, 4, 5] if step == 4 else [1, 3, 5]
        assert set(os.listdir(folder)) == {"checkpoint"} | {
            f"ckpt-{k}{suffix}" for k in kept for suffix in (INDEX, DATA, ".manifest.json")
        }
        if power.calls <= last:
            break
        last += 1
    assert outcomes == sorted(outcomes) and set(outcomes) == {3, 4} and last > 10


def test_a_checkpoint_is_on_disk_before_it_shows_and_before_another_goes(tmp_path, monkeypatch):
    """A machine that is switched off loses what was not forced to disk: contents, then names."""
    filled(tmp_path, [1])
    store = at_step(2, tmp_path, keep=1)
    fsync, rename, remove = os.fsync, tf.io.gfile.rename, tf.io.gfile.remove
    forced, shown, gone = {}, [], []

    def force(descriptor):
        fsync(descriptor)
        found = os.fstat(descriptor)
        forced[found.st_ino] = (found.st_size, len(shown))

    def show(source, target, **named):
        found = os.stat(source)
        assert forced.get(found.st_ino, (0,))[0] == found.st_size, f"{target} may turn out empty"
        rename(source, target, **named)
        shown.append(os.path.basename(target))

    def let_go(path):
        assert forced.get(os.stat(tmp_path).st_ino, (0, 0))[1] == 3, (
            f"{path} goes before the names last"
        )
        gone.append(os.path.basename(path))
        remove(path)

    monkeypatch.setattr(os, "fsync", force)
    monkeypatch.setattr(tf.io.gfile, "rename", show)
    monkeypatch.setattr(tf.io.gfile, "remove", let_go)
    store.save()
    parts = [INDEX, DATA, ".manifest.json"]
    assert (
        sorted(shown) == sorted(f"ckpt-2{part}" for part in parts) and shown[-1] == "ckpt-2.index"
    )
    assert sorted(gone) == sorted(f"ckpt-1{part}" for part in parts) and gone[0] == "ckpt-1.index"


def test_a_process_killed_while_it_saves_resumes(tmp_path):
    reached = 0
    for seed in range(3):
        process = program("loop", tmp_path)
        lines = []
        with process:
            for line in process.stdout:
                lines.append(line.strip())
                if line.startswith("saved"):
                    time.sleep(random.Random(seed).uniform(0.1, 0.7))
                    process.send_signal(signal.SIGKILL)
        assert lines[0].startswith("resumed"), lines  # no warning before it
        assert int(lines[0].split()[1]) >= reached
        reached = int(lines[-1].split()[1])
        found = steps_in(tmp_path)
        assert found and found[-1] >= reached
        assert integrity.problem(str(tmp_path / f"ckpt-{found[-1]}")) is None
    assert 3 in steps_in(tmp_path)  # the best


def test_a_full_disk_leaves_everything_as_it_was(tmp_path):
    """RLIMIT_FSIZE: the kernel refuses every byte above the limit."""
    process = program("full", tmp_path)
    found = json.loads(process.communicate(timeout=120)[0].splitlines()[-1])
    assert found["errors"] == [
        f"{tmp_path}/ckpt-{step} could not be written (File too large); "
        f"the newest intact checkpoint is {tmp_path}/ckpt-1"
        for step in (2, 2, 3)
    ]
    assert found["files"][0] == found["files"][1] == found["files"][2]
    assert sorted(found["files"][0][0]) == ["checkpoint", "ckpt-1.data-00000-of-00001",
                                            "ckpt-1.index", "ckpt-1.manifest.json"]  # fmt: skip
    assert found["files"][0][1] == f"{tmp_path}/ckpt-1"
    assert found["later"] == f"{tmp_path}/ckpt-3" and steps_in(tmp_path) == [1, 3]


def full_disk(path="ckpt-4"):
    text = "{{function_node __wrapped__SaveV2_dtypes_2_device_/job:localhost/replica:0/task:0}} "
    text += f"{path}; No space left on device [Op:SaveV2]\nmore"
    return tf.errors.ResourceExhaustedError(None, None, text)


@pytest.mark.parametrize("module, name", [
    (tf.train.Checkpoint, "write"), (tf.io.gfile, "rename"), (tf.io.gfile, "makedirs"),
    (os, "fsync"), (integrity, "write_manifest")])  # fmt: skip
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_no_space_at_any_point_is_one_line_and_changes_nothing(
    tmp_path, monkeypatch, module, name, calls
):
    filled(tmp_path, [2, 3])
    before = contents(tmp_path)
    store = at_step(4, tmp_path, keep=1)
    function, count = getattr(module, name), 0

    def fails(*arguments, **named):
        nonlocal count
        count += 1
        if count < calls:
            return function(*arguments, **named)
        if module is os:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise full_disk(f"{tmp_path}/.ckpt-4.0a1b2c3d.tmp/ckpt-4_temp/part-00000.tempstate1")

    monkeypatch.setattr(module, name, fails)
    try:
        store.save()
    except checkpoints.CheckpointError as error:
        assert str(error) == (
            f"{tmp_path}/ckpt-4 could not be written (No space left on device); "
            f"the newest intact checkpoint is {tmp_path}/ckpt-3"
        )
        assert contents(tmp_path) == before
    else:
        assert count < calls
    monkeypatch.undo()
    store.save()
    assert steps_in(tmp_path) == [4]


def test_what_was_damaged_and_not_written_anew_does_not_count_as_kept(tmp_path, monkeypatch):
    """Though this process itself had written it, intact."""
    filled(tmp_path, [2])
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer, keep=2)
    take_steps(model, optimizer, 3)
    store.save()
    flip(tmp_path / f"ckpt-3{DATA}")

    def full(*arguments):
        raise full_disk()

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.Checkpoint, "write", full)
        with pytest.raises(checkpoints.CheckpointError, match="newest intact .*ckpt-2"):
            store.save()
    take_steps(model, optimizer, 1)
    store.save()
    assert steps_in(tmp_path) == [2, 4]


def test_no_space_for_the_checkpoint_file_is_told_as_such(tmp_path, monkeypatch):
    filled(tmp_path, [2])
    state = (tmp_path / "checkpoint").read_text()

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints, "write_text_atomically", full)
    with pytest.raises(checkpoints.CheckpointError) as caught:
        at_step(3, tmp_path, keep=1).save()
    assert str(caught.value) == (
        f"{tmp_path}/checkpoint could not be written (No space left on device); "
        f"the newest intact checkpoint is {tmp_path}/ckpt-3"
    )
    assert (tmp_path / "checkpoint").read_text() == state and steps_in(tmp_path) == [2, 3]


def test_the_first_checkpoint_that_can_not_be_written_says_there_is_none(tmp_path):
    (tmp_path / "file").touch()
    store = at_step(1, tmp_path / "file")
    with pytest.raises(checkpoints.CheckpointError, match="newest intact checkpoint is None"):
        store.save()
