"""A block that waits for workers is watched from outside; what TensorFlow does is in
test_multi_worker.
"""

import os
import signal
import socket
import subprocess
import sys

from simclr_tf import absent_workers

PROGRAM = """
import time
from simclr_tf.absent_workers import naming_absent
with naming_absent({addresses!r}, {seconds}):
    time.sleep({block})
print("all there")
"""


def waiting(addresses, seconds, block):
    program = PROGRAM.format(addresses=addresses, seconds=seconds, block=block)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60)  # fmt: skip


def test_who_is_missing_too_long_is_named_and_ends_the_wait():
    with socket.socket() as present, socket.socket() as other:
        present.bind(("127.0.0.1", 0))
        present.listen()
        other.bind(("127.0.0.1", 0))  # nobody listens
        here, gone = (f"127.0.0.1:{one.getsockname()[1]}" for one in (present, other))
        done = waiting([here, gone], 0.5, 30)
    assert done.returncode == -signal.SIGINT
    assert done.stdout == f"waiting for 1 of 2 workers: nobody answers at {gone}\n"
    assert "--strategy needs all 2 workers within 0.5 s" in done.stderr


def test_a_wait_that_ends_in_time_says_nothing():
    done = waiting(["127.0.0.1:9"], 20, 0.1)
    assert (done.returncode, done.stdout, done.stderr) == (0, "all there\n", "")


def test_the_watcher_ends_with_whom_it_watches(monkeypatch, capsys):
    assert absent_workers.main(["20", str(os.getpid() + 1), "127.0.0.1:9"]) == 0
    assert "ended while waiting" in capsys.readouterr().err
    signal.signal(signal.SIGINT, signal.default_int_handler)
