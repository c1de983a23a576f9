"""A run that is killed again and again against one left alone: `python -m benchmarks.interruption`.

Trains a tiny network with `run.py --deterministic`, once undisturbed, and once in another folder
where every start of the same command is killed (SIGKILL, the whole process group) until there were
enough kills. They are meant to hit the start-up, the steps, the write of a checkpoint and the
export; what the killed process left on disk says what was hit, and that is what counts. "Other"
kills came after the last write of a checkpoint, before or after the export.

At the end all variables of the last checkpoint and of the SavedModel must be equal bit for bit, and
the killed run's folder must hold no file that the other does not hold. The exit status is 1 where
they differ. The learning curves are not compared: repeated steps are in them twice.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import pty
import random
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from subprocess import DEVNULL, Popen

import numpy as np

from benchmarks import command

ROOT = pathlib.Path(__file__).resolve().parents[1]
START_UP, STEPS, CHECKPOINT, LAST, EXPORT, OTHER = KINDS = (
    "start-up", "steps", "checkpoint write", "last write", "export", "other")  # fmt: skip
EVERY = 5  # steps from a checkpoint to the next
FLAGS = (
    "--mode=train --dataset=digits --image_size=8 --resnet_depth=18 --width_multiplier=0.0625 "
    "--train_batch_size=16 --warmup_epochs=0 --use_blur=False --deterministic "
    f"--checkpoint_steps={EVERY} --keep_checkpoint_max=2 --keep_hub_module_max=1"
)
# Counts the writes of a run, and nothing in the training depends on it.
COUNTER = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
_STRUCTURE = "_CHECKPOINTABLE_OBJECT_GRAPH"  # no variable; the names of all variables follow it

# Names of what is being written, and the folder of the run that they appear in.
_WRITES = {
    CHECKPOINT: ("", re.compile(r"\.(ckpt-\d+|checkpoint)\.[0-9a-f]{8}\.tmp")),
    EXPORT: ("saved_model", re.compile(r"\.\d+\.partial-.+")),
}
_RESUMING = re.compile(r"resuming at step (\d+)\r?\n")
_SHOWN = re.compile(r"\| (\d+)/\d+, ")  # the state in the progress bar
_TIMEOUT_SECS = 900.0


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all starts of a run share: where and how far it trains, its data, words for Python."""

    folder: pathlib.Path
    steps: int
    data: pathlib.Path
    program: tuple[str, ...] = ("run.py",)

    @property
    def command(self) -> list[str]:
        """The command line."""
        words = [*FLAGS.split(), f"--train_steps={self.steps}", f"--model_dir={self.folder}"]
        return [sys.executable, *self.program, *words]

    def newest(self) -> int:
        """Step of the newest checkpoint; 0 without any."""
        steps = [re.fullmatch(r"ckpt-(\d+)\.index", name) for name in names_in(self.folder)]
        return max((int(found.group(1)) for found in steps if found), default=0)

    def writes(self) -> set[tuple[str, str]]:
        """What is being written, or was when a process was killed, as (kind, name)."""
        return {
            (kind, name)
            for kind, (below, pattern) in _WRITES.items()
            for name in names_in(self.folder / below)
            if pattern.fullmatch(name)
        }

    def path(self, write: tuple[str, str]) -> pathlib.Path:
        """Path of one of `writes`."""
        kind, name = write
        return self.folder / _WRITES[kind][0] / name


