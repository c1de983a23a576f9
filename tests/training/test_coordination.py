"""Stopping from outside; several workers are tried in tests/test_multi_worker.py."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import tensorflow as tf

from simclr_tf.errors import Preempted, RunError, WorkerLostError
from simclr_tf.job import Job
from simclr_tf.training import coordination

ALONE = Job()


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_waits_for_the_next_check_and_saves_first(number, raised):
    saved, calls = [], []
    with (
        pytest.raises(raised),
        coordination.coordinate(ALONE, lambda: saved.append(len(calls))) as coordinator,
    ):
        coordinator.check()
        for _ in range(3):
            coordinator.run(lambda: calls.append(1))
            if len(calls) == 2:
                os.kill(os.getpid(), number)
                coordinator.run(lambda: calls.append(1))
            coordinator.check()
    assert saved == [3]


def test_a_second_interrupt_does_not_wait():
    before = signal.getsignal(signal.SIGINT)
    with coordination.deferred_signals() as received:
        os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == before


def test_handlers_are_as_they_were_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with coordination.deferred_signals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_signals_are_left_alone():
    found = []

    def look():
        with coordination.deferred_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (tf.errors.UnavailableError(None, None, "{{node CollectiveReduceV2}} failed"), True),
        (tf.errors.UnavailableError(None, None, "/job:worker/task:1 has crashed"), True),
        (tf.errors.UnavailableError(None, None, "storage is away {{node IteratorGetNext}}"), False),
        (tf.errors.InternalError(None, None, "/job:localhost/task:0/device:CPU:0 failed"), False),
        (tf.errors.InvalidArgumentError(None, None, "CollectiveReduceV2: shapes differ"), False),
    ],
)
def test_a_lost_worker_is_told_from_a_failed_read(error, expected):
    assert coordination.is_worker_loss(error) == expected


def test_a_lost_worker_is_named_wherever_it_shows():
    lost = tf.errors.UnavailableError(None, None, "/job:worker/replica:0/task:1 has crashed. Bye")
    named = pytest.raises(WorkerLostError, match=r"\(/job:worker/replica:0/task:1\)")
    with named, coordination.naming_lost_worker():
        raise lost
    with pytest.raises(WorkerLostError), coordination.naming_lost_worker():
        try:
            raise lost
        except tf.errors.OpError as error:
            raise RunError("ckpt-3 could not be written") from error
    with pytest.raises(RunError, match="disk"), coordination.naming_lost_worker():
        raise RunError("the disk is full")
