"""Runs a command in a forked child: TensorFlow is loaded once, a refused command takes 0.1 s.

The parent must have imported TensorFlow and computed nothing: what it starts on its first
computation does not survive a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import faulthandler
import fcntl
import io
import os
import pathlib
import resource
import runpy
import signal
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable

from fuzz import guard
from fuzz.case import Case
from fuzz.sandbox import Sandbox

ROOT = pathlib.Path(__file__).resolve().parent.parent
_POLL_SECONDS = 0.05
_ASIDE = 50  # first descriptor that no program of ours closes or replaces
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS",
                   "TF_USE_LEGACY_KERAS", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS",
                   "CUDA_VISIBLE_DEVICES")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a command may take.

    Attributes:
        cpu_seconds: Processor time, after which it must at least have something to say.
        idle_seconds: Without using the processor: it waits for something that does not come.
        memory_bytes: Resident.
        grace_seconds: From SIGTERM to its end; a training writes a checkpoint.
        file_bytes: Size of a file that it writes.
    """

    cpu_seconds: float = 90.0
    idle_seconds: float = 25.0
    memory_bytes: int = 4 * 2**30
    grace_seconds: float = 20.0
    file_bytes: int = 2**29


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: Exit status, minus the signal's number where one ended it.
        stopped: The limit that it broke (`cpu`, `idle`, `memory`), None for an end of its own.
        heeded: Whether SIGTERM ended it then.
        spoke: Whether it said something in the second half of its time.
        out: Standard output.
        err: Standard error.
        deeds: What `guard.watch` noted.
        faults: Stacks of all threads where it crashed or was stopped.
        cpu_seconds: Processor time.
    """

    status: int
    stopped: str | None = None
    heeded: bool = True
    spoke: bool = True
    out: str = ""
    err: str = ""
    deeds: tuple[str, ...] = ()
    faults: str = ""
    cpu_seconds: float = 0.0


def run_case(case: Case, box: Sandbox, limits: Limits) -> Outcome:
    """Runs the command of a case in its sandbox, with its surroundings."""
    return run_forked(lambda: act(case), box, limits, case)


def run_forked(do: Callable[[], None], box: Sandbox, limits: Limits, case: Case) -> Outcome:
    """Runs a function in a child as a program: its streams, folders and limits are the case's."""
    files = {name: box.folder / name for name in ("stdout", "stderr", "deeds", "faults")}
    for path in files.values():
        path.touch()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_program(do, box, limits, case, files)
    try:
        outcome = _attend(child, limits, files["stdout"])
    except BaseException:  # Ctrl-C here does not reach the child, which has a session of its own
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise
    texts = {
        name: path.read_bytes()[: 2**22].decode("utf-8", "surrogateescape")
        for name, path in files.items()
    }
    for path in files.values():
        path.unlink()
    return dataclasses.replace(
        outcome,
        out=texts["stdout"],
        err=texts["stderr"],
        deeds=tuple(dict.fromkeys(texts["deeds"].splitlines())),
        faults=texts["faults"],
    )


# In the child.


def act(case: Case) -> None:
    """Runs the program of a case in this process, as Python would start it."""
    sys.argv = [case.program, *case.words, *case.extra]
    sys.path.insert(0, str(ROOT))
    if case.program == "run.py":
        sys.argv[0] = str(ROOT / "run.py")
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(case.program, run_name="__main__", alter_sys=True)


def _be_program(
    do: Callable[[], None],
    box: Sandbox,
    limits: Limits,
    case: Case,
    files: dict[str, pathlib.Path],
) -> None:
    """Becomes the program, and ends this process."""
    status = 70
    try:
        os.setsid()
        aside = {name: _open_aside(files[name]) for name in ("deeds", "faults")}
        faults = os.fdopen(aside["faults"], "w", closefd=False)
        faulthandler.enable(faults)
        faulthandler.register(signal.SIGUSR1, faults)
        _forget_the_parent()
        _take_surroundings(box, case)
        _take_limits(limits)
        _take_streams(case, files)
        guard.confine(str(box.folder))
        guard.watch(str(box.folder), lambda text: _note(aside["deeds"], text))
        status = _exit_status(do)
    finally:
        os._exit(status)


