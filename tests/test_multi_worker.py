"""The command line in two processes over loopback: one run, whatever happens to a process."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import sys
import time

import pytest

import run
from benchmarks import workers
from simclr_tf import console
from simclr_tf.weights.locate import checkpoint_step, list_checkpoints, newest_intact
from tests import shallow, warm

ROOT = pathlib.Path(run.__file__).resolve().parent
TINY = [
    "--dataset=digits",
    "--resnet_depth=18",
    "--width_multiplier=0.0625",
    "--image_size=8",
    "--train_batch_size=16",
    "--warmup_epochs=0",
    "--eval_batch_size=100",
    "--use_blur=False",
    "--report=False",
]


def start(folder, *flags):
    """Both workers of a job; their output goes to files beside the run's folder."""
    command = [sys.executable, "run.py", f"--model_dir={folder}", *TINY, *flags]
    processes = []
    for index, environment in enumerate(workers.environments(2)):
        with open(f"{folder}.{index}.log", "w") as log:
            processes.append(
                warm.Program(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            )
    return processes


def finish(processes, timeout=400):
    try:
        return [process.wait(timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()


def log(folder, index):
    return pathlib.Path(f"{folder}.{index}.log").read_text()


def wait_for_progress(folder, processes, text=", loss "):
    end = time.monotonic() + 300
    while text not in log(folder, 0):
        assert time.monotonic() < end and all(p.poll() is None for p in processes), log(folder, 0)
        time.sleep(0.2)


def test_a_run_of_two_workers_is_one_run(tmp_path, capsys):
    """One writer; the evaluation counts each of 355 images once, in batches of 100."""
    folder = tmp_path / "run"
    flags = ("--mode=train_then_eval", "--train_steps=6", "--train_split=train[:300]",
             "--report", "--report_examples=50")  # fmt: skip
    assert finish(start(folder, *flags)) == [0, 0], log(folder, 0) + log(folder, 1)
    assert "6 steps on 2 CPU replicas of 2 workers" in log(folder, 0)
    # The flags of the test itself give --report twice, which every command line says.
    ours = re.sub(r"^[EW]\d{4} .*\n", "", log(folder, 1), flags=re.MULTILINE)  # not TensorFlow's
    silent = [line for line in ours.splitlines() if "--report is given" not in line]
    assert len(silent) == 1 and silent[0].startswith("simclr_tf: "), silent
    names = {path.name for path in folder.iterdir()}
    assert {
        "checkpoint",
        "ckpt-6.index",
        "result.json",
        "saved_model",
        "curves.png",
        "report.html",
    } <= names
    assert sum(name.startswith("events.out") for name in names) == 2  # training, evaluation
    # One process evaluates the same checkpoint alone.
    assert run.main(["--mode=eval", f"--model_dir={folder}", "--eval_name=alone"]) == 0
    capsys.readouterr()
    alone = json.loads((folder / "alone" / "result.json").read_text())
    together = json.loads((folder / "result.json").read_text())
    for name, value in alone.items():
        assert together[name] == pytest.approx(value, abs=1e-6), name
    # Both looked at the encoder without labels; the chief alone says what came of it.
    assert together["quality/h_effective_rank"] > 1 and "without labels: " in log(folder, 0)


def test_a_job_survives_the_end_of_any_worker(tmp_path):
    shallow.install(shallow.ONE)  # nobody reads its checkpoints
    folder = tmp_path / "run"
    flags = ("--mode=train", "--train_steps=100000", "--checkpoint_steps=50")
    # SIGTERM to one worker: both save the same step and end alike.
    processes = start(folder, *flags)
    wait_for_progress(folder, processes)
    processes[1].send_signal(signal.SIGTERM)
    assert finish(processes) == [console.PREEMPTED] * 2, log(folder, 0) + log(folder, 1)
    assert "stopped by SIGTERM" in log(folder, 0)
    step = checkpoint_step(newest_intact(str(folder)))
    assert step is not None and step >= 1
    # SIGKILL of one worker: the other one does not wait for it.
    processes = start(folder, *flags)
    wait_for_progress(folder, processes)
    assert f"resuming at step {step}" in log(folder, 0)
    processes[1].kill()
    statuses = finish(processes, timeout=90)
    assert statuses == [console.WORKER_LOST, -signal.SIGKILL], log(folder, 0)
    assert "a worker of this job does not answer any more" in log(folder, 0).splitlines()[-1]
    # What was written before is still there.
    assert max(checkpoint_step(prefix) or 0 for prefix in list_checkpoints(str(folder))) >= step


def test_a_worker_that_does_not_start_is_named_and_waiting_can_be_ended(tmp_path):
    """TensorFlow waits in code that hears no signal."""
    (environment, other), path = workers.environments(2), tmp_path / "log"
    with open(path, "w") as log_file:
        command = [sys.executable, "run.py", f"--model_dir={tmp_path}/run", *TINY, "--mode=train"]
        process = warm.Program(command, cwd=ROOT, env=environment, stdout=log_file, stderr=log_file)
        end = time.monotonic() + 120
        while "waiting for 1 of 2 workers" not in path.read_text():
            assert time.monotonic() < end and process.poll() is None, path.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert finish([process], timeout=30) == [-signal.SIGINT]  # 130 in a shell
    absent = json.loads(other["TF_CONFIG"])["cluster"]["worker"][1]
    end = time.monotonic() + 10
    while "ended while waiting" not in path.read_text():
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.1)
    assert f"nobody answers at {absent}" in path.read_text()
    assert not (tmp_path / "run").exists()


def test_several_workers_need_a_folder_to_share(monkeypatch, capsys):
    task = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    assert run.main(["--mode=train", *TINY]) == console.BAD_INPUT
    assert "--model_dir must be given with several workers" in capsys.readouterr().err
    assert run.main(["--mode=evaluate", *TINY, "--checkpoint=x"]) == console.BAD_INPUT
    assert "--strategy must not be multi_worker" in capsys.readouterr().err
