"""Stopping a run from outside: signals, preemption, and workers that are gone.

One process notes SIGINT (Ctrl-C) and SIGTERM and stops between two calls of the compiled step, with
a checkpoint. Several workers have to stop at the same step; they agree through TensorFlow's
`PreemptionCheckpointHandler`, which also knows the notices of Google's machines.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import tensorflow as tf

from simclr_tf.errors import Preempted, RunError, WorkerLostError
from simclr_tf.job import Job

# How TensorFlow says that a collective operation or the coordination service lost a task.
_LOSSES = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
           tf.errors.InternalError, tf.errors.DeadlineExceededError,
           tf.errors.FailedPreconditionError)  # fmt: skip
_TASK = re.compile(r"/job:(worker|chief)(/replica:\d+)?/task:\d+")

T = TypeVar("T")


class Coordinator(Protocol):
    """Runs a loop's calls, so that all workers make the same ones and stop at the same one."""

    def agree(self, value: int) -> int:
        """The chief's value."""
        ...

    def run(self, call: Callable[[], T]) -> T:
        """Makes one call; all workers make equally many."""
        ...

    def check(self) -> None:
        """Saves and raises `KeyboardInterrupt` or `Preempted` if the run has been asked to stop.

        Called where the run may stop: between two calls, when everything is known to be sound.
        """
        ...


@contextlib.contextmanager
def coordinate(job: Job, save: Callable[[], None]) -> Iterator[Coordinator]:
    """The coordinator of a loop.

    Args:
        job: Where the loop computes.
        save: Writes a checkpoint; called on every worker.
    """
    if job.workers == 1:
        with deferred_signals() as received:
            yield _Alone(received, save)
    else:
        cluster = _Cluster(job, save)
        try:
            yield cluster
        finally:
            cluster.close()


class _Alone:
    """Of a single process."""

    def __init__(self, received: list[int], save: Callable[[], None]):
        self._received, self._save = received, save

    def agree(self, value: int) -> int:
        return value

    def run(self, call: Callable[[], T]) -> T:
        return call()

    def check(self) -> None:
        if not self._received:
            return
        self._save()
        raise Preempted if self._received[0] == signal.SIGTERM else KeyboardInterrupt


@contextlib.contextmanager
def deferred_signals() -> Iterator[list[int]]:
    """Notes SIGINT and SIGTERM in a list instead of acting on them, in the main thread.

    A second SIGINT ends the process at once, whatever TensorFlow is computing.
    """
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        received.append(number)
        # A handler of Python's would wait for the end of the operation.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Cluster:
    """Of one of several workers."""

    def __init__(self, job: Job, save: Callable[[], None]):
        self._job = job
        self._folder = tempfile.TemporaryDirectory()
        self._previous = {
            number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
        }
        # It insists on a manager; everything is saved and restored by our own store.
        manager = tf.train.CheckpointManager(tf.train.Checkpoint(), self._folder.name, 1)
        config = tf.distribute.experimental.TerminationConfig(save_fn=save, exit_fn=_stop)
        self._handler: Any = tf.distribute.experimental.PreemptionCheckpointHandler(
            job.strategy.cluster_resolver, manager, termination_config=config
        )
        signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))

    def agree(self, value: int) -> int:
        return self._job.from_chief(value)

    def run(self, call: Callable[[], T]) -> T:
        return self._handler.run(call)

    def check(self) -> None:
        """Nothing: the handler looks at the beginning of the call that all have agreed on."""

    def close(self) -> None:
        # Ends its threads; the last reference to it goes.
        self._handler = None
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._folder.cleanup()


def _stop() -> None:
    raise Preempted


@contextlib.contextmanager
def naming_lost_worker() -> Iterator[None]:
    """Turns the failure of an exchange with other workers into an error that says so.

    Raises:
        WorkerLostError: Another worker of the job is gone.
    """
    try:
        yield
    except (tf.errors.OpError, RunError) as error:
        cause = error.__cause__ if isinstance(error, RunError) else error
        if isinstance(cause, tf.errors.OpError) and is_worker_loss(cause):
            task = _TASK.search(str(cause))
            who = task.group() if task else type(cause).__name__
            raise WorkerLostError(
                f"a worker of this job does not answer any more ({who})"
            ) from error
        raise


def is_worker_loss(error: tf.errors.OpError) -> bool:
    """Whether an exchange with other workers failed, rather than this worker's own work."""
    text = str(error)
    return isinstance(error, _LOSSES) and ("Collective" in text or _TASK.search(text) is not None)
