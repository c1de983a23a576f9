"""Several replicas and processes compute what one device computes."""

from __future__ import annotations

import pytest

from benchmarks import equality, workers
from tests import warm

# Relative to each array's largest value where that is above 1. See `benchmarks.equality` for why
# the best of three draws counts.
TOLERANCE = 1e-5
# `python -m benchmarks.equality` has all settings, in a whole ResNet-18. What four replicas gather
# and average: tests/objectives/test_nt_xent.py and tests/models/test_batch_norm.py.
TASKS = {
    "2 replicas": ("pretrain", "finetune", equality.KERAS),
    "2 processes": ("pretrain",),
}


@pytest.fixture(scope="module", autouse=True)
def warm_processes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "Popen", warm.Program)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return equality.first_weights(str(tmp_path_factory.mktemp("equality")))


@pytest.fixture(scope="module")
def one(weights):
    return equality.measure("1 device", weights, tasks=TASKS["2 replicas"])


@pytest.mark.parametrize("setting", TASKS)
def test_replicas_equal_one_device(one, weights, setting):
    found = equality.measure(setting, weights, tasks=TASKS[setting])
    assert set(found) == set(TASKS[setting])
    for task in TASKS[setting]:
        for quantity, (smallest, _) in equality.deviations(one[task], found[task]).items():
            by_divisor = task == equality.KERAS and quantity == "statistics"
            assert smallest < (1e-4 if by_divisor else TOLERANCE), f"{task}, {quantity}"


def test_negatives_that_stay_on_their_replica_are_noticed(one, weights):
    broken = equality.measure("2 replicas", weights, tasks=("pretrain",), local_negatives=True)
    found = equality.deviations(one["pretrain"], broken["pretrain"])
    assert found["loss"][0] > 1000 * TOLERANCE
    assert found["gradients"][0] > 1000 * TOLERANCE
