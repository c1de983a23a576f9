"""What is heard while many images are embedded."""

import pytest

from simclr_tf import watch


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def follow(moments, counts, total, capsys, **settings):
    """What is said and shown when `counts` images are done at `moments`."""
    clock, said = Clock(), []
    watched = watch.Watch(total, "evaluating", said.append, clock=clock, **settings)
    for now, count in zip(moments, counts, strict=True):
        clock.now = 100 + now
        watched(count)
    watched.close()
    return said, capsys.readouterr().out


def test_a_long_extraction_is_estimated_early_and_shows_where_it_stands(capsys):
    # 10 images a second after the first batch, which took 20 s for its trace.
    said, shown = follow([20, 22, 24, 26], [20, 40, 60, 80], 6000, capsys)
    assert said == ["evaluating: about 10 min 00 s"]
    assert shown.splitlines()[0].startswith("evaluating: step 60/6000")
    assert "80/6000" in shown.splitlines()[-1]


def test_the_estimate_covers_all_the_encoders(capsys):
    said, _ = follow([0, 4], [10, 50], 6000, capsys, times=2)
    assert said == ["evaluating: about 20 min 00 s for both encoders"]


@pytest.mark.parametrize(
    ("moments", "counts", "settings"),
    [
        ([0, 1, 2], [10, 20, 30], {}),  # quick
        ([0, 9], [10, 30], {}),  # done with the second batch
        ([0, 9, 18], [10, 12, 14], {"shows": False}),  # another worker speaks
    ],
)
def test_silence(moments, counts, settings, capsys):
    assert follow(moments, counts, 30, capsys, **settings) == ([], "")
