"""One device, and what a job refuses; several are in test_equality and test_multi_worker."""

import pytest
import tensorflow as tf

from simclr_tf.config import StrategyConfig
from simclr_tf.distribution import Part
from simclr_tf.errors import InputError
from simclr_tf.job import Job, open_job


class Replicas:
    def __init__(self, count):
        self.num_replicas_in_sync = count


@pytest.mark.parametrize(("size", "nearest"), [(10, "8 or 12"), (3, "such as 4")])
def test_a_batch_that_does_not_divide_is_refused_with_its_neighbours(size, nearest):
    job = Job(Replicas(4))
    with pytest.raises(InputError, match=nearest):
        job.check_divisible("train_batch_size", size)
    job.check_divisible("train_batch_size", 12)


def test_one_device_is_the_default():
    said = []
    job = open_job(StrategyConfig(), said.append)
    assert (job.replicas, job.workers, job.is_chief, str(job)) == (1, 1, True, "one CPU")
    batches, parts = tf.data.Dataset.range(3), []
    assert job.distribute(lambda part: parts.append(part) or batches) is batches
    assert parts == [Part(index=0, count=1, replicas=1)]
    assert job.from_chief(7) == 7
    job.say("a")
    job.silent().say("b")
    assert said == ["a"]
