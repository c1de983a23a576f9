"""`simclr_tf.console`: whatever becomes of the streams, work goes on."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import subprocess
import sys

import pytest

from simclr_tf import console

ROOT = pathlib.Path(console.__file__).resolve().parent.parent


class Broken(io.StringIO):
    """Fails in writing or flushing, `times` times."""

    def __init__(self, error, where, times=10**9):
        super().__init__()
        self.error, self.where, self.times = error, where, times

    def _fail(self, where):
        if where == self.where and self.times:
            self.times -= 1
            raise self.error

    def write(self, text):
        self._fail("write")
        return super().write(text)

    def flush(self):
        self._fail("flush")


ERRORS = {
    "reader gone": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "disk full": OSError(errno.ENOSPC, "No space left on device"),
    "descriptor closed": OSError(errno.EBADF, "Bad file descriptor"),
    "stream closed": ValueError("I/O operation on closed file"),
}


@pytest.fixture(autouse=True)
def _nothing_lost_before():
    console.take_losses()
    console._told.clear()


@pytest.mark.parametrize("where", ["write", "flush"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_no_failure_reaches_the_speaker_and_it_is_told_once(error, where):
    stream = console.SafeStream(Broken(error, where), "the log")
    for _ in range(3):
        console.say("a line", stream)
    (loss,) = console.take_losses()
    assert loss.startswith("the log could not be written (")
    assert str(error).removeprefix("[Errno 32] ").split("] ")[-1] in loss
    assert console.take_losses() == []


def test_lines_after_a_full_disk_has_room_again_are_written():
    broken = Broken(ERRORS["disk full"], "write", times=1)
    stream = console.SafeStream(broken)
    console.say("one", stream)
    console.say("two", stream)
    assert broken.getvalue() == "two\n"


def test_letters_that_an_encoding_lacks_are_escaped_and_others_stay():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    console.say("Bäume 猫 plain", stream)
    assert raw.getvalue() == rb"B\xe4ume \u732b plain" + b"\n"


def test_what_a_terminal_would_act_upon_is_escaped_and_absent_streams_take_all(monkeypatch):
    stream = io.StringIO()
    console.say("a\x1b[2Jb\udcff\n\tc", stream)
    assert stream.getvalue() == "a\\x1b[2Jb\\udcff\n\tc\n"
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    console.say("nobody hears it")
    nobody = console.SafeStream(None)
    nobody.flush()
    assert nobody.write("x") == 1 and not nobody.isatty() and console.take_losses() == []


COMMANDS = ("run.py", "-m export", "-m simclr_tf.report")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", ["| true", "> /dev/full", ">&-", "2>&- >&-", "| head -c 1"])
def test_help_ends_well_whoever_reads_it(command, shell):
    line = f"{sys.executable} {command} --help {shell}; echo ${{PIPESTATUS[0]}} >&3"
    status = os.memfd_create("status")
    done = subprocess.run(
        ["bash", "-c", f"exec 3>/proc/{os.getpid()}/fd/{status}; {line}"],
        cwd=ROOT, stderr=subprocess.PIPE, check=True,
    )  # fmt: skip
    assert done.stderr == b""
    assert os.pread(status, 10, 0) == b"0\n"
    os.close(status)


def test_descriptors_that_are_closed_go_to_no_file(tmp_path):
    """Else the next file that is opened gets number 2, and TensorFlow's complaints with it."""
    program = (
        "import os, sys\n"
        "from simclr_tf import console\n"
        "def main(words):\n"
        "    with open(words[0], 'w') as file:\n"
        "        os.write(2, b'a complaint')\n"
        "        return file.fileno()\n"
        "sys.exit(console.run_command(main))"
    )
    line = f'{sys.executable} -c "{program}" {tmp_path}/file 2>&- >&- <&-'
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, check=False)
    assert done.returncode == 3
    assert (tmp_path / "file").read_text() == ""