class Start:
    """One start of a run, on a terminal of its own: its progress bar tells of every step or so.

    Attributes:
        resumed: Step at which it goes on, 0 until it says so.
        step: The last step shown; None before the first.
        first_step_secs: From the start of the process to its first step.
        text: All that it has said.
    """

    def __init__(self, setup: Setup):
        self.resumed, self.text = 0, ""
        self.step: int | None = None
        self.first_step_secs = float("nan")
        data = str(setup.data)
        # TensorFlow's own temporary files outlive a kill: they go where all is removed.
        environment = {**os.environ, "TFDS_DATA_DIR": data, "TMPDIR": data,
                       "TF_CPP_MIN_LOG_LEVEL": "3"}  # fmt: skip
        terminal, inner = pty.openpty()
        self.began = time.monotonic()
        self._process = Popen(
            setup.command, cwd=ROOT, env=environment, stdin=DEVNULL, stdout=inner,
            stderr=inner, start_new_session=True,
        )  # fmt: skip
        os.close(inner)
        self._reader = threading.Thread(target=self._read, args=(terminal,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Start:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop(signal.SIGKILL)

    def _read(self, terminal: int) -> None:
        with contextlib.suppress(OSError):  # Linux's way to say that the other end was closed
            while chunk := os.read(terminal, 1 << 16):
                now = time.monotonic()
                self.text += chunk.decode(errors="replace")
                recent = self.text[-len(chunk) - 200 :]
                if found := _RESUMING.search(recent):
                    self.resumed = int(found.group(1))
                if shown := _SHOWN.findall(recent):
                    if self.step is None:
                        self.first_step_secs = now - self.began
                    self.step = int(shown[-1])
        os.close(terminal)

    def running(self) -> bool:
        """False after a good end.

        Raises:
            RuntimeError: It has failed, or takes too long.
        """
        code = self._process.poll()
        if code is None and time.monotonic() - self.began < _TIMEOUT_SECS:
            return True
        if code != 0:
            self.stop(signal.SIGKILL)
            raise RuntimeError(f"a start ended with status {code}: {self.text[-2000:]}")
        return False

    def stop(self, number: int) -> int:
        """Sends a signal to its process group, waits for the end and returns the status."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        status = self._process.wait(timeout=_TIMEOUT_SECS)
        self._reader.join(timeout=60)
        return status

    def wait_for_step(self, step: int) -> None:
        """Waits until a step is shown, or the end."""
        while self.running() and (self.step is None or self.step < step):
            time.sleep(0.001)


def names_in(folder: pathlib.Path) -> set[str]:
    """Names in a folder; none where there is no such folder."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """A run left alone.

    Attributes:
        first_step_secs: From the start of the process to the first step.
        write_secs: Median duration of a checkpoint's write and of the export.
        file_secs: The part of it from the first file to the end; tracing comes before.
    """

    first_step_secs: float
    write_secs: dict[str, float]
    file_secs: dict[str, float]


def run_undisturbed(setup: Setup) -> Undisturbed:
    """Trains to the end in one go."""
    begun, filled, ended = ({} for _ in range(3))  # what is written -> when
    with Start(setup) as start:
        while start.running():
            now = time.monotonic()
            for write in setup.writes():
                begun.setdefault(write, now)
                ended[write] = now
                if names_in(setup.path(write)):
                    filled.setdefault(write, now)
            time.sleep(0.002)
        start.stop(signal.SIGKILL)  # has ended; all is read then
    if {kind for kind, _ in filled} != set(_WRITES):
        raise RuntimeError(f"only these writes were seen: {sorted(filled)}")
    write_secs, file_secs = (
        {
            kind: statistics.median(
                ended[write] - first for write, first in since.items() if write[0] == kind
            )
            for kind in _WRITES
        }
        for since in (begun, filled)
    )
    return Undisturbed(start.first_step_secs, write_secs, file_secs)


@dataclasses.dataclass
class Killed:
    """What came of a run that was killed.

    Attributes:
        kills: Number of kills by what they hit.
        repeated: Steps that were shown and had to be done again.
        fresh_secs: Seconds to the first step, of starts without a checkpoint.
        resumed_secs: Of starts from a checkpoint.
        problems: Starts that went on elsewhere than at the newest checkpoint.
    """

    kills: collections.Counter[str]
    repeated: int = 0
    fresh_secs: list[float] = dataclasses.field(default_factory=list)
    resumed_secs: list[float] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


def plan(kills: int) -> collections.Counter[str]:
    """How many kills of each kind: evenly, and one in the last write of a checkpoint.

    Nothing is written after that one, which could make up for what the kill left undone.
    """
    order, last = (STEPS, CHECKPOINT, EXPORT, START_UP), int(kills > 4)
    planned = collections.Counter(order[index % len(order)] for index in range(kills - last))
    return planned + collections.Counter({LAST: last})


def run_killed(
    setup: Setup, wanted: collections.Counter[str], undisturbed: Undisturbed, seed: int
) -> Killed:
    """Trains to the end, with kills on the way.

    Args:
        setup: The run.
        wanted: At least so many kills of each kind. Where the last step comes too early for those
            that need steps, the export is killed instead.
        undisturbed: Of a run with the same number of steps, for durations.
        seed: Of the moments.

    Raises:
        RuntimeError: A start failed, or kills miss what they aim at again and again.
    """
    killed, aim = Killed(collections.Counter()), _Aim(setup, undisturbed, random.Random(seed))
    for _ in range(3 * wanted.total() + 10):
        newest, before = setup.newest(), setup.writes()
        left, missing = wanted - killed.kills, wanted.total() - killed.kills.total()
        kind = aim.choose(left, missing)
        with Start(setup) as start:
            if kind is None:
                while start.running():
                    time.sleep(0.01)
            else:
                aim.approach(kind, start, left)
            before_end = start.stop(signal.SIGKILL) != 0
        _note_start(killed, start, newest)
        if kind is None:
            return killed
        if before_end:
            _note_kill(killed, setup, start, before, wanted.total())
        aim.misses[kind] += (wanted - killed.kills)[kind] == left[kind]
    raise RuntimeError(f"too many kills missed what they aimed at: {dict(killed.kills)}")


@dataclasses.dataclass
class _Aim:
    """Finds the moments of the kills; `misses` counts those that hit something else."""

    setup: Setup
    undisturbed: Undisturbed
    rng: random.Random
    misses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def choose(self, left: collections.Counter[str], missing: int) -> str | None:
        """What to kill next; None when there were enough kills."""
        early = [kind for kind in (START_UP, STEPS, CHECKPOINT) for _ in range(left[kind])]
        unfinished = self.setup.newest() < self.setup.steps
        if unfinished and early:
            return self.rng.choice(early)
        if unfinished and left[LAST]:
            return LAST
        return EXPORT if left[EXPORT] or missing > 0 else None

    def approach(self, kind: str, start: Start, left: collections.Counter[str]) -> None:
        """Returns at the moment of the kill, or after the end of the process."""
        newest, before = self.setup.newest(), self.setup.writes()
        # So far that all kills find steps to hit.
        ahead = (self.setup.steps - newest) // (left[STEPS] + left[CHECKPOINT] + 1)
        if kind == START_UP:
            moment = start.began + self.rng.uniform(0, self.undisturbed.first_step_secs)
            while start.running() and start.step is None and time.monotonic() < moment:
                time.sleep(0.001)
        elif kind == STEPS:
            start.wait_for_step(newest + self.rng.randint(1, max(1, ahead)))
            time.sleep(self.rng.uniform(0, 0.2))
            while start.running() and self.setup.writes() - before:
                time.sleep(0.001)
        elif kind == EXPORT:
            self._wait_in_write(kind, start, r".*partial-.*")
        elif kind == LAST:
            self._wait_in_write(kind, start, rf"\.ckpt-{self.setup.steps}\..*")
        else:
            self._wait_in_write(kind, start, r"\.ckpt-.*", self.rng.randint(0, ahead // EVERY))

    def _wait_in_write(self, kind: str, start: Start, pattern: str, skip: int = 0) -> None:
        """Waits for a write of such a name, after so many others, and then for a moment in it."""
        seen = self.setup.writes()  # with what earlier kills left
        write = None
        while start.running() and write is None:
            for new in self.setup.writes() - seen:
                seen.add(new)
                if re.fullmatch(pattern, new[1]):
                    write, skip = (new, skip) if skip == 0 else (None, skip - 1)
            time.sleep(0.001)  # a write takes tens of milliseconds
        if write is None:
            return
        path, longest = self.setup.path(write), self.undisturbed.write_secs[write[0]]
        if self.rng.random() < 0.7:  # else mostly before there is a file
            while start.running() and path.exists() and not names_in(path):
                time.sleep(0.001)
            longest = self.undisturbed.file_secs[write[0]]
        # The machine may have become faster since this was measured.
        time.sleep(self.rng.uniform(0, longest) / 2 ** self.misses[kind])


def _note_start(killed: Killed, start: Start, newest: int) -> None:
    if start.step is None:
        return
    (killed.resumed_secs if newest else killed.fresh_secs).append(start.first_step_secs)
    if start.resumed != newest:
        killed.problems.append(f"went on at step {start.resumed} with a ckpt-{newest}")


def _note_kill(
    killed: Killed, setup: Setup, start: Start, before: set[tuple[str, str]], wanted: int
) -> None:
    kind, details = _hit(setup, start, before)
    repeated = max(0, (start.step or 0) - setup.newest())
    killed.kills[kind] += 1
    killed.repeated += repeated
    where = "before a step" if start.step is None else f"at step {start.step}"
    print(f"{killed.kills.total()}/{wanted} {kind}: killed {where}, goes on from {setup.newest()}, "
          f"{repeated} to repeat{details}", flush=True)  # fmt: skip


def _hit(setup: Setup, start: Start, before: set[tuple[str, str]]) -> tuple[str, str]:
    """The kind of a kill, from what the dead process left on disk, and what that is."""
    for write in sorted(setup.writes() - before):
        kind, name = write
        path = setup.path(write)
        held = [str(file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
        if kind == CHECKPOINT and (
            name.startswith(f".ckpt-{setup.steps}.") or setup.newest() == setup.steps
        ):
            kind = LAST
        return kind, f"; left {name} with {', '.join(held) or 'nothing in it'}"
    if setup.newest() == setup.steps:
        return OTHER, ""
    return (START_UP if start.step is None else STEPS), ""


def variables(prefix: pathlib.Path) -> dict[str, np.ndarray]:
    """All variables of a checkpoint or of a SavedModel's `variables/variables`."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(os.fspath(prefix))
    names = set(reader.get_variable_to_shape_map()) - {_STRUCTURE}
    return {name: np.asarray(reader.get_tensor(name)) for name in sorted(names)}


def differences(one: Setup, other: Setup) -> list[str]:
    """Variables of the last checkpoint or the SavedModel that are not equal bit for bit.

    And the `checkpoint` file, where it does not name the same checkpoint as the newest.
    """
    import tensorflow as tf

    found = []
    named, expected = (
        os.path.basename(tf.train.latest_checkpoint(os.fspath(setup.folder)) or "none")
        for setup in (other, one)
    )
    if named != expected:
        found.append(f"checkpoint: names {named} instead of {expected}")
    for name in (f"ckpt-{one.steps}", f"saved_model/{one.steps}/variables/variables"):
        first, second = variables(one.folder / name), variables(other.folder / name)
        if not first:
            raise RuntimeError(f"{one.folder / name} has no variables")
        found += [
            f"{name}: {key}"
            for key in sorted(first.keys() | second.keys())
            if key not in first or key not in second or not _identical(first[key], second[key])
        ]
    return found


def _identical(one: np.ndarray, other: np.ndarray) -> bool:
    same_kind = one.dtype == other.dtype and one.shape == other.shape
    return same_kind and one.tobytes() == other.tobytes()


def leftovers(undisturbed: Setup, killed: Setup) -> list[str]:
    """Files and folders of the killed run that the other does not have.

    Every start has an event file of its own; those do not count.
    """
    whole, rest = (
        {os.fspath(path.relative_to(setup.folder)) for path in setup.folder.rglob("*")}
        for setup in (undisturbed, killed)
    )
    return sorted(name for name in rest - whole if not name.startswith("events.out.tfevents."))


def _seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} s (of {len(values)})" if values else "-"


def _print_table(killed: Killed, fresh: list[float], result: str) -> None:
    kinds = [kind for kind in KINDS if kind != OTHER or killed.kills[OTHER]]
    heads = ["kills", *kinds, "steps repeated", "result", "first step, fresh", "resumed"]
    cells = [
        killed.kills.total(),
        *(killed.kills[kind] for kind in kinds),
        killed.repeated,
        result,
        _seconds(fresh),
        _seconds(killed.resumed_secs),
    ]
    for row in (heads, ["---"] * len(heads), cells):
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def main() -> int:
    """Prints a line per kill, then a table; returns the exit status."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=command.count, default=20, help="at least so many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending the run
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        tempfile.tempdir = folder  # TensorFlow Datasets leaves one of its own
        prepare_data(root / "data")
        steps = EVERY * max(12, words.kills)
        alone, other = (Setup(root / name, steps, root / "data") for name in ("alone", "killed"))
        undisturbed = run_undisturbed(alone)
        durations = [f"{kind} {secs:.3f} s" for kind, secs in undisturbed.write_secs.items()]
        print(f"undisturbed: {steps} steps, the first after {undisturbed.first_step_secs:.1f} s; "
              f"median {', '.join(durations)}", flush=True)  # fmt: skip
        killed = run_killed(other, plan(words.kills), undisturbed, words.seed)
        differing, left = differences(alone, other), leftovers(alone, other)
    counters = [name for name in differing if name.endswith(COUNTER)]
    differing = [name for name in differing if name not in counters]
    result = f"differs: {', '.join(differing[:3])}" if differing else "identical"
    _print_table(killed, [undisturbed.first_step_secs, *killed.fresh_secs], result)
    print(f"not counted, as they count writes: {', '.join(counters) or 'none'}")
    print(f"left by killed processes: {', '.join(left) or 'nothing'}")
    for problem in killed.problems:
        print(f"problem: {problem}")
    return int(bool(differing or left or killed.problems))


def prepare_data(folder: pathlib.Path) -> None:
    """Writes the data set, so that no start has to."""
    from simclr_tf.startup import load_tensorflow

    load_tensorflow()
    from simclr_tf.data import embedded

    embedded.prepare("digits", folder)


if __name__ == "__main__":
    command.end(main)
