"""Resuming, damage, several workers, following another process."""

import json
import os
import socket
import threading

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import EncoderConfig, ModelConfig, ProjectionConfig
from simclr_tf.errors import InputError
from simclr_tf.models.network import Network
from simclr_tf.optimizers.lars import LARS
from simclr_tf.training import checkpoints
from simclr_tf.weights import integrity, locate
from tests.training.runs import (
    DATA,
    INDEX,
    at_step,
    bias_after,
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
from tests.weights import foreign_checkpoints, reference_training

# Resuming.


def test_resume_restores_model_optimizer_and_step(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer)
    assert store.restore_latest() == 0
    take_steps(model, optimizer, 3)
    store.save()
    take_steps(model, optimizer, 2)
    expected = [v.numpy() for v in model.variables]

    again, again_optimizer = small()
    resumed = checkpoints.CheckpointStore(str(tmp_path), again, again_optimizer)
    assert resumed.restore_latest() == 3
    take_steps(again, again_optimizer, 2)
    for value, variable in zip(expected, again.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


def test_names_rotation_and_no_second_write_of_a_step(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer, keep=2)
    for _ in range(4):
        take_steps(model, optimizer, 5)
        first = store.save()
        written = os.stat(first + ".index").st_mtime_ns
        assert store.save() == first
        assert os.stat(first + ".index").st_mtime_ns == written
    names = [os.path.basename(prefix) for prefix in locate.list_checkpoints(str(tmp_path))]
    assert names == ["ckpt-15", "ckpt-20"]
    assert not [name for name in os.listdir(tmp_path) if "temp" in name]


def test_another_model_is_refused(tmp_path):
    model, optimizer = small()
    take_steps(model, optimizer, 1)
    checkpoints.CheckpointStore(str(tmp_path), model, optimizer).save()
    other = checkpoints.CheckpointStore(str(tmp_path), *small(units=5))
    with pytest.raises(InputError, match="model_dir must hold checkpoints of this model"):
        other.restore_latest()


@pytest.mark.parametrize("there", ["another layer", "another program", "names alone"])
def test_what_does_not_fit_is_explained_in_one_line(tmp_path, there):
    if there == "another layer":
        model, optimizer = small()
        take_steps(model, optimizer, 1)
        checkpoints.CheckpointStore(str(tmp_path), model, optimizer).save()
        told = (r"4 of 5 have another shape: dense/kernel is \[2, 3\] there, \[2, 5\] here, "
                r"dense/bias is \[3\] there, \[5\] here, m/dense/kernel .* and 1 more")  # fmt: skip
    elif there == "another program":
        tf.train.Checkpoint(net=tf.Variable(1.0, name="net/x")).write(str(tmp_path / "ckpt-1"))
        told = r"5 of 5 variables are not there: dense/kernel, dense/bias, .*; it holds net/x\)"
    else:
        foreign_checkpoints.write_tf1(str(tmp_path / "ckpt-1"), {"a/b": np.ones(2)})
        told = r"5 of 5 variables are not there: dense/kernel, dense/bias, .*; it holds a/b\)"
    other = checkpoints.CheckpointStore(str(tmp_path), *small(units=5))
    with pytest.raises(InputError, match=told) as caught:
        other.restore_latest()
    assert "\n" not in str(caught.value) and "--model_dir=NEW" in str(caught.value)


def test_checkpoints_of_another_program_are_never_deleted(tmp_path):
    model, optimizer = small()
    saver = tf.train.Checkpoint(model=model, optimizer=optimizer, global_step=optimizer.iterations)
    for step in (1, 2, 7):  # as an older version or another program leaves them: no manifest
        take_steps(model, optimizer, step - int(optimizer.iterations.numpy()))
        manager = tf.train.CheckpointManager(saver, str(tmp_path), None, checkpoint_name="ckpt")
        manager.save(checkpoint_number=step)
    foreign = contents(tmp_path)
    (tmp_path / f"ckpt-7{INDEX}").write_bytes(b"damaged")
    again, again_optimizer = small()
    store = checkpoints.CheckpointStore(
        str(tmp_path), again, again_optimizer, keep=2, say=lambda text: None
    )
    assert store.restore_latest() == 2
    for _ in range(4):
        take_steps(again, again_optimizer, 5)
        store.save()  # 7, 12, 17, 22
    assert steps_in(tmp_path) == [1, 2, 17, 22]
    now = contents(tmp_path)
    for step in (1, 2):
        for suffix in (INDEX, DATA):
            assert now[f"ckpt-{step}{suffix}"] == foreign[f"ckpt-{step}{suffix}"]
    assert now[f"ckpt-7{INDEX}.damaged"] == b"damaged"
    assert now[f"ckpt-7{DATA}.damaged"] == foreign[f"ckpt-7{DATA}"]


@pytest.mark.whole
def test_a_run_of_the_reference_goes_on(tmp_path):
    reference_training.write(tmp_path, step=20)
    projection = ProjectionConfig(proj_out_dim=reference_training.PROJECTION)
    encoder = EncoderConfig(
        resnet_depth=18, width_multiplier=reference_training.WIDTH, stem="cifar"
    )

    def built():
        model = Network(ModelConfig(encoder=encoder, projection=projection), 10)
        optimizer = LARS(0.1)
        optimizer.build(model.trainable_variables)
        return model, optimizer

    said = []
    model, optimizer = built()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer, keep=1, say=said.append)
    assert store.restore_latest() == 20
    assert "run of the reference implementation" in said[0]
    before = contents(tmp_path)
    take_steps(model, optimizer, 2)
    store.save()
    again = checkpoints.CheckpointStore(str(tmp_path), *built(), say=said.append)
    assert again.restore_latest() == 22 and len(said) == 1
    assert before.items() <= contents(tmp_path).items()


def test_resume_finds_the_newest_without_the_checkpoint_file(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer)
    for _ in range(2):
        take_steps(model, optimizer, 5)
        store.save()
    (tmp_path / "checkpoint").unlink()
    assert checkpoints.CheckpointStore(str(tmp_path), *small()).restore_latest() == 10


def test_a_resume_does_what_a_killed_save_had_still_to_do(tmp_path):
    """A run that is complete does not save again."""
    filled(tmp_path, [2])
    killed = (tmp_path / "checkpoint").read_text()
    at_step(4, tmp_path).save()
    (tmp_path / "checkpoint").write_text(killed)  # before it was written, and ckpt-2 deleted
    assert checkpoints.CheckpointStore(str(tmp_path), *small(), keep=1).restore_latest() == 4
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-4")
    assert steps_in(tmp_path) == [4]


def test_the_checkpoint_file_may_point_elsewhere(tmp_path):
    filled(tmp_path, [2, 4])
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\n')
    assert resumed(tmp_path) == (4, [])
    (tmp_path / "checkpoint").write_text("garbage")
    assert resumed(tmp_path) == (4, [])
    assert at_step(4, tmp_path).newest_intact() == str(tmp_path / "ckpt-4")


def test_checkpoints_of_a_checkpoint_manager_resume_and_it_resumes_ours(tmp_path):
    """Older versions wrote them so, and must not choke on ours."""
    model, optimizer = small()
    theirs = tf.train.Checkpoint(model=model, optimizer=optimizer,
                                 global_step=optimizer.iterations)  # fmt: skip
    take_steps(model, optimizer, 3)
    manager = tf.train.CheckpointManager(theirs, str(tmp_path), 5, checkpoint_name="ckpt")
    manager.save(checkpoint_number=3)
    assert resumed(tmp_path) == (3, [])
    at_step(5, tmp_path).save()
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint", "ckpt-3.data-00000-of-00001", "ckpt-3.index", "ckpt-5.data-00000-of-00001",
        "ckpt-5.index", "ckpt-5.manifest.json"]  # fmt: skip
    manager = tf.train.CheckpointManager(theirs, str(tmp_path), 5, checkpoint_name="ckpt")
    assert manager.checkpoints == [str(tmp_path / "ckpt-3"), str(tmp_path / "ckpt-5")]
    theirs.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    np.testing.assert_allclose(model.layers[0].bias.numpy(), bias_after(5), rtol=1e-5)


