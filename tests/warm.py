"""Processes that start with TensorFlow loaded, for tests in which a process of its own is needed.

Loading TensorFlow and this project takes a process some five seconds. One server for a test run
does it once; every program after that is forked from it, before TensorFlow has begun to work (no
device, no thread), with its own arguments, environment, folder and output:

    done = warm.run([sys.executable, "run.py", "--mode=train", ...], cwd=ROOT)
    with warm.Program([sys.executable, "-c", text], stdout=warm.PIPE) as program: ...

The encoder has the blocks that the test's has (tests/shallow.py). Signals, kills and exit statuses
are those of any process. What a test asserts about the start itself (what is imported, said or set
before TensorFlow is there) needs `subprocess`.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import IO, Any

from tests import shallow

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
_WORDS = 1 << 20  # bytes of a request: words and environment
_PRELOADED = (
    "tensorflow", "tf_keras", "sklearn.linear_model", "matplotlib.figure", "tensorflow_datasets",
    "tensorflow_hub", "simclr_tf.export.runs", "simclr_tf.flags.parsing",
    "simclr_tf.modes.train_then_eval", "simclr_tf.modes.scoreboard", "simclr_tf.studies.study",
    "simclr_tf.report.run_page", "tests.eager",
)  # fmt: skip

# Of the programs that have ended; `tests/processor_time.py` adds it to what the tests cost.
seconds_of_programs = 0.0
programs_started = 0


class Program:
    """One program, with the methods of `subprocess.Popen` that tests use.

    Args:
        words: `sys.executable` and what follows it: a file, `-m` and a module, or `-c` and a text.
        cwd: Its folder. Default: this one's.
        env: Its environment. Default: this process's.
        stdin: PIPE, or None or DEVNULL for an empty one.
        stdout: PIPE, DEVNULL, an open file or its number, or None for this process's.
        stderr: The same; STDOUT joins it to `stdout`. Can be read with `communicate` only.
        text: Whether what is piped is text.
        start_new_session: Whether it leads a process group of its own.
    """

    def __init__(
        self, words: Sequence[Any], *, cwd: Any = None, env: Mapping[str, str] | None = None,
        stdin: Any = None, stdout: Any = None, stderr: Any = None, text: bool = False,
        start_new_session: bool = False,
    ) -> None:  # fmt: skip
        global programs_started
        assert words[0] == sys.executable, words
        self.args, self.returncode = [str(word) for word in words], None
        self._text = text
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self._errors: IO[Any] | None = None
        with contextlib.ExitStack() as ours:  # ends that the program holds
            nothing = ours.enter_context(open(os.devnull, "r+b", buffering=0))
            entered = nothing
            if stdin == PIPE:
                read, write = os.pipe()
                entered = ours.enter_context(os.fdopen(read, "rb"))
                self.stdin = os.fdopen(write, "w" if text else "wb")
            out = sys.__stdout__ if stdout is None else nothing if stdout == DEVNULL else stdout
            if stdout == PIPE:
                read, write = os.pipe()
                out = ours.enter_context(os.fdopen(write, "wb"))
                self.stdout = os.fdopen(read, "r" if text else "rb")
            error = sys.__stderr__ if stderr is None else nothing if stderr == DEVNULL else stderr
            if stderr == PIPE:
                error = self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            elif stderr == STDOUT:
                error = out
            self._connection, theirs = socket.socketpair()
            ours.enter_context(theirs)
            request = {"words": self.args[1:], "cwd": os.fspath(cwd or os.getcwd()),
                       "environment": dict(os.environ if env is None else env),
                       "session": start_new_session, "blocks": shallow.installed()}  # fmt: skip
            files = [one if isinstance(one, int) else one.fileno()
                     for one in (theirs, entered, out, error)]  # fmt: skip
            _send(_server(), request, files)
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())
        programs_started += 1

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()
        self.wait()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; a signal's number is negative. Raises `subprocess.TimeoutExpired`."""
        global seconds_of_programs
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            answer = json.loads(self._answers.readline())
            self.returncode = answer["status"]
            seconds_of_programs += answer["seconds"]
            self._answers.close()
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit status; None as long as it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """What it has written to `stdout` and `stderr`, once it has ended."""
        if self.stdin is not None and not self.stdin.closed:
            self.stdin.write(input or ("" if self._text else b""))
            self.stdin.close()
        end = None if timeout is None else time.monotonic() + timeout
        output = None
        if self.stdout is not None and not self.stdout.closed:
            if end is not None and not self._closes_before(end):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            output = self.stdout.read()
            self.stdout.close()
        self.wait(None if end is None else max(end - time.monotonic(), 0))
        errors = None
        if self._errors is not None:
            self._errors.seek(0)
            errors = self._errors.read()
            errors = errors.decode(errors="replace") if self._text else errors
            self._errors.close()
        return output, errors

    def _closes_before(self, end: float) -> bool:
        """Whether it ends in time; a pipe holds 64 KiB, so that the output is small or a file."""
        try:
            self.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[Any], *, capture_output: bool = False, check: bool = False,
    timeout: float | None = None, **settings: Any,
) -> subprocess.CompletedProcess[Any]:  # fmt: skip
    """Starts a program and waits for its end, as `subprocess.run` does."""
    text = settings.get("text", False)
    with contextlib.ExitStack() as stack:
        files: dict[str, IO[Any]] = {}
        for name in ("stdout", "stderr") if capture_output else ():
            files[name] = stack.enter_context(tempfile.TemporaryFile())
        program = Program(words, **settings, **files)
        try:
            status = program.wait(timeout)
        finally:
            program.kill()
        heard = {}
        for name, file in files.items():
            file.seek(0)
            heard[name] = file.read().decode(errors="replace") if text else file.read()
    done = subprocess.CompletedProcess(program.args, status, **heard)
    if check:
        done.check_returncode()
    return done


