"""The tf.data service: decoding and augmentation on other machines, batch for batch the same.

The rows of one input pipeline are divided into parts. Each part is an endless stream that exactly
one worker computes, whichever asks for it first; the trainer puts the parts side by side again. A
dispatcher and its workers are started with `serve_dispatcher` and `serve_worker`.

TensorFlow's client waits forever for a dispatcher or a worker that is gone, and skips what got
lost. Here a stream counts its rows and is watched, so that it breaks off with an error instead.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import tensorflow as tf

from simclr_tf import cluster, console
from simclr_tf.data import by_pillow  # noqa: F401  # trainers' graphs call it by name in a worker
from simclr_tf.data.retry import plain_reason
from simclr_tf.errors import InputError, require

MOST_PARTS = 8
POSITION = "position"  # of a row in its stream

_SETTING = "data_service"
_PROTOCOL = "grpc"
_LIST_WORKERS = "/tensorflow.data.DispatcherService/GetWorkers"
_ANSWER_SECONDS = 5.0
_PROBE_EVERY = 3.0  # seconds
_PROBES = 3  # in a row without an answer, until an address counts as lost
_TICK_SECONDS = 0.5
_UNUSED_JOB_MS = 30_000  # workers keep the buffers of a trainer that is gone for so long

Batch = Mapping[str, tf.Tensor]


def number_of_parts(rows: int) -> int:
    """Into how many parts to divide: the largest divisor of `rows` up to `MOST_PARTS`."""
    return max(parts for parts in range(1, MOST_PARTS + 1) if rows % parts == 0)


def check_service(address: str) -> list[str]:
    """Asks a dispatcher for its workers, within seconds.

    Args:
        address: `grpc://host:port` of the dispatcher.

    Returns:
        host:port of each worker that answers, at least one.

    Raises:
        InputError: No dispatcher answers there, or it has no worker.
    """
    import grpc  # type: ignore[import-untyped]  # TensorFlow depends on it

    require(cluster.is_service(address), _SETTING, cluster.SERVICE_FORM, address)
    try:
        with grpc.insecure_channel(_host_and_port(address)) as channel:
            answer = channel.unary_unary(_LIST_WORKERS)(b"", timeout=_ANSWER_SECONDS)
    except grpc.RpcError as error:
        raise InputError(
            _SETTING,
            f"must be the address of a running tf.data service dispatcher ({error.code().name})",
            address,
        ) from error
    workers = [worker for worker in _addresses(answer) if cluster.answers(worker)]
    require(bool(workers), _SETTING, "must be a dispatcher with at least one running worker",
            address)  # fmt: skip
    return workers


def through_service(
    make_part: Callable[[int], tf.data.Dataset],
    address: str,
    parts: int,
    first: int,
    step_size: int,
) -> tf.data.Dataset:
    """Computes a stream of batches on the workers of a service, in the same order as here.

    Every iterator has jobs of its own: nothing is shared with another run, process or iterator.

    Args:
        make_part: From p in [0, parts) to the endless stream of part p. Its elements are dicts
            of batches of static shape, among them `POSITION`, int64 (n,): numbers that count the
            rows of a step on from part to part.
        address: `grpc://host:port` of the dispatcher.
        parts: Number of parts.
        first: Position of the first row.
        step_size: From the position of a row to that of the same row one step later.

    Returns:
        The parts of each step one after another, without `POSITION`. Where the service does not
        deliver them, iterating raises `tf.errors.UnknownError` within about half a minute.

    Raises:
        InputError: See `check_service`.
    """
    workers = check_service(address)
    streams = tuple(_by_one_worker(make_part(part), part, address) for part in range(parts))
    steps = tf.data.Dataset.zip(streams).map(_concatenate)
    spec = steps.element_spec
    ended = tf.data.Dataset.from_tensors(0).map(lambda _: _no_rows(spec))
    watch = _Watch([_host_and_port(address), *workers])

    def fail() -> NoReturn:
        reason = f"{watch.lost} does not answer" if watch.lost else "rows are missing"
        raise tf.errors.UnavailableError(
            None, None, f"the tf.data service at {address} broke off, {reason}"
        )

    def fail_if(broken: tf.Tensor) -> tf.Operation:
        return tf.cond(broken, lambda: tf.py_function(fail, [], tf.bool), lambda: True).op

    def tick(_: tf.Tensor) -> tf.experimental.Optional:
        with tf.control_dependencies([fail_if(watch.is_lost())]):
            return tf.experimental.Optional.empty(spec)

    # Steps and ticks as they come, so that the watch is heard while a step is waited for. It is a
    # function because enable_op_determinism rewrites data sets, but not what a function makes:
    # one after the other, every step would wait for a tick.
    @tf.function
    def steps_and_ticks() -> tf.data.Dataset:
        present = steps.concatenate(ended).map(tf.experimental.Optional.from_value)
        either = tf.data.Dataset.from_tensor_slices([present, _ticks().map(tick)])
        return either.interleave(
            lambda stream: stream, cycle_length=2, num_parallel_calls=2, deterministic=False
        )

    def check(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> Batch:
        position = batch.pop(POSITION)  # (rows,)
        expected = first + step * step_size + tf.range(tf.size(position, tf.int64))
        with tf.control_dependencies([fail_if(tf.reduce_any(position != expected))]):
            return tf.nest.map_structure(tf.identity, batch)

    received = (
        tf.data.Dataset.from_tensors(0)
        .flat_map(lambda _: steps_and_ticks())
        .filter(lambda received: received.has_value())
        .map(lambda received: received.get_value())
    )
    return received.enumerate().map(check)


def serve_dispatcher(port: int) -> NoReturn:
    """Runs a dispatcher until SIGTERM or SIGINT, which end the process with status 0.

    Args:
        port: To listen at; 0 takes any that is free.

    Raises:
        InputError: The port can't be used.
    """
    config = tf.data.experimental.service.DispatcherConfig(
        port=port,
        protocol=_PROTOCOL,
        job_gc_check_interval_ms=_UNUSED_JOB_MS // 2,
        job_gc_timeout_ms=_UNUSED_JOB_MS,
    )
    server = _start(tf.data.experimental.service.DispatchServer, config, _SETTING)
    bound = server.target.rpartition(":")[2]
    _serve_until_signal(f"dispatcher at {_PROTOCOL}://{socket.gethostname()}:{bound}")


def serve_worker(dispatcher: str, port: int = 0, host: str | None = None) -> NoReturn:
    """Runs a worker until SIGTERM or SIGINT, which end the process with status 0.

    It waits for its dispatcher first.

    Args:
        dispatcher: `grpc://host:port`.
        port: To listen at; 0 takes any that is free.
        host: Name or address under which trainers reach this machine. None: `localhost` where the
            dispatcher is there as well, else the name of the machine.

    Raises:
        InputError: The port can't be used.
    """
    target = _host_and_port(dispatcher)
    local = target.rpartition(":")[0] in ("localhost", "127.0.0.1")
    host = host or ("localhost" if local else socket.gethostname())
    if not cluster.answers(target):
        console.say(f"waiting for the dispatcher at {dispatcher}")
        while not cluster.answers(target):
            time.sleep(1)
    config = tf.data.experimental.service.WorkerConfig(
        dispatcher_address=target,
        worker_address=f"{host}:%port%",
        port=port,
        protocol=_PROTOCOL,
    )
    server = _start(tf.data.experimental.service.WorkerServer, config, "worker_address")
    bound = server._address.rpartition(":")[2]  # there is no public name for it
    _serve_until_signal(f"worker at {host}:{bound} for {dispatcher}")


class _Watch:
    """Notices when one of several addresses stops answering.

    Attributes:
        lost: The address, None while all answer.
    """

    def __init__(self, addresses: Sequence[str]):
        self.lost: str | None = None
        self._lost = tf.queue.FIFOQueue(1, [tf.bool], [()])
        threading.Thread(target=_probe, args=(weakref.ref(self), addresses), daemon=True).start()

    def is_lost(self) -> tf.Tensor:
        """The same as a bool scalar, for graphs."""
        return self._lost.size() > 0

    def report(self, address: str) -> None:
        """Remembers an address that is lost."""
        self.lost = address
        self._lost.enqueue(True)


def _probe(watch: weakref.ref[_Watch], addresses: Sequence[str]) -> None:
    """Reports the first address that is lost; ends with the watch."""
    missed = dict.fromkeys(addresses, 0)
    while watch() is not None:
        for address in addresses:
            missed[address] = 0 if cluster.answers(address) else missed[address] + 1
            alive = watch()
            if missed[address] == _PROBES and alive is not None:
                alive.report(address)
                return
            del alive
        time.sleep(_PROBE_EVERY)


def _by_one_worker(stream: tf.data.Dataset, part: int, address: str) -> tf.data.Dataset:
    """The stream, computed by the worker that takes the only element of a range."""
    ticket = tf.data.Dataset.range(part, part + 1)
    distribute = tf.data.experimental.service.distribute(
        processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC, service=address
    )
    return ticket.flat_map(lambda _: stream).apply(distribute)


def _ticks() -> tf.data.Dataset:
    """Numbers, one every `_TICK_SECONDS`."""
    numbers = tf.data.Dataset.range(tf.int64.max)
    variant = tf.raw_ops.SleepDataset(
        input_dataset=tf.data.experimental.to_variant(numbers),
        sleep_microseconds=int(_TICK_SECONDS * 1e6),
        output_types=[tf.int64],
        output_shapes=[()],
    )
    return tf.data.experimental.from_variant(variant, numbers.element_spec)


def _concatenate(*pieces: Batch) -> Batch:
    return {name: tf.concat([piece[name] for piece in pieces], 0) for name in pieces[0]}


def _no_rows(spec: Mapping[str, tf.TensorSpec]) -> Batch:
    """Stands where the stream is broken: no row has its position."""
    blank = {name: tf.zeros(part.shape, part.dtype) for name, part in spec.items()}
    return {**blank, POSITION: blank[POSITION] - 1}


def _host_and_port(address: str) -> str:
    return address.removeprefix(f"{_PROTOCOL}://")


def _addresses(answer: bytes) -> list[str]:
    """Reads a GetWorkersResponse, for which TensorFlow ships no Python class.

    Its layout is that of a ClusterDef: field 1 lists messages whose field 1 is a string.
    """
    return [worker.name for worker in tf.train.ClusterDef.FromString(answer).job]


def _start(server: Callable[[Any], Any], config: Any, setting: str) -> Any:
    """Starts a server, but not where another listens: gRPC would let them share what arrives."""
    port = config.port
    require(port == 0 or not cluster.answers(f"localhost:{port}"), setting,
            "must have a port that can be used (it must be free)", port)  # fmt: skip
    try:
        return server(config)
    except tf.errors.OpError as error:
        constraint = (
            f"must have a port that can be used (it must be usable ({plain_reason(error)}))"
        )
        raise InputError(setting, constraint, port) from error


def _serve_until_signal(announcement: str) -> NoReturn:
    """Says what runs here, and ends the process at SIGTERM or SIGINT from then on."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    console.say(announcement)
    # Not signal.pause: it sleeps on when another thread of the process gets the signal.
    while not asked.wait(_TICK_SECONDS):
        pass
    sys.stdout.flush()
    # Not the server's own stop, which waits for calls under way: nothing here can get lost.
    os._exit(0)