def test_a_folder_that_moved_still_names_its_newest(tmp_path, monkeypatch):
    filled(tmp_path / "a", [1, 2])
    (tmp_path / "a").rename(tmp_path / "b")
    assert tf.train.latest_checkpoint(str(tmp_path / "b")) == str(tmp_path / "b" / "ckpt-2")
    monkeypatch.chdir(tmp_path)
    at_step(3, "b").save()
    assert tf.train.latest_checkpoint("b") == "b/ckpt-3"


# Damage.


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("suffix", [INDEX, DATA])
@pytest.mark.parametrize("harm", [flip, truncate])
def test_a_damaged_newest_is_passed_over_with_a_warning_and_written_anew(
    tmp_path, harm, suffix, manifest
):
    filled(tmp_path, [2, 4, 6])
    if not manifest:  # as older versions left them
        for path in tmp_path.glob("*.manifest.json"):
            path.unlink()
    before = contents(tmp_path)
    harm(tmp_path / f"ckpt-6{suffix}")
    damaged = contents(tmp_path)
    step, said = resumed(tmp_path)
    assert step == 4 and len(said) == 1
    reason = f"ckpt-6{suffix}" if manifest else "TensorFlow can't read it"
    assert said[0].startswith(f"warning: {tmp_path}/ckpt-6 is damaged ({reason}")
    assert said[0].endswith(f"); using {tmp_path}/ckpt-4") and "\n" not in said[0]
    assert contents(tmp_path) == damaged  # left while it is the newest
    at_step(5, tmp_path).save()
    assert steps_in(tmp_path) == [2, 4, 5, 6]
    at_step(6, tmp_path).save()
    assert resumed(tmp_path) == (6, [])
    assert integrity.has_manifest(str(tmp_path / "ckpt-6"))
    assert len((tmp_path / f"ckpt-6{suffix}").read_bytes()) == len(before[f"ckpt-6{suffix}"])


