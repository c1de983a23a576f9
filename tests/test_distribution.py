import subprocess
import sys

import pytest
import tensorflow as tf

from simclr_tf import distribution
from simclr_tf.config import StrategyConfig
from simclr_tf.errors import InputError


class Replicas:
    def __init__(self, count):
        self.num_replicas_in_sync = count


@pytest.mark.parametrize(("size", "nearest"), [(10, "8 or 12"), (3, "such as 4")])
def test_a_batch_that_does_not_divide_is_refused_with_its_neighbours(size, nearest):
    with pytest.raises(InputError, match=nearest):
        distribution.check_divisible("train_batch_size", size, Replicas(4))
    distribution.check_divisible("train_batch_size", 12, Replicas(4))


def test_one_device_is_the_default_strategy():
    strategy = distribution.build_strategy(StrategyConfig())
    assert strategy.num_replicas_in_sync == 1
    batches = tf.data.Dataset.range(3)
    assert distribution.distribute(strategy, batches) is batches


def test_an_unreachable_tpu_is_one_clear_error():
    with pytest.raises(InputError) as caught:
        distribution.build_strategy(StrategyConfig(use_tpu=True))
    assert caught.value.name == "use_tpu"
    assert "\n" not in str(caught.value)


def test_logical_cpus_are_replicas():
    program = (
        "from simclr_tf import distribution as d; from simclr_tf.config import StrategyConfig;"
        "s = d.build_strategy(StrategyConfig(num_logical_cpus=2)); print(d.describe(s))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.strip() == "2 CPU replicas"
