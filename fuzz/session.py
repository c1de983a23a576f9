"""A session: cases one after the other, findings sorted, made smaller and written down."""

from __future__ import annotations

import collections
import dataclasses
import fcntl
import importlib
import os
import pathlib
import pkgutil
import random
import shlex
import shutil
import stat
from collections.abc import Callable, Sequence

from fuzz import fixtures, kinds
from fuzz.case import Case
from fuzz.judge import Finding, judge
from fuzz.process import ROOT, Limits, Outcome, act, run_case, run_forked
from fuzz.sandbox import Sandbox, differences, remove

_EXAMPLES = 3  # written down, of findings with the same signature
_SHRINK_RUNS, _SHRINK_SECONDS = 8, 10.0  # dearer cases stay as they were drawn
_KEPT_BYTES = 2**20  # of larger files of a case only the size is written down
Say = Callable[[str], None]


class FixtureError(RuntimeError):
    """What cases start from is not there: a program failed, or another session has it."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a case."""

    case: Case
    done: tuple[str, ...]
    outcome: Outcome
    findings: tuple[Finding, ...]


class Session:
    """Runs cases and keeps their findings.

    Args:
        folder: Gets `findings/`.
        fixtures_dir: Where fixtures lie, or are to be made; the sandbox lies beside it.
        limits: Of each case.
        say: Receives lines for the user.

    Raises:
        FixtureError: Another session uses the fixtures.
    """

    def __init__(self, folder: pathlib.Path, fixtures_dir: pathlib.Path, limits: Limits, say: Say):
        self._folder, self._fixtures, self._limits, self._say = folder, fixtures_dir, limits, say
        # Beside the fixtures, some of which name the folder that they were made in.
        self.box_folder = fixtures_dir.with_name(f"{fixtures_dir.name}.box")
        self._lock = _locked(fixtures_dir)
        self.counts: collections.Counter[str] = collections.Counter()  # cases by kind
        self.seconds: collections.Counter[str] = collections.Counter()  # processor time by kind
        self.ends: collections.Counter[str] = collections.Counter()  # cases by how they ended
        self.found: collections.Counter[str] = collections.Counter()  # cases by signature
        self.places: dict[str, list[str]] = {}

    def prepare(self, chosen: Sequence[str]) -> None:
        """Makes the fixtures of kinds that are not there yet.

        Raises:
            FixtureError: A program that makes one failed.
        """
        wanted = [name for kind in chosen for name in kinds.NEEDS[kind]]
        fixtures.make(self._fixtures, wanted, self._make_fixture, _command, self._say)

    def run(self, kind: str, seed: int, index: int) -> Result:
        """Draws and runs one case, and writes down what it finds."""
        case = draw(kind, seed, index, self._fixtures)
        result = self.attempt(case)
        self.counts[kind] += 1
        self.seconds[kind] += round(result.outcome.cpu_seconds)
        self.ends[_end(result.outcome)] += 1
        for finding in result.findings:
            signature = finding.signature
            self.found[signature] += 1
            examples = self.places.setdefault(signature, [])
            if len(examples) >= _EXAMPLES:
                continue
            self._say(f"{kind} {seed}:{index}: {finding.what}: {finding.detail[:150]!r}")
            shrinks = not examples and result.outcome.cpu_seconds < _SHRINK_SECONDS
            smallest = self._shrink(case, signature) if shrinks else case
            examples.append(self._write_down(smallest, finding, f"{kind}-{seed}-{index}"))
        return result

    def attempt(self, case: Case) -> Result:
        """Runs a case in a fresh sandbox."""
        box, done = self._build(case)
        before = box.state()
        outcome = run_case(case, box, self._limits)
        after = box.state()
        writes = tuple(_in_box(path) for path in case.writes)
        kept = tuple(_in_box(path) for path in case.kept)
        if case.refuses_first and outcome.status == 2:
            writes = ()
        changed = differences(before, after, writes, kept)
        return Result(case, done, outcome, tuple(judge(case, outcome, changed)))

    def close(self) -> None:
        """Removes the sandbox, and lets other sessions have the fixtures."""
        remove(self.box_folder)
        os.close(self._lock)

    def _build(self, case: Case) -> tuple[Sandbox, tuple[str, ...]]:
        box = Sandbox(self.box_folder, self._fixtures)
        for name in case.inputs:
            box.add(name)
        return box, tuple(change(box.work) for change in case.changes)

    def _make_fixture(self, name: str, make: Callable[[], None]) -> None:
        box = Sandbox(self.box_folder, self._fixtures)

        for made in fixtures.made_before(self._fixtures):
            box.add(made)
        outcome = run_forked(make, box, Limits(cpu_seconds=600), Case("fixture", "run.py", ()))
        if outcome.status or not (box.work / name).exists():
            raise FixtureError(
                f"{name}: exit status {outcome.status}: {outcome.err.strip()[-500:]}"
            )
        for made in (*fixtures.ALONG.get(name, ()), name):
            _move(box.work / made, self._fixtures / made)

    def _shrink(self, case: Case, signature: str) -> Case:
        """A case with fewer hostile parts that finds the same."""
        runs, smaller = 0, True
        while smaller:
            smaller = False
            for candidate in case.smaller():
                runs += 1
                if runs > _SHRINK_RUNS:
                    return case
                if any(item.signature == signature for item in self.attempt(candidate).findings):
                    case, smaller = candidate, True
                    break
        return case

    def _write_down(self, case: Case, finding: Finding, name: str) -> str:
        """A folder with the files of a case, its command, and what came of it."""
        what = finding.what.replace(" ", "_")
        place = self._folder / "findings" / f"{what}-{name}"
        suffix = 2
        while place.exists():
            place = place.with_name(f"{what}-{name}-{suffix}")
            suffix += 1
        box, done = self._build(case)
        notes = _copy_small(box.folder, place / "box")
        outcome = run_case(case, box, self._limits)
        lines = [
            f"{finding.what}: {finding.detail}", "",
            f"cd {shlex.quote(str(place / 'box' / 'work'))} && SIMCLR={shlex.quote(str(ROOT))}",
            case.command, "",
            *(f"changed: {text!r}" for text in done),
            *(f"not copied: {text}" for text in notes), "",
            f"exit status {outcome.status}, {outcome.cpu_seconds:.1f} s"
            + (f", stopped: {outcome.stopped}" if outcome.stopped else ""), "",
            "stderr:", outcome.err[-4000:], "", "stdout:", outcome.out[-2000:], "",
            *outcome.deeds, outcome.faults[-6000:],
        ]  # fmt: skip
        text = "\n".join(lines).encode("utf-8", "backslashreplace")
        (place / "case.txt").write_bytes(text)
        return str(place)