def test_several_damaged_ones_are_passed_over_and_all_damaged_are_refused(tmp_path):
    filled(tmp_path, [2, 4, 6])
    truncate(tmp_path / "ckpt-6.index")
    (tmp_path / f"ckpt-4{DATA}").unlink()
    step, said = resumed(tmp_path)
    assert step == 2
    assert [line.split(" is damaged (")[0] for line in said] == [
        f"warning: {tmp_path}/ckpt-6", f"warning: {tmp_path}/ckpt-4"]  # fmt: skip
    assert all(line.endswith(f"using {tmp_path}/ckpt-2") for line in said)
    flip(tmp_path / f"ckpt-2{DATA}", 3)
    store = at_step(1, tmp_path)
    with pytest.raises(InputError) as caught:
        store.restore_latest()
    text = str(caught.value)
    assert text.startswith("model_dir must hold an intact checkpoint, or be another folder (ckpt-6")
    assert text.index("ckpt-6:") < text.index("ckpt-4:") < text.index("ckpt-2:")
    assert str(tmp_path) in text and "\n" not in text and store.newest_intact() is None


def test_an_intact_checkpoint_that_does_not_fit_is_no_reason_for_an_older_one(tmp_path):
    filled(tmp_path, [2])
    model, optimizer = small(units=5)
    take_steps(model, optimizer, 4)
    checkpoints.CheckpointStore(str(tmp_path), model, optimizer).save()
    with pytest.raises(InputError, match="must hold checkpoints of this model.*ckpt-4"):
        checkpoints.CheckpointStore(str(tmp_path), *small()).restore_latest()


def test_a_damaged_one_neither_counts_as_kept_nor_stays_once_it_is_old(tmp_path):
    filled(tmp_path, [1, 2, 3])
    flip(tmp_path / f"ckpt-2{DATA}")
    at_step(4, tmp_path, keep=3).save()
    assert steps_in(tmp_path) == [1, 3, 4]


# What all workers restore.


def test_workers_restore_the_agreed_step(tmp_path):
    filled(tmp_path, [2, 4, 6])
    asked = []

    def agree(step):
        asked.append(step)
        return 4

    assert resumed(tmp_path, agree) == (4, [])
    flip(tmp_path / f"ckpt-6{DATA}")
    step, said = resumed(tmp_path, agree)
    assert step == 4 and said[0].endswith("ckpt-4")
    assert asked == [6, 4]
    assert resumed(tmp_path, lambda step: 0) == (0, [])  # the first worker starts anew
    assert resumed(tmp_path / "empty", lambda step: asked.append(step) or 0) == (0, [])
    assert asked[-1] == 0


def test_an_agreed_step_that_is_not_here_or_damaged_is_refused(tmp_path):
    filled(tmp_path, [2, 4])
    flip(tmp_path / f"ckpt-2{DATA}")
    for folder, step in ((tmp_path, 8), (tmp_path, 2), (tmp_path / "empty", 4)):
        with pytest.raises(InputError, match=f"model_dir must hold an intact ckpt-{step}"):
            resumed(folder, lambda found, step=step: step)


def test_all_workers_hear_of_a_folder_where_all_are_damaged(tmp_path):
    filled(tmp_path, [2])
    flip(tmp_path / f"ckpt-2{DATA}")
    asked = []
    with pytest.raises(InputError, match="intact"):
        resumed(tmp_path, lambda step: asked.append(step) or step)
    assert asked == [0]


def test_a_worker_that_does_not_write_takes_part_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    written = []
    write = tf.train.Checkpoint.write

    def counted(self, prefix, *more):
        written.append(write(self, prefix, *more))
        assert os.path.exists(written[-1] + ".index")

    monkeypatch.setattr(tf.train.Checkpoint, "write", counted)
    model, optimizer = small()
    folder = tmp_path / "run"
    store = checkpoints.CheckpointStore(str(folder), model, optimizer, writes=False)
    take_steps(model, optimizer, 3)
    assert store.save({"train/x": 1.0}) == str(folder / "ckpt-3")
    store.save()  # the first worker would not write either
    assert len(written) == 1 and str(tmp_path / "temporary") in written[0]
    assert not folder.exists() and not list((tmp_path / "temporary").iterdir())
    filled(folder, [5])
    (folder / "ckpt-9_temp").mkdir()  # another process is at it
    before = sorted(os.listdir(folder))
    assert store.restore_latest() == 5
    store.save()
    take_steps(model, optimizer, 1)
    store.save()
    assert sorted(os.listdir(folder)) == before


