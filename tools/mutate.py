"""How many small changes of the code its own tests notice: `python -m tools.mutate`.

Each mutant runs in a forked child of one process that has loaded TensorFlow: the child imports the
module changed, from memory, and runs the test file of the module and those of its neighbours until
one fails. A mutant that no test notices has survived; `tools/equivalent.json` lists those that no
test can notice, each with its reason.

    python -m tools.mutate --sample=300 --seed=1 --output=score.json
    python -m tools.mutate simclr_tf/objectives/nt_xent.py
    python -m tools.mutate --again=score.json    # the survivors of that run alone
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import json
import linecache
import os
import pathlib
import random
import signal
import sys
import time
from collections.abc import Sequence

from tools.mutations import Mutation, mutations

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What a sample is drawn from, and beside its own test file, which tests are its neighbours'.
MODULES: dict[str, tuple[str, ...]] = {
    "simclr_tf/objectives": ("tests/training/test_losses.py",),
    "simclr_tf/optimizers": ("tests/test_addons.py",),
    "simclr_tf/models": ("tests/models/test_network.py", "tests/models/test_resnet.py"),
    "simclr_tf/augment": ("tests/augment/test_policy.py", "tests/augment/test_seeds.py"),
    "simclr_tf/data/pipeline.py": ("tests/data/test_pipeline_sharding.py",),
    "simclr_tf/data/labels.py": (),
    "simclr_tf/data/subset.py": (),
    "simclr_tf/data/splits.py": (),
    "simclr_tf/training/checkpoints.py": ("tests/training/test_checkpoint_files.py",),
    "simclr_tf/training/losses.py": (),
    "simclr_tf/training/step.py": ("tests/training/test_loop.py",),
    "simclr_tf/weights/restore.py": (
        "tests/weights/test_load.py",
        "tests/weights/test_readings.py",
    ),
    "simclr_tf/weights/layout.py": ("tests/weights/test_stored.py",),
    "simclr_tf/weights/infer.py": ("tests/weights/test_load.py",),
    "simclr_tf/weights/integrity.py": (),
    "simclr_tf/evaluation/knn.py": (),
    "simclr_tf/evaluation/metrics.py": (),
    "simclr_tf/evaluation/logistic.py": ("tests/evaluation/test_logistic_problem.py",),
    "simclr_tf/evaluation/features.py": (),
    "simclr_tf/evaluation/attributes.py": (),
    "simclr_tf/evaluation/significance.py": (),
}
EQUIVALENT = pathlib.Path(__file__).with_name("equivalent.json")
_NO_TESTS = 5  # pytest's exit status
KILLED, SURVIVED, TIMEOUT, BROKEN = "killed", "survived", "timeout", "broken"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A mutation of a module, by path from the root."""

    module: str
    mutation: Mutation

    @property
    def key(self) -> str:
        """What it is called in files."""
        return f"{self.module}: {self.mutation.name}"


def modules(asked: Sequence[str] = ()) -> list[str]:
    """Paths from the root of the modules that are mutated, those asked for or all."""
    found = []
    for name in asked or MODULES:
        place = ROOT / name
        paths = sorted(place.glob("*.py")) if place.is_dir() else [place]
        found += [path.relative_to(ROOT).as_posix() for path in paths]
    return [name for name in found if not name.endswith("__init__.py")]


def tests_of(module: str) -> list[str]:
    """The test file of a module, then those of its neighbours."""
    path = pathlib.PurePosixPath(module)
    parts = path.parts[1:] if path.parts[0] == "simclr_tf" else path.parts
    own = "/".join(["tests", *parts[:-1], f"test_{path.name}"])
    near = MODULES.get(module) or MODULES.get(path.parent.as_posix(), ())
    return [name for name in dict.fromkeys([own, *near]) if (ROOT / name).is_file()]


