"""One run per folder, against real processes."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import sys

import pytest

from simclr_tf import run_folder
from simclr_tf.errors import InputError, RunError
from simclr_tf.training import run_lock
from tests import warm

PROGRAM = pathlib.Path(__file__).with_name("lock_program.py")
REPOSITORY = PROGRAM.parents[2]


@contextlib.contextmanager
def holder(folder, *more):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = warm.Program(
        [sys.executable, str(PROGRAM), str(folder), *more],
        stdin=warm.PIPE, stdout=warm.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_until(process, last):
    lines = []
    while last not in (line := process.stdout.readline()):
        assert line, lines
        lines.append(line.strip())
    return [*lines, line.strip()]


def test_a_second_run_is_refused_and_told_the_owner_until_the_first_ends(tmp_path):
    folder = tmp_path / "new" / "run"  # made by the lock
    with holder(folder) as first:
        lines_until(first, "locked")
        owner = json.loads((folder / "run.lock").read_text())
        assert owner["pid"] == first.pid and owner["host"] == socket.gethostname()
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]", owner["since"])
        assert "lock_program.py" in owner["command"]
        with pytest.raises(InputError) as caught, run_lock.lock_run(str(folder)):
            pass
        assert str(caught.value) == (
            f"model_dir must not be in use by another run (process {first.pid} on host "
            f"{owner['host']} since {owner['since']}). Received: {str(folder)!r}"
        )
        with holder(folder) as second:
            assert f"process {first.pid} on host" in second.communicate("")[0]
            assert second.returncode == 3
        assert first.communicate("")[0] == "released\n"
    assert not folder.exists()
    said = []
    with run_lock.lock_run(str(folder), said.append):
        pass
    assert said == []


def test_the_lock_of_a_killed_run_is_taken_over_with_a_note(tmp_path):
    with holder(tmp_path) as first:
        lines_until(first, "locked")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    said = []
    with run_lock.lock_run(str(tmp_path), said.append):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    assert len(said) == 1 and "taking over" in said[0] and f"process {first.pid} on" in said[0]
    assert not list(tmp_path.iterdir())


def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path):
    with holder(tmp_path, "fork") as first:
        child = int(lines_until(first, "locked")[0].removeprefix("child "))
        try:
            with pytest.raises(InputError), run_lock.lock_run(str(tmp_path)):
                pass  # the child closed its copy, the parent's counts
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            os.kill(child, 0)  # still there
            with run_lock.lock_run(str(tmp_path), lambda line: None):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


LEAVING = """
import os
from simclr_tf.training.run_lock import lock_run
with lock_run({folder!r}):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print(os.path.exists({folder!r} + "/run.lock"))
"""


def test_a_child_that_leaves_the_block_does_not_release_its_parents_lock(tmp_path):
    code = LEAVING.format(folder=str(tmp_path))
    found = warm.run([sys.executable, "-c", code], capture_output=True, text=True,
                           check=True, cwd=REPOSITORY)  # fmt: skip
    assert found.stdout == "True\n"
    assert not list(tmp_path.iterdir())


def test_two_runs_of_one_process_exclude_each_other_and_errors_release(tmp_path):
    with pytest.raises(KeyError), run_lock.lock_run(str(tmp_path)):
        with pytest.raises(InputError, match=f"process {os.getpid()}"):
            run_lock.lock_run(str(tmp_path)).__enter__()
        raise KeyError
    with run_lock.lock_run(str(tmp_path)):
        pass


def test_a_lock_on_a_file_that_its_owner_just_removed_is_not_taken_for_one(tmp_path, monkeypatch):
    """The owner removes the file between our opening and our locking it."""
    path = tmp_path / "run.lock"
    path.write_text("")
    lock = fcntl.flock
    calls = []

    def late(descriptor, operation):
        calls.append(operation)
        if len(calls) == 1:
            path.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with run_lock.lock_run(str(tmp_path)):
        assert len(calls) == 2 and path.exists()
        monkeypatch.undo()
        with pytest.raises(InputError), run_lock.lock_run(str(tmp_path)):
            pass


def test_a_file_that_another_run_put_in_its_place_stays(tmp_path):
    with run_lock.lock_run(str(tmp_path)):
        (tmp_path / "run.lock").unlink()
        (tmp_path / "run.lock").write_text("theirs")
    assert (tmp_path / "run.lock").read_text() == "theirs"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_file_systems_without_locks_go_unguarded_with_a_note(tmp_path, monkeypatch, number):
    def unsupported(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    said = []
    with run_lock.lock_run(str(tmp_path), said.append):
        assert not list(tmp_path.iterdir())
    assert len(said) == 1 and os.strerror(number) in said[0] and "can't be locked" in said[0]


def test_object_stores_go_unguarded_with_a_note(tmp_path):
    said = []
    with run_lock.lock_run("gs://bucket/run", said.append):
        pass
    assert said == ["note: gs://bucket/run can't be locked: nothing keeps a second run out of it"]


@pytest.mark.parametrize("content", ["", "{", '{"pid": 3}', "[]", "null"])
def test_an_unreadable_owner_neither_refuses_nor_is_mentioned(tmp_path, content):
    (tmp_path / "run.lock").write_text(content)
    said = []
    with run_lock.lock_run(str(tmp_path), said.append):
        assert said == []


def test_a_full_disk_still_locks(tmp_path, monkeypatch):
    def full(descriptor, data, offset):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with run_lock.lock_run(str(tmp_path)):
        with pytest.raises(InputError) as caught, run_lock.lock_run(str(tmp_path)):
            pass
        assert caught.value.constraint == "must not be in use by another run"


def test_a_folder_that_can_not_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be a folder that can be written"):
        run_lock.lock_run(str(tmp_path / "file")).__enter__()
    with pytest.raises(InputError, match="must be a folder that can be written"):
        run_lock.lock_run(str(tmp_path / "file" / "run")).__enter__()


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "folder"])
def test_what_is_no_file_of_its_own_is_never_written_into(tmp_path, kind):
    notes, lock = tmp_path / "notes.txt", tmp_path / "run" / run_folder.LOCK
    notes.write_text("mine")
    lock.parent.mkdir()
    if kind == "hard link":
        lock.hardlink_to(notes)
    elif kind == "fifo":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(notes if kind == "link" else tmp_path / "absent")
    with pytest.raises(InputError, match=run_folder.LOCK):
        run_lock.lock_run(str(lock.parent)).__enter__()
    assert notes.read_text() == "mine" and not (tmp_path / "absent").exists()
    assert os.path.lexists(lock)


@pytest.mark.parametrize("what", ["removed", "replaced", "lock removed"])
def test_a_folder_that_goes_under_way_is_noticed(tmp_path, what):
    folder = tmp_path / "run"
    with run_lock.lock_run(str(folder)) as check:
        check()
        if what == "lock removed":
            (folder / run_folder.LOCK).unlink()
        else:
            folder.rename(tmp_path / "gone")
        if what == "replaced":
            folder.mkdir()
            (folder / run_folder.LOCK).touch()
        with pytest.raises(RunError, match=f"{folder} was removed or replaced"):
            check()


def test_a_new_folder_in_which_nothing_was_written_goes_with_the_lock(tmp_path):
    with run_lock.lock_run(str(tmp_path / "run"), say=lambda text: None):
        assert (tmp_path / "run" / run_folder.LOCK).is_file()
    assert not (tmp_path / "run").exists()
    with run_lock.lock_run(str(tmp_path / "run"), say=lambda text: None):
        (tmp_path / "run" / "ckpt-1.index").touch()
    assert (tmp_path / "run" / "ckpt-1.index").exists()
    with run_lock.lock_run(str(tmp_path), say=lambda text: None):
        pass
    assert tmp_path.exists()


def test_a_run_does_not_write_through_a_link(tmp_path):
    (tmp_path / "of another").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "saved_model").symlink_to("../of another")
    with (
        pytest.raises(InputError, match="must not be a link"),
        run_lock.lock_run(f"{tmp_path}/run"),
    ):
        pass
    assert not (tmp_path / "run" / "run.lock").exists()
