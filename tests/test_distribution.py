import sys
import threading

import pytest

from benchmarks import workers
from simclr_tf import distribution
from simclr_tf.config import StrategyConfig
from simclr_tf.errors import InputError
from tests import warm


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({}, {}, "one_device"),
        ({"num_logical_cpus": 2}, {}, "mirrored"),
        ({"use_tpu": True}, {}, "tpu"),
        ({"tpu_name": "mine"}, {}, "tpu"),
        ({"master": "grpc://10.0.0.1:8470"}, {}, "tpu"),
        ({"tpu_name": "mine", "use_tpu": False}, {}, "one_device"),
        ({"tpu_name": "mine", "strategy": "mirrored"}, {}, "mirrored"),
        ({"tpu_name": "mine"}, {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}, "tpu"),
        ({}, {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}, "multi_worker"),
        ({}, {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, "one_device"),
        ({}, {"SLURM_NTASKS": "4"}, "one_device"),  # an allocation, but no srun
        ({"strategy": "one_device"}, {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"},
         "one_device"),
        ({"use_tpu": True}, {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}, "tpu"),
    ],
)  # fmt: skip
def test_auto_means_what_the_settings_and_the_launcher_say(settings, environment, expected):
    assert distribution.choose_strategy(StrategyConfig(**settings), environment) == expected


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"strategy": "everything"}, "strategy"),
        ({"strategy": "mirrored", "use_tpu": True}, "use_tpu"),
        ({"strategy": "one_device", "num_logical_cpus": 2}, "num_logical_cpus"),
        ({"strategy": "multi_worker", "num_logical_cpus": 2}, "num_logical_cpus"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, name):
    with pytest.raises(InputError) as caught:
        StrategyConfig(**settings)
    assert caught.value.name == name


def test_several_workers_need_a_launcher(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="strategy needs TF_CONFIG, or to be started by srun"):
        distribution.build_strategy(StrategyConfig(strategy="multi_worker"))
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(InputError, match="TF_CONFIG must name a cluster"):
        distribution.build_strategy(StrategyConfig(strategy="multi_worker"))


def test_an_unreachable_tpu_is_one_clear_error():
    with pytest.raises(InputError) as caught:
        distribution.build_strategy(StrategyConfig(use_tpu=True))
    assert caught.value.name == "use_tpu"
    assert "\n" not in str(caught.value)


def test_logical_cpus_are_replicas():
    program = (
        "from simclr_tf.job import open_job; from simclr_tf.config import StrategyConfig;"
        "print(open_job(StrategyConfig(num_logical_cpus=2)))"
    )
    done = warm.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.strip() == "2 CPU replicas"


def test_a_tpu_where_nobody_answers_is_refused():
    config = StrategyConfig(tpu_name=f"grpc://{workers.free_addresses(1)[0]}")
    with pytest.raises(InputError, match="use_tpu needs a TPU that can be reached .nobody answers"):
        distribution.build_strategy(config)


def test_what_waits_for_ever_ends():
    act = threading.Event().wait
    with pytest.raises(InputError, match="use_tpu needs a TPU that answers within 0.1 s.*'x'"):
        distribution._within(0.1, act, "x")
    assert distribution._within(9, lambda: 5, "x") == 5
    with pytest.raises(ZeroDivisionError):
        distribution._within(9, lambda: 1 / 0, "x")
