"""Which failures are tried again, when, and where reading goes on."""

from __future__ import annotations

import sys

import pytest
import tensorflow as tf

from simclr_tf.data import retry


def _error(kind=tf.errors.UnavailableError, text="the disk is away"):
    return kind(None, None, text)


class _Pauses(list):
    """A backoff's pauses and lines, without waiting."""

    def __init__(self, limit, **settings):
        super().__init__()
        self.lines = []
        self.backoff = retry.Backoff(limit, sleep=self.append, say=self.lines.append, **settings)


def test_pauses_grow_up_to_the_longest():
    pauses = _Pauses(5, first_seconds=2, factor=3, longest=30)
    for _ in range(5):
        pauses.backoff.failed(_error())
    assert pauses == [2, 6, 18, 30, 30]


def test_lines_for_the_user():
    pauses = _Pauses(2)
    for _ in range(2):
        pauses.backoff.failed(_error(text="the disk is away\nand more"))
    assert pauses.lines == [
        "note: reading failed (the disk is away); retry 1 of 2 in 1 s",
        "note: reading failed (the disk is away); retry 2 of 2 in 2 s",
    ]


def test_the_limit_counts_failures_in_a_row():
    pauses = _Pauses(2)
    for _ in range(3):
        pauses.backoff.failed(_error())
        pauses.backoff.failed(_error())
        pauses.backoff.worked()
    last = _error()
    pauses.backoff.failed(_error())
    pauses.backoff.failed(_error())
    with pytest.raises(tf.errors.UnavailableError) as caught:
        pauses.backoff.failed(last)
    assert caught.value is last and pauses == [1, 2] * 4


def test_no_retries():
    pauses = _Pauses(0)
    with pytest.raises(tf.errors.UnavailableError):
        pauses.backoff.failed(_error())
    assert pauses == pauses.lines == []


def _failing(schedule, end=10):
    """Opens range(end); before each element named in `schedule` it fails that many times."""
    opened = []

    def open_at(start):
        opened.append(start)
        for i in range(start, end):
            if schedule.get(i):
                schedule[i].pop(0)
                raise _error(retry.TRANSIENT[i % len(retry.TRANSIENT)])
            yield i

    return open_at, opened


def test_iteration_goes_on_where_it_stopped():
    open_at, opened = _failing({0: [1], 4: [1, 1], 9: [1]})
    pauses = _Pauses(2)
    assert list(retry.resume_iteration(open_at, pauses.backoff)) == list(range(10))
    assert opened == [0, 0, 4, 4, 9] and pauses == [1, 1, 2, 1]


def test_iteration_gives_up():
    open_at, opened = _failing({3: [1, 1, 1]})
    found = []
    with pytest.raises(tf.errors.OpError):
        for element in retry.resume_iteration(open_at, _Pauses(2).backoff):
            found.append(element)
    assert found == [0, 1, 2] and opened == [0, 3, 3]


@pytest.mark.parametrize(
    "kind",
    [tf.errors.InvalidArgumentError, tf.errors.DataLossError, tf.errors.NotFoundError,
     tf.errors.PermissionDeniedError, tf.errors.ResourceExhaustedError],
)  # fmt: skip
def test_other_errors_are_not_tried_again(kind):
    def open_at(start):
        yield start
        raise _error(kind)

    pauses = _Pauses(5)
    with pytest.raises(kind):
        list(retry.resume_iteration(open_at, pauses.backoff))
    assert not pauses


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_failing_device_is_transient():
    """EIO, as a broken network mount gives it; address 0 of a process can't be read."""
    name = "/proc/self/mem"

    def number(i):
        return tf.cond(i < 3, lambda: tf.strings.as_string(i), lambda: tf.io.read_file(name))

    def open_at(start):
        return tf.data.Dataset.range(start, 9).map(number)

    pauses = _Pauses(1)
    iterator = retry.resume_iteration(open_at, pauses.backoff)
    assert [int(next(iterator).numpy()) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(tf.errors.UnknownError):
        next(iterator)
    assert pauses.lines == [
        "note: reading failed (/proc/self/mem; Input/output error); retry 1 of 1 in 1 s"
    ]


def _raised(dataset, compiled):
    take = tf.function(lambda iterator: next(iterator)) if compiled else next
    with pytest.raises(tf.errors.OpError) as caught:
        take(iter(dataset))
    return caught.value


@pytest.mark.parametrize("compiled", [False, True])
def test_plain_reason(tmp_path, compiled):
    (tmp_path / "a.tfrecord").write_bytes(b"x" * 100)
    records = tf.data.TFRecordDataset(str(tmp_path / "a.tfrecord"))
    reason = retry.plain_reason(_raised(records, compiled))
    assert reason == "corrupted record at 0 (Is this even a TFRecord file?)"

    def fail():
        raise tf.errors.UnavailableError(None, None, "the service is gone")

    failing = tf.data.Dataset.range(1).map(lambda _: tf.py_function(fail, [], tf.bool))
    reason = retry.plain_reason(_raised(failing.prefetch(1), compiled))
    assert reason == "the service is gone"


def test_plain_reason_of_an_empty_text():
    assert retry.plain_reason(ValueError()) == "ValueError"
    assert len(retry.plain_reason(ValueError("x" * 1_000))) == 200


@pytest.mark.parametrize(
    ("error", "passes"),
    [(ZeroDivisionError("division"), False), (OSError(5, "Input/output error"), True),
     (ConnectionResetError("by peer"), True)],
)  # fmt: skip
@pytest.mark.parametrize("compiled", [False, True])
def test_only_errors_of_the_system_pass_in_python_code(error, passes, compiled):
    def fail():
        raise error

    failing = tf.data.Dataset.range(1).map(lambda _: tf.py_function(fail, [], tf.bool))
    found = _raised(failing, compiled)
    assert isinstance(found, retry.TRANSIENT) and retry.may_pass(found) == passes
    assert retry.may_pass(tf.errors.UnknownError(None, None, "EIO"))