def draw(kind: str, seed: int, index: int, fixtures_dir: pathlib.Path) -> Case:
    """The case of a kind, a seed and a number: always the same."""
    return kinds.KINDS[kind](random.Random(f"{kind} {seed} {index}"), fixtures_dir)


def load_everything() -> None:
    """Imports what the programs import, so that children start with it; computes nothing."""
    from simclr_tf import startup

    startup.load_tensorflow()
    import matplotlib.pyplot
    import pyarrow.parquet
    import sklearn.linear_model
    import sklearn.manifold
    import tensorflow_hub

    import simclr_tf

    del matplotlib, pyarrow, sklearn, tensorflow_hub
    for module in pkgutil.walk_packages(simclr_tf.__path__, "simclr_tf."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _command(program: str, words: tuple[str, ...]) -> Callable[[], None]:
    return lambda: act(Case("fixture", program, words))


def _end(outcome: Outcome) -> str:
    if outcome.stopped:
        return f"stopped ({outcome.stopped})"
    return f"signal {-outcome.status}" if outcome.status < 0 else f"status {outcome.status}"


def _in_box(path: str) -> str:
    return os.path.normpath(os.path.join("work", path))


def _locked(folder: pathlib.Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FixtureError(f"another session uses {folder}") from None
    return descriptor


def _move(source: pathlib.Path, target: pathlib.Path) -> None:
    if target.exists():
        return
    shutil.move(source, target)


def _copy_small(source: pathlib.Path, target: pathlib.Path) -> list[str]:
    """Copies a folder without its large files and FIFOs, which it lists."""
    notes = []
    for place, folders, files in os.walk(source):
        there = target / os.path.relpath(place, source)
        there.mkdir(parents=True, exist_ok=True)
        for name in [*folders, *files]:
            path = pathlib.Path(place, name)
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                (there / name).symlink_to(os.readlink(path))
            elif stat.S_ISFIFO(found.st_mode):
                os.mkfifo(there / name)
            elif stat.S_ISREG(found.st_mode):
                if found.st_size <= _KEPT_BYTES:
                    shutil.copy2(path, there / name)
                else:
                    notes.append(f"{path.relative_to(source)!s}: {found.st_size} bytes")
    return notes
