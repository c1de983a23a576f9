"""Programs in processes of their own, one or several that find each other over loopback."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys
from subprocess import Popen

ROOT = pathlib.Path(__file__).resolve().parents[1]


def free_addresses(count: int) -> list[str]:
    """Addresses of this machine on which nothing listens yet."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def environments(count: int) -> list[dict[str, str]]:
    """The environment of each of `count` workers of a job; of a single one without `TF_CONFIG`."""
    plain = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    plain.pop("TF_CONFIG", None)
    if count == 1:
        return [plain]
    cluster = {"worker": free_addresses(count)}
    return [
        {
            **plain,
            "TF_CONFIG": json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
            ),
        }
        for index in range(count)
    ]


def run_module(module: str, words: list[str], count: int = 1, timeout: float = 900) -> None:
    """Runs `python -m module WORDS` in `count` workers to the end.

    Raises:
        RuntimeError: One of them failed.
    """
    started = [
        Popen([sys.executable, "-m", module, *words], cwd=ROOT, env=environment)
        for environment in environments(count)
    ]
    try:
        codes = [process.wait(timeout=timeout) for process in started]
    finally:
        for process in started:
            process.kill()
    if any(codes):
        raise RuntimeError(f"{module} {' '.join(words)}: the workers ended with {codes}")
