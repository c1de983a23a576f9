"""TensorFlow loads quietly and with oneDNN."""

from __future__ import annotations

import logging
import os
import pathlib
import subprocess
import sys
from unittest import mock

import pytest

from simclr_tf import startup
from simclr_tf.errors import InputError
from tests import shallow, warm

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _environment_restored():
    with mock.patch.dict(os.environ):
        yield


PROGRAM = """
import os, sys
from simclr_tf import startup
assert "tensorflow" not in sys.modules
startup.load_tensorflow()
assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
import export.runs, simclr_tf.modes.training
assert "tf_keras" in sys.modules
# What takes long to load and is not needed for the first step.
assert not {"keras", "matplotlib", "sklearn", "pyarrow"} & set(sys.modules)
print("still heard", file=sys.stderr)
"""


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="its lines are shown with a GPU")
def test_nothing_is_said_and_the_error_stream_still_works():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == "still heard\n"


ONE_CORE = """
import os, runpy, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.argv = ["run.py", *sys.argv[1:]]
runpy.run_path("run.py", run_name="__main__")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot pin a process")
def test_training_runs_on_one_core(tmp_path):
    """TensorFlow with oneDNN aborts when it has a single thread for an operation."""
    shallow.install(shallow.ONE)
    environment = {k: v for k, v in os.environ.items() if k != "TF_NUM_INTRAOP_THREADS"}
    words = ["--dataset=digits", "--image_size=8", "--resnet_depth=18", "--eval_split=test",
             "--width_multiplier=0.0625", "--train_batch_size=32", "--train_steps=2",
             "--warmup_epochs=0", "--report=False", f"--model_dir={tmp_path / 'run'}"]  # fmt: skip
    done = warm.run(
        [sys.executable, "-c", ONE_CORE, *words],
        cwd=ROOT, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "ckpt-2.index").exists()


def test_what_is_set_already_stays(monkeypatch):
    chosen = {"TF_USE_LEGACY_KERAS": "0", "TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPP_MIN_LOG_LEVEL": "1",
              "XLA_FLAGS": "--xla_dump_to=elsewhere"}  # fmt: skip
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    startup.choose_environment()
    assert {name: os.environ[name] for name in chosen} == chosen


@pytest.mark.parametrize(
    ("given", "expected"), [("1", "2"), ("2", "2"), ("7", "7")], ids=["one", "two", "seven"]
)
def test_a_single_thread_becomes_two(monkeypatch, given, expected):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", given)
    startup.choose_environment()
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == expected


def test_without_onednn_one_thread_stays(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    startup.choose_environment()
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "1"


@pytest.mark.parametrize("name", ["TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"])
@pytest.mark.parametrize("text", ["x", "-1", "1e3", "99999", "\u0663"])
def test_a_variable_that_is_no_number_is_named(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(InputError, match="must be a whole number from 0 to 1024") as caught:
        startup.check_process()
    assert caught.value.name == name


def test_a_working_directory_that_is_gone_is_said(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="working directory must exist"):
        startup.check_process()


@pytest.mark.parametrize(
    ("verbosity", "level"),
    [(-9, logging.CRITICAL), (-3, logging.CRITICAL), (-2, logging.ERROR), (-1, logging.WARNING),
     (0, logging.INFO), (1, logging.DEBUG), (5, logging.DEBUG)],
)  # fmt: skip
def test_absls_verbosity_is_a_level_of_python(verbosity, level):
    assert startup._python_level(verbosity) == level


def test_python_without_docstrings_is_refused_in_one_line():
    done = subprocess.run(
        [sys.executable, "-OO", "run.py", "--dataset=digits"],
        cwd=ROOT, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("run.py: error: python must run without -OO")
    assert done.stderr.count("\n") == 1
