import json

import pytest

from simclr_tf import cluster
from simclr_tf.errors import InputError
from simclr_tf.settings.devices import StrategyConfig


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
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": ""}, 1),
    ],
)
def test_the_launcher_says_how_many_tasks_there_are(environment, expected):
    assert cluster.num_tasks(environment) == expected


@pytest.mark.parametrize(
    ("settings", "unused", "several"),
    [
        ({}, (), True),
        ({"tpu_name": "mine", "tpu_zone": "z"}, (), False),
        ({"master": "grpc://10.0.0.1:8470"}, (), False),
        ({"tpu_name": "mine", "use_tpu": False}, ("tpu_name",), True),
        ({"tpu_zone": "z", "gcp_project": "p"}, ("tpu_zone", "gcp_project"), True),
        ({"strategy": "tpu", "tpu_name": "mine"}, (), False),
        ({"strategy": "multi_worker", "tpu_name": "mine"}, ("tpu_name",), True),
        ({"strategy": "one_device", "master": "m"}, ("master",), False),
    ],
)
def test_a_named_tpu_is_used_unless_something_else_is_asked_for(settings, unused, several):
    """In a job of three tasks, which `auto` takes for several workers only without a TPU."""
    config = StrategyConfig(**settings)
    assert config.unused_names == unused
    assert config.is_multi_worker(tf_config()) is several


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "must be JSON"),
        ({"TF_CONFIG": "[1]"}, "must be JSON"),
        (tf_config(cluster=3), "a list of host:port for each type of task"),
        (tf_config(cluster={"worker": "a:1"}), "a list of host:port for each type of task"),
        (tf_config(cluster={"worker": ["a", "b"]}), "every task as host:port"),
        (tf_config(cluster={"worker": ["a:1", "b:77777"]}), "every task as host:port"),
        (tf_config(cluster={"worker": ["a:1", "a:1"]}), "must give every task another address"),
        (tf_config(task=None), "type and index that its cluster lists"),
        (tf_config(task=5), "type and index that its cluster lists"),
        (tf_config(task={"type": "worker", "index": True}), "type and index that its cluster"),
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


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("node1", ["node1"]),
        ("node[9-11]", ["node9", "node10", "node11"]),  # not in the order of text
        ("gpu-a[01-02,10]-x,login", ["gpu-a01-x", "gpu-a02-x", "gpu-a10-x", "login"]),
        ("n[08-10],m[1]", ["n08", "n09", "n10", "m1"]),
    ],
)
def test_slurms_lists_of_hosts_are_expanded_in_order(text, hosts):
    assert cluster.expand_hosts(text) == hosts


def test_slurms_ranks_fill_one_host_after_the_other():
    environment = {"SLURM_STEP_NODELIST": "n[9-10],z", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1"}
    assert cluster.slurm_addresses(environment) == [
        "n9:8888", "n9:8889", "n10:8888", "n10:8889", "z:8888"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hosts", "tasks", "name"),
    [
        ("", "1", "SLURM_STEP_NODELIST"),
        ("n[1", "1", "SLURM_STEP_NODELIST"),
        ("n[a-b]", "1", "SLURM_STEP_NODELIST"),
        ("n1", "", "SLURM_STEP_TASKS_PER_NODE"),
        ("n[1-2]", "3", "SLURM_STEP_TASKS_PER_NODE"),
        ("n1", "2(x)", "SLURM_STEP_TASKS_PER_NODE"),
    ],
)
def test_strange_variables_of_slurm_are_named(hosts, tasks, name):
    with pytest.raises(InputError) as caught:
        cluster.slurm_addresses({"SLURM_STEP_NODELIST": hosts, "SLURM_STEP_TASKS_PER_NODE": tasks})
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("rank", "tasks", "name"),
    [
        ("x", "8", "SLURM_PROCID"),
        ("8", "8", "SLURM_PROCID"),
        ("-1", "8", "SLURM_PROCID"),
        ("\u0663", "8", "SLURM_PROCID"),
        ("0", "x", "SLURM_STEP_NUM_TASKS"),
        ("0", "0", "SLURM_STEP_NUM_TASKS"),
        ("0", "9" * 5000, "SLURM_STEP_NUM_TASKS"),
    ],
)
def test_a_strange_rank_or_number_of_tasks_is_named(rank, tasks, name):
    with pytest.raises(InputError, match="must be a whole number from") as caught:
        cluster.num_tasks({"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": tasks})
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("hosts", "tasks"),
    [("n[0-999999999]", "1"), ("n[1-9999],m[1-9999]", "1"), (f"n[{'9' * 5000}]", "1"),
     ("n1", "1(x999999999)"), ("n1", "999999999")],
)  # fmt: skip
def test_lists_without_end_are_refused_at_once(hosts, tasks):
    with pytest.raises(InputError, match="at most 10000"):
        cluster.slurm_addresses({"SLURM_STEP_NODELIST": hosts, "SLURM_STEP_TASKS_PER_NODE": tasks})
