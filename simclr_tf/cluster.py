"""Where a run computes: its settings, and what a job's launcher left in the environment.

Needs no TensorFlow, so that a command line can be refused before it is loaded.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import Any

from simclr_tf.errors import InputError, require
from simclr_tf.json_files import parse_json

_ANSWER_SECONDS = 5.0
TPU_NAMES = ("tpu_name", "tpu_zone", "gcp_project", "master")
TASK_TYPES = ("chief", "worker")
SERVICE_FORM = "must have the form grpc://host:port, the port from 1 to 65535"
SLURM_PORT = 8888  # of the first task on a host; further ones count up
_MOST_TASKS = 10_000


def of_now(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings as they are meant today.

    `use_tpu` was off by default once, also beside a TPU's name. Today's records name no TPU that is
    not used.
    """
    asks = recorded.get("strategy") == "tpu" or recorded.get("tpu_name") or recorded.get("master")
    old = asks and recorded.get("use_tpu") is False
    return {name: value for name, value in recorded.items() if not (old and name == "use_tpu")}


def num_tasks(environment: Mapping[str, str]) -> int:
    """Tasks of the job, by `TF_CONFIG` or else by Slurm's variables inside `srun`; 1 without.

    Raises:
        InputError: A variable is malformed.
    """
    if text := environment.get("TF_CONFIG"):
        cluster = read_cluster(text)
        return sum(len(hosts) for hosts in cluster.values()) or 1
    if is_slurm_task(environment):
        tasks = _slurm_number(environment, "SLURM_STEP_NUM_TASKS", 1, _MOST_TASKS)
        slurm_rank(environment)
        return tasks
    return 1


def is_slurm_task(environment: Mapping[str, str]) -> bool:
    """Whether `srun` started this process (an interactive allocation alone is no task)."""
    return all(environment.get(name) for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))


def slurm_rank(environment: Mapping[str, str]) -> int:
    """The number of this task in its Slurm step, from 0.

    Raises:
        InputError: It is no number below that of the tasks.
    """
    tasks = _slurm_number(environment, "SLURM_STEP_NUM_TASKS", 1, _MOST_TASKS)
    return _slurm_number(environment, "SLURM_PROCID", 0, tasks - 1)


def _slurm_number(environment: Mapping[str, str], name: str, low: int, high: int) -> int:
    text = environment.get(name, "")
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
    require(low <= number <= high, name, f"must be a whole number from {low} to {high}", text)
    return number


def read_cluster(text: str) -> dict[str, list[str]]:
    """The addresses in `TF_CONFIG` by type of task; {} where it names no cluster.

    Raises:
        InputError: No JSON object, a type other than chief and worker, addresses other than
            different host:port, or a task that the cluster does not have.
    """
    parsed = parse_json(text, "TF_CONFIG")
    cluster, task = parsed.get("cluster", {}), parsed.get("task", {})
    lists = isinstance(cluster, dict) and all(isinstance(hosts, list) for hosts in cluster.values())
    require(lists, "TF_CONFIG", "must have a cluster with a list of host:port for each type of "
            "task", cluster)  # fmt: skip
    if not cluster:
        return {}
    strange = sorted(set(cluster) - set(TASK_TYPES))
    require(not strange, "TF_CONFIG", f"must name tasks of type {' and '.join(TASK_TYPES)} only",
            ", ".join(strange))  # fmt: skip
    hosts = [host for listed in cluster.values() for host in listed]
    for host in hosts:
        require(isinstance(host, str) and is_address(host), "TF_CONFIG",
                "must give every task as host:port, the port from 1 to 65535", host)  # fmt: skip
    require(len(set(hosts)) == len(hosts), "TF_CONFIG", "must give every task another address",
            ", ".join(hosts))  # fmt: skip
    kind, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    known = kind in cluster and type(index) is int and 0 <= index < len(cluster[kind])
    require(known, "TF_CONFIG", "must have a task with a type and index that its cluster lists",
            task)  # fmt: skip
    return cluster


