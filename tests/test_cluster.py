import json

import pytest

from simclr_tf import cluster
from simclr_tf.errors import InputError


def tf_config(**changes):
    content = {"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    return {"TF_CONFIG": json.dumps({**content, **changes})}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 1),
        ({"TF_CONFIG": ""}, 1),
        ({"TF_CONFIG": "{}"}, 1),
        (tf_config(), 3),
        (tf_config(cluster={"chief": ["a:1"], "worker": ["b:1", "c:1"]}), 3),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"}, 8),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", **tf_config()}, 3),
        ({"SLURM_NTASKS": "8"}, 1),
    ],
)
def test_the_launcher_says_how_many_tasks_there_are(environment, expected):
    assert cluster.num_tasks(environment) == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "must be a JSON object"),
        ({"TF_CONFIG": "[1]"}, "must be a JSON object"),
        (tf_config(cluster=3), "must be a JSON object"),
        (tf_config(task=None), "must be a JSON object"),
        (tf_config(task={}), "type and index that its cluster lists"),
        (tf_config(task={"type": "worker", "index": 3}), "type and index that its cluster lists"),
        (tf_config(task={"type": "worker", "index": "1"}), "type and index that its cluster lists"),
        (tf_config(cluster={"worker": ["a:1"], "ps": ["b:1"]}), "chief and worker only"),
    ],
)
def test_a_malformed_tf_config_is_one_clear_line(environment, message):
    with pytest.raises(InputError, match=message) as caught:
        cluster.num_tasks(environment)
    assert caught.value.name == "TF_CONFIG"
    assert "\n" not in str(caught.value)