ADDRESS = "SIMCLR_TF_WARM_SERVER"  # the variable that leads the workers of a test run to it
_control: socket.socket | None = None
_process: subprocess.Popen[bytes] | None = None


def listen() -> None:
    """Starts the server of this process and its children; it loads nothing until it is asked."""
    global _process
    if _process is not None or ADDRESS in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="warm-")
    os.environ[ADDRESS] = os.path.join(folder, "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(os.environ[ADDRESS])
        listening.listen()
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        _process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(listening.fileno())],
            cwd=root, pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL,
        )  # fmt: skip
    atexit.register(stop)


def _server() -> socket.socket:
    """This process's connection to the server."""
    global _control
    if _control is None:
        listen()
        _control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _WORDS)
        _control.connect(os.environ[ADDRESS])
    return _control


def stop() -> float:
    """Ends the server if it is this process's; its seconds of processor time."""
    global _control, _process
    if _control is not None:
        _control.close()
        _control = None
    if _process is None:
        return 0.0
    _process.terminate()
    usage = os.wait4(_process.pid, 0)[2]
    _process = None
    shutil.rmtree(os.path.dirname(os.environ.pop(ADDRESS)))
    return usage.ru_utime + usage.ru_stime


def _send(connection: socket.socket, request: dict[str, Any], files: list[int]) -> None:
    content = json.dumps(request).encode()
    assert len(content) < _WORDS, "words and environment are too long"
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))
    connection.sendmsg([content], [rights])


def _serve(listening: socket.socket) -> dict[str, Any]:
    """Forks for each request; returns it in the program's process alone."""
    clients: list[socket.socket] = []
    while True:
        for ready in select.select([listening, *clients], [], [])[0]:
            if ready is listening:
                clients.append(listening.accept()[0])
                _preload()
                continue
            content, files, _, _ = socket.recv_fds(ready, _WORDS, 4)
            if not content:
                clients.remove(ready)
                ready.close()
            elif not os.fork():
                return _keep(content, files)
            for file in files:
                os.close(file)
            while _finished_keepers():
                pass


def _keep(content: bytes, files: list[int]) -> dict[str, Any]:
    """Forks the program, waits for it and tells how it ended; returns in the program alone."""
    connection = socket.socket(fileno=files[0])
    pid = os.fork()
    if not pid:
        for number, file in enumerate(files[1:]):
            os.dup2(file, number)
        connection.detach()
        os.closerange(3, 1024)
        return json.loads(content)
    os.closerange(0, 3)
    for file in files[1:]:
        os.close(file)
    connection.sendall(f"{pid}\n".encode())
    _, status, usage = os.wait4(pid, 0)
    answer = {"status": os.waitstatus_to_exitcode(status),
              "seconds": usage.ru_utime + usage.ru_stime}  # fmt: skip
    with contextlib.suppress(OSError):  # nobody listens any more
        connection.sendall(json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _preload() -> None:
    """Loads what programs need; what TensorFlow says meanwhile about drivers is nobody's."""
    if "tensorflow" in sys.modules:
        return
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        for name in _PRELOADED:
            importlib.import_module(name)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    gc.collect()
    gc.freeze()  # else the first collection of a program copies all memory


def _finished_keepers() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _become(request: dict[str, Any]) -> None:
    """Runs the program in this process, as Python would."""
    if request["session"]:
        os.setsid()
    shallow.install(tuple(request["blocks"]))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    importlib.import_module("tests.eager").as_traced()
    kind, *words = request["words"]
    first = os.path.dirname(os.path.abspath(kind)) if kind not in ("-c", "-m") else os.getcwd()
    added = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [first, *added, *(path for path in sys.path if path not in (own, *added))]
    if kind == "-c":
        sys.argv = ["-c", *words[1:]]
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), module.__dict__)
    elif kind == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *words]
        runpy.run_path(kind, run_name="__main__")


def _status(request: dict[str, Any]) -> int:
    try:
        _become(request)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(status: int) -> None:
    """As Python ends, but without taking the modules apart, which costs more than many programs."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: it is for the tests
    from simclr_tf import startup

    startup.choose_environment()
    _request = _serve(socket.socket(fileno=int(sys.argv[1])))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _end(_status(_request))
