"""Speed and memory, beside the reference implementation's: `python -m benchmarks.run [CASE ...]`.

Every side of a case runs in processes of its own with the same environment. The sides take turns,
round by round, and ratios are taken within a round, so that a busy machine slows both. Prints the
tables as Markdown and writes all samples as JSON.

Cases: step, whole_run, startup, pipeline, loss, lars, evaluate, memory; all without any. Sizes:
`smoke` (about a minute, tiny batches, no data: only shows that everything runs), `short` (some ten
minutes), `full` (about an hour; the targets of docs/performance.md).

`--reference` is a clone of google-research/simclr, `--torch` an interpreter that has PyTorch; both
only run. `--data_dir` holds `tfds/` (CIFAR-10, prepared) and `imagenet_samples/CLASS/*.jpg`; where
it does not, the embedded `patterns` and generated photographs take their place.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks import command
from benchmarks.speed import figures, images
from benchmarks.speed.cases import CASES, PRECISIONS, SIZES, Options
from benchmarks.speed.sides import ROOT, Process, SideError, measure, worker_side
from simclr_tf.files import write_json

ROUNDS = {"smoke": 1, "short": 2, "full": 3}
TIMEOUT_SECONDS = {"smoke": 300, "short": 600, "full": 1800}
INTERRUPTED = 130


def read_command_line(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line with its defaults."""
    parser = command.Parser(
        prog="python -m benchmarks.run", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--size", choices=SIZES, default="short")
    parser.add_argument("--reference", metavar="PATH", help="clone of google-research/simclr")
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has PyTorch")
    parser.add_argument("--data_dir", metavar="PATH", default=str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--json", metavar="FILE", help="where all samples go")
    parser.add_argument("--rounds", type=int, help="turns of each side; else by size")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS,
                        help="what ours and PyTorch compute in; bfloat16 takes minutes where the "
                        "CPU has to emulate it")  # fmt: skip
    given = parser.parse_args(words)
    unknown = [name for name in given.cases if name not in CASES]
    if unknown:
        parser.error(f"there is no case {', '.join(unknown)}; choose from {', '.join(CASES)}")
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds must be at least 1")
    if given.torch is not None and shutil.which(given.torch) is None:
        parser.error(f"--torch must be a program: {given.torch}")
    if given.data_dir is not None and not os.path.isdir(given.data_dir):
        parser.error(f"--data_dir must be a folder: {given.data_dir}")
    if given.json is not None and not os.path.isdir(os.path.dirname(given.json) or "."):
        parser.error(f"--json must lie in a folder that exists: {given.json}")
    if given.reference is not None:
        given.reference = os.path.abspath(given.reference)
        if not os.path.isfile(os.path.join(given.reference, "tf2", "run.py")):
            parser.error(f"--reference must hold tf2/run.py: {given.reference}")
    given.cases = given.cases or list(CASES)
    given.rounds = given.rounds or ROUNDS[given.size]
    return given


def find_data(given: argparse.Namespace, scratch: pathlib.Path) -> Options:
    """The prepared data where there are any; else makes what the cases need, in `scratch`."""
    data, patterns = pathlib.Path(given.data_dir), scratch / "tfds"
    dataset, tfds_dir = "patterns", patterns
    if given.size != "smoke" and (data / "tfds" / "cifar10").is_dir():
        dataset, tfds_dir = "cifar10", data / "tfds"
    patterns.mkdir()
    if {"whole_run", "pipeline", "evaluate", "memory"} & set(given.cases):
        side = worker_side("images", "patterns", {}, data_dir=str(patterns))
        with contextlib.closing(Process(side)) as process:
            process.answer(TIMEOUT_SECONDS[given.size])
    photographs = scratch / "photographs"
    photographs.mkdir()
    samples = (data / "imagenet_samples").resolve()
    if given.size != "smoke" and samples.is_dir():
        (photographs / "train").symlink_to(samples)
    elif "pipeline" in given.cases:
        images.write_photographs(photographs, 16 if given.size == "smoke" else 250)
    return Options(given.size, dataset, str(tfds_dir), str(photographs), str(patterns),
                   given.reference, given.torch, tuple(given.precisions))  # fmt: skip


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cpu = platform.processor()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        lines = [line.partition(":")[2].strip() for line in file]
        cpu = next((line for line in lines if "CPU" in line or "EPYC" in line), cpu)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else
        os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
                            / figures.GIB, 1),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of Python and of what computes."""
    packages = ("tensorflow", "tf_keras", "numpy", "tensorflow_datasets")
    return {"python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages}}  # fmt: skip


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Measures the cases, prints the tables and writes the JSON; returns the exit status."""
    about = {
        "command": shlex.join(["python", "-m", "benchmarks.run", *words]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "size": given.size,
        "rounds": given.rounds,
        "machine": machine(),
        "versions": versions(),
    }
    series: list[figures.Series] = []
    comparisons: list[figures.Comparison] = []
    with tempfile.TemporaryDirectory() as folder:
        options = find_data(given, pathlib.Path(folder))
        for name in given.cases:
            case = CASES[name](options)
            timeout = TIMEOUT_SECONDS[given.size]
            series += measure(case.sides, given.rounds, timeout, _say)
            comparisons += case.comparisons
            if given.json:  # what is there is there, should a later case be interrupted
                write_json(given.json, {**about, **figures.as_json(series, comparisons)})
    print(f"{about['command']}\n\n{_where(about)}\n")
    print(figures.markdown(series, comparisons))
    return 1 if any(one.failed for one in series) else 0


def _where(about: dict[str, Any]) -> str:
    machine, versions = about["machine"], about["versions"]
    return (f"{about['date'][:10]}, {machine['cores']} cores of {machine['cpu']}, "
            f"{machine['memory_gib']:g} GiB, load {machine['load']:.1f} at the start, "
            f"TensorFlow {versions['tensorflow']}, Python {versions['python']}; "
            f"{about['rounds']} rounds")  # fmt: skip


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status."""
    words = sys.argv[1:] if words is None else words
    given = read_command_line(words)
    # SIGINT too: it is ignored in what a script starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return run(given, words)
    except SideError as error:
        _say(f"benchmarks.run: error: the embedded images could not be prepared: {error}")
        return 1
    except KeyboardInterrupt:
        _say("benchmarks.run: interrupted")
        return INTERRUPTED


if __name__ == "__main__":
    command.end(main)
