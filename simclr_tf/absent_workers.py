"""Says which workers of a job are missing; a process of its own while TensorFlow waits for them.

TensorFlow waits in code that lets no other thread of Python run and hears no signal.

    python -m simclr_tf.absent_workers SECONDS PARENT HOST:PORT [HOST:PORT ...]
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from simclr_tf import cluster
from simclr_tf.console import say

LIMIT_SECONDS = 1800.0  # a job's last machine may have to boot
_EVERY_SECONDS = 5.0


@contextlib.contextmanager
def naming_absent(addresses: Sequence[str], seconds: float = LIMIT_SECONDS) -> Iterator[None]:
    """Names missing workers while the block waits for them; Ctrl-C ends the process at once.

    Nothing has been written yet then. After `seconds` the process is ended as by Ctrl-C.

    Args:
        addresses: host:port of every worker of the job.
        seconds: How long to wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    words = [sys.executable, "-m", __name__, str(seconds), str(os.getpid()), *addresses]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    watcher = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL)
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        watcher.kill()
        watcher.wait()


def main(words: Sequence[str]) -> int:
    """Watches until the parent ends it, is gone, or has waited for too long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the parent too
    seconds, parent, addresses = float(words[0]), int(words[1]), words[2:]
    until, told = time.monotonic() + seconds, list[str]()
    while time.monotonic() < until:
        pause = time.monotonic() + min(_EVERY_SECONDS, seconds)
        while time.monotonic() < pause:
            time.sleep(0.2)
            if os.getppid() != parent:
                say(f"run.py: error: ended while waiting for {', '.join(told)}", sys.stderr)
                return 0
        absent = [address for address in addresses if not cluster.answers(address)]
        if absent and absent != told:
            told = absent
            say(f"waiting for {len(absent)} of {len(addresses)} workers: nobody answers at "
                f"{', '.join(absent)}")  # fmt: skip
    say(f"run.py: error: --strategy needs all {len(addresses)} workers within {seconds:g} s; "
        f"nobody answers at {', '.join(told)}", sys.stderr)  # fmt: skip
    os.kill(parent, signal.SIGINT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
