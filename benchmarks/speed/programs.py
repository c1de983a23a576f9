"""Whole runs: both command lines with the same flags, timed by the checkpoints they leave."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time

from benchmarks.speed.figures import GIB
from benchmarks.speed.protocol import STARTED
from benchmarks.speed.sides import ROOT
from benchmarks.speed.timing import Round


def _run(script: str, flags: list[str], folder: str) -> tuple[float, float, float]:
    """Runs a program to its end.

    Returns:
        When it started and ended (seconds since 1970), and its largest resident memory in bytes.
    """
    log = os.path.join(folder, "log.txt")
    words = [sys.executable, script, *flags, f"--model_dir={os.path.join(folder, 'run')}"]
    environment = {key: value for key, value in os.environ.items() if key != STARTED}
    started = time.time()
    with open(log, "w") as file:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
        _, status, usage = os.wait4(process.pid, 0)
    ended = time.time()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        with open(log, errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()] or [""]
        raise RuntimeError(f"exit status {process.returncode}: {lines[-1]}")
    return started, ended, usage.ru_maxrss * 1024


def _checkpoints(folder: str) -> dict[int, float]:
    """When the checkpoint of each step was written."""
    found = {}
    for entry in os.scandir(os.path.join(folder, "run")):
        match = re.fullmatch(r"ckpt-(\d+)\.index", entry.name)
        if match:
            found[int(match.group(1))] = entry.stat().st_mtime
    return found


def whole_run(*, script: str, flags: list[str], pairs: int) -> Round:
    """Pairs per second of a run: between its checkpoints, from its start, and in all.

    Args:
        script: The program.
        flags: With a `checkpoint_steps` that leaves at least two checkpoints, all of them kept.
        pairs: In a batch.
    """

    def measure() -> dict[str, list[float]]:
        with tempfile.TemporaryDirectory() as folder:
            started, ended, _ = _run(script, flags, folder)
            times = _checkpoints(folder)
            first, last = min(times), max(times)
            return {
                "after start-up": [pairs * (last - first) / (times[last] - times[first])],
                "with start-up": [pairs * last / (times[last] - started)],
                "whole process": [pairs * last / (ended - started)],
            }

    return measure


def run_memory(*, script: str, flags: list[str]) -> Round:
    """The largest resident memory of a run, GiB."""

    def measure() -> dict[str, list[float]]:
        with tempfile.TemporaryDirectory() as folder:
            _, _, peak = _run(script, flags, folder)
            return {"GiB": [peak / GIB]}

    return measure
