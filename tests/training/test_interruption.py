"""Runs that are killed, or asked to stop, end where a run left alone ends, bit for bit."""

import pathlib
import shutil
import signal
import time

import pytest
import tensorflow as tf

from benchmarks import interruption
from benchmarks.interruption import CHECKPOINT, COUNTER, EXPORT, STEPS, Setup, Start
from simclr_tf import console
from tests import warm

TOTAL_STEPS = 30


def setup_in(folder: pathlib.Path, data: pathlib.Path, report: bool = False) -> Setup:
    program = ("run.py", "--color_jitter_strength=0", f"--report={report}")
    return Setup(folder, TOTAL_STEPS, data, program)


@pytest.fixture(scope="module", autouse=True)
def warm_processes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interruption, "Popen", warm.Program)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    interruption.prepare_data(folder)
    return folder


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """A run left alone, and what was measured.

    It alone writes the page of the run, which must change nothing.
    """
    setup = setup_in(tmp_path_factory.mktemp("alone") / "run", data, report=True)
    return setup, interruption.run_undisturbed(setup)


@pytest.fixture(scope="module")
def killed(alone, data, tmp_path_factory):
    """A run killed once in its steps, once in a checkpoint's write and once in the export."""
    setup = setup_in(tmp_path_factory.mktemp("killed") / "run", data)
    return setup, interruption.run_killed(setup, interruption.plan(3), alone[1], seed=0)


def finish(setup: Setup) -> Start:
    """Starts the command once more and lets it end."""
    with Start(setup) as start:
        while start.running():
            time.sleep(0.01)
    return start


def test_a_killed_run_ends_with_the_same_variables(alone, killed):
    setup, found = killed
    assert all(found.kills[kind] >= 1 for kind in (STEPS, CHECKPOINT, EXPORT)), found.kills
    assert found.problems == []
    assert interruption.differences(alone[0], setup) == []


def test_killed_processes_leave_nothing_in_a_finished_run(alone, killed):
    assert interruption.leftovers(alone[0], killed[0]) == []


def test_a_kill_after_the_last_step_is_made_good_by_the_next_start(alone, tmp_path):
    setup = setup_in(tmp_path / "run", alone[0].data)
    shutil.copytree(alone[0].folder, setup.folder)
    # The last checkpoint is in its place; the `checkpoint` file and what is too old are not yet.
    newest, former, old = (f"ckpt-{TOTAL_STEPS - ago}" for ago in (0, 5, 10))
    state = setup.folder / "checkpoint"
    state.write_text(state.read_text().replace(former, old).replace(newest, former))
    for part in (".data-00000-of-00001", ".manifest.json"):  # the index of the old one went first
        shutil.copy(setup.folder / f"{former}{part}", setup.folder / f"{old}{part}")
    (setup.folder / f".{newest}.01234567.tmp").mkdir()
    (setup.folder / ".checkpoint.01234567.tmp").write_text("half")
    shutil.rmtree(setup.folder / "saved_model")
    finish(setup)
    assert interruption.differences(alone[0], setup) == []
    assert interruption.leftovers(alone[0], setup) == []


def test_sigterm_saves_the_step_reached_and_the_same_command_goes_on_exactly(alone, data, tmp_path):
    setup = setup_in(tmp_path / "run", data)
    with Start(setup) as start:
        start.wait_for_step(6)
        status = start.stop(signal.SIGTERM)
    assert status == console.PREEMPTED == 143
    assert f"run.py: error: stopped by SIGTERM; --model_dir={setup.folder} resumes" in start.text
    assert 6 <= start.step == setup.newest() < TOTAL_STEPS
    assert finish(setup).resumed == start.step
    # One more write than without the stop.
    differing = interruption.differences(alone[0], setup)
    assert all(name.endswith(COUNTER) for name in differing), differing
    assert interruption.leftovers(alone[0], setup) == []


def written(folder: pathlib.Path, **values) -> Setup:
    """A finished run of these variables."""
    for name in ("ckpt-3", "saved_model/3/variables/variables"):
        held = {key: tf.Variable(value) for key, value in values.items()}
        tf.train.Checkpoint(**held).write(str(folder / name))
    return Setup(folder, 3, folder)


@pytest.mark.parametrize(
    ("first", "second", "differing"),
    [
        ({"w": [1.0, float("nan")]}, {"w": [1.0, float("nan")]}, []),
        ({"w": [1.0, 0.0], "v": 1}, {"w": [1.0, -0.0], "v": 1}, ["w"]),
        ({"w": [1.0]}, {"w": [1.0], "v": 1}, ["v"]),
        ({"w": [1.0, 1.0]}, {"w": [[1.0, 1.0]]}, ["w"]),
    ],
)
def test_every_bit_of_every_variable_counts(tmp_path, first, second, differing):
    one, other = written(tmp_path / "one", **first), written(tmp_path / "other", **second)
    files = ("ckpt-3", "saved_model/3/variables/variables")
    expected = [f"{file}: {key}/.ATTRIBUTES/VARIABLE_VALUE" for file in files for key in differing]
    assert interruption.differences(one, other) == expected


def test_whatever_the_other_run_does_not_have_was_left_over(tmp_path):
    one, other = written(tmp_path / "one", w=1.0), written(tmp_path / "other", w=1.0)
    (other.folder / "events.out.tfevents.1").touch()
    assert interruption.leftovers(one, other) == []
    (other.folder / "saved_model" / ".3.partial-17" / "assets").mkdir(parents=True)
    (other.folder / ".ckpt-3.01234567.tmp").touch()
    assert interruption.leftovers(one, other) == [
        ".ckpt-3.01234567.tmp",
        "saved_model/.3.partial-17",
        "saved_model/.3.partial-17/assets",
    ]


def test_kills_are_spread_over_the_kinds():
    assert interruption.plan(3) == {STEPS: 1, CHECKPOINT: 1, EXPORT: 1}
    more = {STEPS: 2, CHECKPOINT: 1, EXPORT: 1, interruption.START_UP: 1, interruption.LAST: 1}
    assert interruption.plan(6) == more
