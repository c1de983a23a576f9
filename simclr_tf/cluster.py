"""Which tasks a job on several machines has, by what its launcher left in the environment.

Needs no TensorFlow, so that a command line can be refused before it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from simclr_tf.errors import InputError, require

TASK_TYPES = ("chief", "worker")


def num_tasks(environment: Mapping[str, str]) -> int:
    """Tasks of the job, by `TF_CONFIG` or else by Slurm's variables inside `srun`; 1 without.

    Raises:
        InputError: `TF_CONFIG` is malformed.
    """
    if text := environment.get("TF_CONFIG"):
        cluster = read_cluster(text)
        return sum(len(hosts) for hosts in cluster.values()) or 1
    if is_slurm_task(environment):
        return int(environment["SLURM_STEP_NUM_TASKS"])
    return 1


def is_slurm_task(environment: Mapping[str, str]) -> bool:
    """Whether `srun` started this process (an interactive allocation alone is no task)."""
    return "SLURM_PROCID" in environment and environment.get("SLURM_STEP_NUM_TASKS", "").isdecimal()


def read_cluster(text: str) -> dict[str, list[str]]:
    """The addresses in `TF_CONFIG` by type of task; {} where it names no cluster.

    Raises:
        InputError: No JSON object, a type other than chief and worker, or a task that the cluster
            does not have.
    """
    try:
        parsed: Any = json.loads(text)
        cluster = {name: list(hosts) for name, hosts in parsed.get("cluster", {}).items()}
        task = parsed.get("task", {})
        kind, index = task.get("type"), task.get("index")
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError("TF_CONFIG", f"must be a JSON object ({error})", text) from None
    if not cluster:
        return {}
    strange = sorted(set(cluster) - set(TASK_TYPES))
    require(not strange, "TF_CONFIG", f"must name tasks of type {' and '.join(TASK_TYPES)} only",
            ", ".join(strange))  # fmt: skip
    known = kind in cluster and isinstance(index, int) and 0 <= index < len(cluster[kind])
    require(known, "TF_CONFIG", "must have a task with a type and index that its cluster lists",
            task)  # fmt: skip
    return cluster
