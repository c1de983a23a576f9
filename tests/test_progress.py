"""Progress with a clock of our own."""

import io
import math
import os

import pytest

from simclr_tf.progress import Download, Progress


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def lines_of(steps, **options):
    """Runs 32 pairs a step, `steps` being (seconds since the last step, step)."""
    clock, stream = Clock(), io.StringIO()
    with Progress(100, stream=stream, clock=clock, **options) as progress:
        for seconds, step in steps:
            clock.now += seconds
            progress.update(step, 32 * step, {"loss": 4.56789, "contrastive accuracy": 0.25})
    return stream.getvalue().splitlines()


def test_a_line_at_first_then_every_ten_seconds_then_at_the_end():
    found = lines_of([(60, 1), *((2, step) for step in range(2, 10))])
    assert found == [
        "train: step 1/100, loss 4.568, contrastive accuracy 0.25",
        "train: step 6/100, loss 4.568, contrastive accuracy 0.25, 16.0 pairs/s, 3 min 08 s left",
        "train: step 9/100, loss 4.568, contrastive accuracy 0.25, 16.0 pairs/s, 3 min 02 s left",
    ]


def test_the_last_line_is_not_repeated():
    assert len(lines_of([(1, 1)])) == 1
    assert len(lines_of([(1, 1), (10, 100)])) == 2


def test_no_update_no_line():
    assert lines_of([]) == []


def test_names_and_resume():
    found = lines_of([(1, 41), (10, 42)], label="eval", unit="images", initial=40)
    assert found[1].startswith("eval: step 42/100")
    assert "3.20 images/s, 9 min 40 s left" in found[1]


def test_lines_are_flushed_and_plain():
    flushed = []

    class Stream(io.StringIO):
        def flush(self):
            flushed.append(self.getvalue())

    stream = Stream()
    progress = Progress(10, stream=stream, clock=Clock())
    progress.update(1, 1, {"loss": math.nan})
    assert flushed[-1] == "train: step 1/10, loss nan\n"
    progress.note("hello")
    assert flushed[-1].endswith("\nhello\n")
    assert "\r" not in stream.getvalue()


def test_rate_forgets_the_time_before_the_first_update_and_the_distant_past():
    clock = Clock()
    progress = Progress(1000, stream=io.StringIO(), clock=clock)
    clock.now += 500  # Tracing.
    progress.update(1, 10, {})
    assert math.isnan(progress.units_per_second)
    assert math.isnan(progress.seconds_left)
    for step in range(2, 12):  # A slow start, 10 s a step ...
        clock.now += 10
        progress.update(step, 10 * step, {})
    assert progress.units_per_second == pytest.approx(1)
    for step in range(12, 100):  # ... then 1 s a step.
        clock.now += 1
        progress.update(step, 10 * step, {})
    assert progress.units_per_second == pytest.approx(10)
    assert progress.seconds_left == pytest.approx(901)


def test_rate_of_steps_slower_than_the_window():
    clock = Clock()
    progress = Progress(10, stream=io.StringIO(), clock=clock)
    for step in range(1, 4):
        clock.now += 100
        progress.update(step, 200 * step, {})
    assert progress.units_per_second == pytest.approx(2)


def test_a_clock_that_stands_still_gives_no_rate():
    progress = Progress(10, stream=io.StringIO(), clock=Clock())
    progress.update(1, 1, {})
    progress.update(2, 2, {})
    assert math.isnan(progress.units_per_second)


def test_bar():
    stream = io.StringIO()
    clock = Clock()
    with Progress(10, initial=4, stream=stream, is_terminal=True, clock=clock) as progress:
        for step in (5, 6, 7):
            clock.now += 1
            progress.update(step, 32 * step, {"loss": 1.5})
        progress.note("checkpoint written")
    text = stream.getvalue()
    assert "train 40%|" in text.split("\r")[1]
    assert "| 7/10, loss 1.5, 32.0 pairs/s, 00:03 left" in text.split("\r")[-1]
    assert "checkpoint written\n" in text
    assert text.endswith("\n")
    progress.close()
    assert stream.getvalue() == text


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    "rows, columns, length", [(0, 0, 100), (24, 80, 80), (0, 90, 90), (50, 200, 200)]
)
def test_bar_on_a_terminal_of_any_size(rows, columns, length):
    import fcntl
    import struct
    import termios

    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    clock = Clock()
    with os.fdopen(writer, "w") as stream:
        with Progress(1200, stream=stream, clock=clock) as progress:
            progress.update(600, 0, {"loss": 4.56789, "contrastive accuracy": 0.25})
            clock.now += 10
            progress.update(601, 1280, {"loss": 4.56789, "contrastive accuracy": 0.25})
        text = ""
        while not text.endswith("\n"):  # A read may give a part.
            text += os.read(reader, 10_000).decode()
    os.close(reader)
    last = text.rstrip().split("\r")[-1]
    assert "601/1200, loss 4.568, contrastive accuracy 0.25, 128 pairs/s" in last
    assert length - 5 <= len(last) <= length


def test_no_thread_is_left_behind():
    import threading

    before = threading.active_count()
    progress = Progress(10, stream=io.StringIO(), is_terminal=True)
    progress.update(1, 1, {})
    assert threading.active_count() == before
    progress.close()


def test_the_stream_decides_when_not_told():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    Progress(10, stream=stream).close()
    assert "\r" in stream.getvalue()


def test_standard_output_is_the_one_of_the_moment(capsys):
    with Progress(10) as progress:
        progress.update(1, 1, {})
    assert capsys.readouterr().out == "train: step 1/10\n"


def test_a_download_says_how_far_it_is_now_and_then():
    clock, stream = Clock(), io.StringIO()
    with Download("gs://b/x", 3_500_000_000, stream=stream, clock=clock) as download:
        for seconds, count in [(1, 10**9), (8, 10**9), (2, -(10**9)), (9, 10**6), (1, 10**9)]:
            clock.now += seconds
            download.add(count)
    assert stream.getvalue().splitlines() == [
        "fetching gs://b/x, 3.5 GB",
        "fetching gs://b/x: 1.0 GB of 3.5 GB",
        "fetching gs://b/x: 2.0 GB of 3.5 GB",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_download_is_a_bar_on_a_terminal():
    stream = Terminal()
    with Download("gs://b/x", 4_000_000, stream=stream) as download:
        download.add(3_000_000)
    assert "gs://b/x" in stream.getvalue() and "3.00M/4.00M" in stream.getvalue()