def test_two_workers_share_a_folder(tmp_path):
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            ports.append(free.getsockname()[1])
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    (tmp_path / "temporary").mkdir()
    workers = [
        program("worker", tmp_path / "run", TMPDIR=str(tmp_path / "temporary"),
                TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}))
        for i in range(2)
    ]  # fmt: skip
    try:
        outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    first, second = (json.loads(output.splitlines()[-1]) for output in outputs)
    assert first == second and first["resumed"] == 3
    assert steps_in(tmp_path / "run") == [2, 3]
    assert len(os.listdir(tmp_path / "run")) == 2 * 3 + 1
    assert not os.listdir(tmp_path / "temporary")


# Following.


def test_follow_yields_all_up_to_the_last_and_gives_up_with_a_message(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer)
    for _ in range(2):
        take_steps(model, optimizer, 4)
        store.save()
    lines = []
    follow = checkpoints.follow_checkpoints(str(tmp_path), 8, 0.0, lines.append, poll_secs=0.01)
    assert [locate.checkpoint_step(p) for p in follow] == [4, 8]
    assert lines == []
    follow = checkpoints.follow_checkpoints(str(tmp_path), 12, 0.02, lines.append, poll_secs=0.01)
    assert [locate.checkpoint_step(p) for p in follow] == [4, 8]
    assert "no new checkpoint" in lines[0]


def test_follow_passes_over_damage_and_yields_what_was_written_anew(tmp_path):
    filled(tmp_path, [2, 4, 6])
    flip(tmp_path / f"ckpt-4{DATA}")
    truncate(tmp_path / "ckpt-6.index")
    lines, steps = [], []
    follow = checkpoints.follow_checkpoints(str(tmp_path), 6, 5.0, lines.append, poll_secs=0.01)
    steps.append(locate.checkpoint_step(next(follow)))
    rewriting = threading.Timer(0.3, at_step(6, tmp_path, keep=9).save)
    rewriting.start()
    steps += [locate.checkpoint_step(prefix) for prefix in follow]
    rewriting.join()
    assert steps == [2, 6], lines
    assert [line.split(" (")[0] for line in lines] == [
        f"warning: {tmp_path}/ckpt-{step} is damaged" for step in (4, 6)
    ]
    assert all(line.endswith("; skipped") for line in lines)


def test_follow_waits_for_the_manifest_of_a_checkpoint_that_is_being_written(tmp_path):
    filled(tmp_path, [2, 4])
    complete = {name: data for name, data in contents(tmp_path).items() if "ckpt-4." in name}
    for name in complete:
        (tmp_path / name).unlink()
    (tmp_path / "ckpt-4.index").write_bytes(complete["ckpt-4.index"][:50])  # so far

    def finish():
        for name in sorted(complete):
            (tmp_path / name).write_bytes(complete[name])

    writing = threading.Timer(0.4, finish)
    writing.start()
    lines = []
    follow = checkpoints.follow_checkpoints(str(tmp_path), 4, 5.0, lines.append, poll_secs=0.01)
    assert [locate.checkpoint_step(prefix) for prefix in follow] == [2, 4]
    writing.join()
    assert lines == []


class Clock:
    """Stands for the module `time`: time passes where somebody sleeps."""

    def __init__(self):
        self.now, self.pauses = 100.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.pauses.append(seconds)


@pytest.mark.parametrize(("timeout", "pauses"), [(5.0, [2.0, 2.0, 2.0]), (0.5, [0.5])])
def test_follow_looks_no_more_often_than_it_is_told(tmp_path, monkeypatch, timeout, pauses):
    """A look costs requests to a remote storage."""
    clock, lines = Clock(), []
    monkeypatch.setattr(checkpoints, "time", clock)
    assert not list(checkpoints.follow_checkpoints(str(tmp_path), 4, timeout, lines.append))
    assert clock.pauses == pauses and len(lines) == 2


def test_follow_takes_runs_of_older_versions_unread(tmp_path):
    for step in (1, 2):
        (tmp_path / f"ckpt-{step}.index").touch()
    lines = []
    follow = checkpoints.follow_checkpoints(str(tmp_path), 2, 0.0, lines.append, poll_secs=0.01)
    assert [locate.checkpoint_step(prefix) for prefix in follow] == [1, 2] and lines == []
