"""A tf.data service of a dispatcher and two workers, each a process of its own."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import socket
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data import service
from simclr_tf.errors import InputError
from tests import warm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DISPATCHER = "from simclr_tf.data import service; service.serve_dispatcher(0)"
WORKER = "from simclr_tf.data import service; service.serve_worker({!r})"
DEADLINE = 120  # seconds


class _Server:
    """A server in a process of its own, once it has said its address."""

    def __init__(self, code: str):
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self.process = warm.Program(
            [sys.executable, "-c", code], env=environment, stdout=warm.PIPE,
            stderr=warm.DEVNULL, text=True,
        )  # fmt: skip
        self.lines: list[str] = []

    def wait_for(self, pattern: str) -> str:
        timer = threading.Timer(DEADLINE, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(pattern, line):
                timer.cancel()
                return found[1]
        raise AssertionError(f"{pattern} is missing in {self.lines}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=DEADLINE)


@pytest.fixture
def start():
    servers = []

    def run(code: str) -> _Server:
        servers.append(_Server(code))
        return servers[-1]

    yield run
    for server in servers:
        server.process.kill()
        server.process.wait()


def _dispatcher(start) -> tuple[_Server, str]:
    server = start(DISPATCHER)
    return server, "grpc://localhost:" + server.wait_for(r"^dispatcher at grpc://\S+:(\d+)$")


def test_number_of_parts():
    # By hand: the largest divisor up to 8.
    assert [service.number_of_parts(rows) for rows in (1, 2, 7, 8, 9, 11, 12, 36, 64, 100, 514)] \
        == [1, 2, 7, 8, 3, 1, 6, 6, 8, 5, 2]  # fmt: skip


@pytest.mark.parametrize("address", ["localhost:5050", "grpc://localhost", "http://a:1", ""])
def test_malformed_address(address):
    with pytest.raises(InputError, match="grpc://host:port") as caught:
        service.check_service(address)
    assert caught.value.name == "data_service"


def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        address = f"grpc://localhost:{unused.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(InputError, match="dispatcher") as caught:
            service.check_service(address)
    assert caught.value.name == "data_service" and caught.value.received == address
    assert time.monotonic() - started < 20 and "\n" not in str(caught.value)


def test_nobody_answers(monkeypatch):
    """Something listens that is no dispatcher and says nothing."""
    monkeypatch.setattr(service, "_ANSWER_SECONDS", 0.5)
    with socket.create_server(("localhost", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(InputError, match="dispatcher"):
            service.check_service(f"grpc://localhost:{silent.getsockname()[1]}")
    assert time.monotonic() - started < 20


def test_in_this_process():
    """Order, and what is said about lost rows, without the start of processes."""
    dispatcher = tf.data.experimental.service.DispatchServer()
    with pytest.raises(InputError, match="at least one running worker"):
        service.check_service(dispatcher.target)
    workers = [
        tf.data.experimental.service.WorkerServer(
            tf.data.experimental.service.WorkerConfig(dispatcher.target.split("://")[1])
        )
        for _ in range(2)
    ]
    assert len(service.check_service(dispatcher.target)) == len(workers)

    def make_part(p, gap=None):
        """Part p of 3 of 6 rows, from row 12 on; row `gap` is missing."""
        rows = tf.data.Dataset.range(12, 1_000).filter(lambda i: (i % 6 // 2 == p) & (i != gap))
        return rows.map(lambda i: {"position": i, "square": i**2}).batch(2, drop_remainder=True)

    def through(make):
        return service.through_service(make, dispatcher.target, 3, first=12, step_size=6)

    stream = through(make_part)
    assert stream.element_spec == {"square": tf.TensorSpec((6,), tf.int64)}
    for _ in range(2):  # every iterator starts anew
        found = [batch["square"] for batch in stream.take(20).as_numpy_iterator()]
        np.testing.assert_array_equal(np.concatenate(found), np.arange(12, 132) ** 2)
    for gap, steps in ((26, 2), (1_000, None)):
        broken = through(lambda p, gap=gap: make_part(p, gap)).as_numpy_iterator()
        seen = 0
        with pytest.raises(tf.errors.UnknownError, match="broke off"):
            for _ in broken:
                seen += 1
        assert seen == (steps if steps is not None else 164)  # (1000 - 12) // 6 whole steps


def test_stream_equals_the_local_one(start, tmp_path):
    dispatcher, address = _dispatcher(start)
    workers = [start(WORKER.format(address)) for _ in range(2)]
    ports = [worker.wait_for(r"^worker at localhost:(\d+) for ") for worker in workers]
    for i in range(300):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), i % 256, np.uint8)).save(path)
    results = tmp_path / "results.json"
    pids = [str(server.process.pid) for server in (dispatcher, workers[0])]
    command = [sys.executable, str(REPOSITORY / "tests/data/service_program.py"), address,
               str(tmp_path / "images"), str(results), *pids]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ran = warm.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(results.read_text())
    for name in ("two epochs", "split", "folder", "resumed", "deterministic"):
        assert found[name], name
    assert found["processes"] == sorted(worker.process.pid for worker in workers)
    assert sorted(found["workers"]) == sorted(f"localhost:{port}" for port in ports)
    # The worker that was killed is named, once; then the other one does everything.
    (line,) = found["said"]
    assert f"localhost:{ports[0]} does not answer" in line and "retry 1 of 3" in line
    name, reason, seconds = found["ended"]
    assert name == "UnknownError" and address.removeprefix("grpc://") in reason and seconds < 40


def test_servers_end_when_asked(start):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    worker = start(WORKER.format(f"grpc://localhost:{port}"))
    assert worker.wait_for(r"^waiting for the dispatcher at grpc://localhost:(\d+)$") == str(port)
    dispatcher = start(DISPATCHER.replace("(0)", f"({port})"))
    worker.wait_for(r"^worker at localhost:(\d+) ")
    assert len(service.check_service(f"grpc://localhost:{port}")) == 1
    second = start(DISPATCHER.replace("(0)", f"({port})"))
    assert second.process.wait(timeout=DEADLINE) != 0  # the port is taken
    assert worker.stop(signal.SIGINT) == 0
    with pytest.raises(InputError, match="at least one running worker"):
        service.check_service(f"grpc://localhost:{port}")
    assert dispatcher.stop() == 0


SIGNAL_IN_A_THREAD = """
import signal, threading, time
from simclr_tf.data import service

def ask():
    while not callable(signal.getsignal(signal.SIGTERM)):
        time.sleep(0.01)
    time.sleep(1)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=ask, daemon=True).start()
service._serve_until_signal("ready")
"""


def test_a_signal_that_another_thread_receives(start):
    server = start(SIGNAL_IN_A_THREAD)
    assert server.process.wait(timeout=DEADLINE) == 0


SIGNAL_AT_ONCE = """
import os, signal
from simclr_tf import console
from simclr_tf.data import service

console.say = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
service.serve_dispatcher(0)
"""


def test_whoever_reads_the_announcement_may_end_the_server(start):
    assert start(SIGNAL_AT_ONCE).process.wait(timeout=DEADLINE) == 0