def _exit_status(do: Callable[[], None]) -> int:
    """Runs a program as Python does: what it raises is shown, its streams are flushed."""
    try:
        do()
        status = 0
    except SystemExit as exit_:
        code = exit_.code
        status = code if isinstance(code, int) else 0 if code is None else 1
        if isinstance(code, str):
            _complain(code)
    except BaseException:
        _complain(traceback.format_exc())
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError) as error:
            _complain(f"Exception ignored while flushing: {error!r}")
            status = 120
    return status & 255


def _forget_the_parent() -> None:
    """What the parent would do at its own end, and where it keeps temporary files."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    tempfile.tempdir = None


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text.strip().encode("utf-8", "backslashreplace") + b"\n")


def _open_aside(path: pathlib.Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    aside = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ASIDE)
    os.close(descriptor)
    return aside


def _note(descriptor: int, text: str) -> None:
    os.write(descriptor, text.encode("utf-8", "backslashreplace")[:500] + b"\n")


def _take_surroundings(box: Sandbox, case: Case) -> None:
    given = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    os.environ.clear()
    os.environ.update(
        given, HOME=str(box.home), TMPDIR=str(box.temporary), XDG_CACHE_HOME=f"{box.home}/.cache"
    )
    for name, value in case.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.chdir(box.work)


def _take_limits(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    # The parent stops the child long before; this holds where the parent is gone.
    most = int(4 * limits.cpu_seconds + 60)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler
        )


def _take_streams(case: Case, files: dict[str, pathlib.Path]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(files["stderr"], os.O_WRONLY | os.O_APPEND), 2)
    if case.stdout == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    elif case.stdout == "lost":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        os.close(writer)
    else:
        os.dup2(os.open(files["stdout"], os.O_WRONLY | os.O_APPEND), 1)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _stream(1, case.encoding, "strict")
    sys.stderr = _stream(2, case.encoding, "backslashreplace")
    if case.stdout == "closed":  # as Python starts without it
        os.close(1)
        sys.stdout = None  # type: ignore[assignment]
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]


def _stream(descriptor: int, encoding: str, errors: str) -> io.TextIOWrapper:
    raw = open(descriptor, "wb", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding, errors, line_buffering=descriptor == 2)


# In the parent.


def _attend(child: int, limits: Limits, stdout: pathlib.Path) -> Outcome:
    """Waits for the child, and stops it at a limit."""
    started = last_work = last_word = time.monotonic()
    said, used, stopped = 0, 0.0, None
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        time.sleep(_POLL_SECONDS)
        now = time.monotonic()
        cpu, memory = _usage(child)
        if cpu > used + 0.1:
            used, last_work = cpu, now
        if (size := stdout.stat().st_size) != said:
            said, last_word = size, now
        if memory > limits.memory_bytes:
            stopped = "memory"
        elif now - last_work > limits.idle_seconds:
            stopped = "idle"
        elif cpu > limits.cpu_seconds:
            stopped = "cpu"
        if stopped is not None:
            heeded, status, usage = _stop(child, stopped, limits.grace_seconds)
            spoke = last_word - started > (now - started) / 2
            return Outcome(os.waitstatus_to_exitcode(status), stopped, heeded, spoke,
                           cpu_seconds=usage.ru_utime + usage.ru_stime)  # fmt: skip
    with contextlib.suppress(ProcessLookupError):  # what it started and left behind
        os.killpg(child, signal.SIGKILL)
    return Outcome(os.waitstatus_to_exitcode(status), cpu_seconds=usage.ru_utime + usage.ru_stime)


def _stop(child: int, why: str, grace_seconds: float) -> tuple[bool, int, resource.struct_rusage]:
    """Ends a child: whether SIGTERM was enough, its status, what it used."""
    heeded = False
    if why != "memory":
        os.kill(child, signal.SIGUSR1)  # the stacks of its threads
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        until = time.monotonic() + grace_seconds
        while time.monotonic() < until:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            if ended:
                return True, status, usage
            time.sleep(_POLL_SECONDS)
    os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return heeded, status, usage


def _usage(process: int) -> tuple[float, int]:
    """Seconds of processor time and resident bytes; zeros for one that has just ended."""
    try:
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0.0, 0