def draw(names: Sequence[str], sample: int | None, seed: int) -> list[Mutant]:
    """Mutants of modules: all, or so many of them, the same for a seed and the same code."""
    everything = [
        Mutant(name, one) for name in names for one in mutations((ROOT / name).read_text())
    ]
    if sample is None or sample >= len(everything):
        return everything
    chosen = random.Random(seed).sample(range(len(everything)), sample)
    return [everything[index] for index in sorted(chosen)]


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Imports one module from its changed text."""

    def __init__(self, mutant: Mutant):
        self._path = str(ROOT / mutant.module)
        self._name = mutant.module.removesuffix(".py").replace("/", ".")
        self._source = mutant.mutation.source

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: str) -> bytes:
        # AutoGraph reads functions again to convert them, from the lines that are known of a file.
        lines = self._source.splitlines(keepends=True)
        linecache.cache[self._path] = (len(self._source), None, lines, self._path)
        return self._source.encode()

    def path_stats(self, path: str):
        raise OSError  # never from, nor into, a cache of compiled code


def attempt(mutant: Mutant, seconds: float) -> str:
    """Runs the tests of a mutant in a child; returns how that ended."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = _run_tests(mutant)
        finally:
            os._exit(status)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return {0: SURVIVED, 1: KILLED, 2: KILLED}.get(
                code, BROKEN if code in (4, 5) else KILLED
            )
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMEOUT


def _run_tests(mutant: Mutant) -> int:
    import pytest

    os.setsid()
    os.chdir(ROOT)
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, _Changed(mutant))
    words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests_of(mutant.module)]
    ends = []
    for part in ("not slow", "slow"):  # most are noticed by a test that takes no time
        ends.append(int(pytest.main([*words, "-m", part])))
        if ends[-1] not in (0, _NO_TESTS):
            return ends[-1]
    return min(ends)


def load_once() -> None:
    """Imports what every child needs, and nothing of the project."""
    sys.path.insert(0, str(ROOT))
    os.environ.update(
        TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="1", CUDA_VISIBLE_DEVICES="-1"
    )
    for name in ("tensorflow", "tf_keras", "tensorflow_datasets", "sklearn.linear_model",
                 "scipy.optimize", "matplotlib.pyplot", "pytest", "PIL.Image"):  # fmt: skip
        importlib.import_module(name)


def main(words: Sequence[str]) -> int:
    """Runs the command line; exit status 1 where a mutant survives that is not argued away."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("modules", nargs="*", help="paths from the root [those of the list]")
    parser.add_argument("--sample", type=int, help="so many, drawn evenly [all]")
    parser.add_argument("--seed", type=int, default=1, help="another one draws others [1]")
    parser.add_argument("--seconds", type=float, default=300, help="limit of a mutant [300]")
    parser.add_argument("--again", help="only the survivors of a file that --output wrote")
    parser.add_argument("--output", help="JSON file of all mutants and how they ended")
    given = parser.parse_args(words)
    mutants = draw(modules(given.modules), given.sample, given.seed)
    argued = json.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    if given.again:
        before = json.loads(pathlib.Path(given.again).read_text())["mutants"]
        wanted = {key for key, end in before.items() if end == SURVIVED}
        mutants = [one for one in draw(modules(), None, 0) if one.key in wanted]
    load_once()
    ends: dict[str, str] = {}
    for number, mutant in enumerate(mutants, start=1):
        started = time.monotonic()
        end = "argued" if mutant.key in argued else attempt(mutant, given.seconds)
        ends[mutant.key] = end
        where = f"{mutant.module}:{mutant.mutation.line} {mutant.mutation.name}"
        seconds = time.monotonic() - started
        print(f"{number}/{len(mutants)} {end} {seconds:.0f} s {where}", flush=True)
        if given.output:
            pathlib.Path(given.output).write_text(json.dumps({"mutants": ends}, indent=1))
    _show(ends)
    return int(SURVIVED in ends.values())


def _show(ends: dict[str, str]) -> None:
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for key, end in ends.items():
        table[key.partition(":")[0].rpartition("/")[0]][end] += 1
    print("\n| package | mutants | killed | argued | survived |\n|---|---|---|---|---|")
    for name, counts in sorted(table.items()):
        killed = counts[KILLED] + counts[TIMEOUT]
        print(f"| {name} | {counts.total()} | {killed} | {counts['argued']} | {counts[SURVIVED]} |")
    done = sum(end != "argued" for end in ends.values())
    share = sum(end in (KILLED, TIMEOUT) for end in ends.values()) / max(done, 1)
    print(f"\n{100 * share:.1f} % of {done} noticed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