def is_address(text: str) -> bool:
    """Whether the text is host:port, with a port that exists."""
    found = re.fullmatch(r"[^/\s]+:(\d{1,5})", text)
    return found is not None and 1 <= int(found[1]) <= 65_535


def is_service(text: str) -> bool:
    """Whether the text is grpc://host:port, the address of a tf.data service."""
    return text.startswith("grpc://") and is_address(text.removeprefix("grpc://"))


def slurm_addresses(environment: Mapping[str, str]) -> list[str]:
    """host:port of every task of a Slurm step, in the order of their ranks.

    Ranks fill one host after the other (`--distribution=block`, Slurm's default).

    Raises:
        InputError: A variable has a form that is not known.
    """
    hosts = expand_hosts(environment.get("SLURM_STEP_NODELIST", ""))
    counts = _expand_counts(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    require(len(hosts) == len(counts), "SLURM_STEP_TASKS_PER_NODE",
            f"must count the tasks of {len(hosts)} hosts", counts)  # fmt: skip
    return [
        f"{host}:{SLURM_PORT + task}"
        for host, count in zip(hosts, counts, strict=True)
        for task in range(count)
    ]


def expand_hosts(text: str) -> list[str]:
    """The hosts of a Slurm list: `a[1-2,07],b` -> a1, a2, a07, b.

    Raises:
        InputError: The text is no such list.
    """
    hosts: list[str] = []
    items = re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text)
    require(",".join(items) == text, "SLURM_STEP_NODELIST", "must be a list of hosts like a[1-3],b",
            text)  # fmt: skip
    for item in items:
        found = re.fullmatch(r"([^\[\]]+)(?:\[([\d,-]+)\]([^\[\]]*))?", item)
        if found is None:
            raise InputError("SLURM_STEP_NODELIST", "must be a list of hosts like a[1-3],b", text)
        prefix, ranges, suffix = found.groups()
        numbers = [""] if ranges is None else _expand_ranges(ranges, text)
        hosts += [f"{prefix}{number}{suffix or ''}" for number in numbers]
        require(len(hosts) <= _MOST_TASKS, "SLURM_STEP_NODELIST",
                f"must name at most {_MOST_TASKS} hosts", text)  # fmt: skip
    require(bool(hosts), "SLURM_STEP_NODELIST", "must name the hosts of the step", text)
    return hosts


def _expand_ranges(ranges: str, text: str) -> list[str]:
    """`1-3,07` -> 1, 2, 3, 07: as many digits as the first number has."""
    numbers = []
    for item in ranges.split(","):
        first, _, last = item.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise InputError("SLURM_STEP_NODELIST", "must be a list of hosts like a[1-3],b", text)
        if len(first) > 9 or len(last) > 9 or int(last or first) - int(first) >= _MOST_TASKS:
            raise InputError("SLURM_STEP_NODELIST", f"must name at most {_MOST_TASKS} hosts", text)
        for number in range(int(first), int(last or first) + 1):
            numbers.append(str(number).zfill(len(first)))
    return numbers


def _expand_counts(text: str) -> list[int]:
    """`2(x3),1` -> 2, 2, 2, 1."""
    counts: list[int] = []
    for item in text.split(","):
        found = re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?", item)
        if found is None:
            raise InputError("SLURM_STEP_TASKS_PER_NODE", "must be a list of counts like 2(x3),1",
                             text)  # fmt: skip
        count, hosts = int(found[1]), int(found[2] or 1)
        require(sum(counts) + count * hosts <= _MOST_TASKS and hosts <= _MOST_TASKS,
                "SLURM_STEP_TASKS_PER_NODE", f"must count at most {_MOST_TASKS} tasks",
                text)  # fmt: skip
        counts += [count] * hosts
    return counts


def answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS):
            return True
    except OSError:
        return False
