"""Result files in the reference implementation's format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.files import write_json


def write_results(
    model_dir: str | os.PathLike[str],
    metrics: Mapping[str, float],
    global_step: int,
) -> dict[str, float]:
    """Writes `result.json` and `result_<step>.json` into `model_dir`, each atomically.

    `result.json` stays when it is that of a later step.

    Args:
        model_dir: The run directory, local or remote.
        metrics: Values by TensorBoard name (`eval/label_top_1_accuracy`).
        global_step: Step of the checkpoint that was evaluated; stored under `global_step`.

    Returns:
        What was written.

    Raises:
        InputError: A metric is NaN or infinite. Neither file is touched then.
    """
    result: dict[str, float] = {name: float(value) for name, value in metrics.items()}
    for name, value in result.items():
        if value != value or value in (float("inf"), float("-inf")):
            raise InputError(name, f"must be finite at step {global_step}", value)
    result["global_step"] = int(global_step)
    folder = os.fspath(model_dir)
    # The numbered file first: whoever sees a new result.json finds its step's file too.
    write_json(os.path.join(folder, f"result_{int(global_step)}.json"), result)
    if _recorded_step(os.path.join(folder, "result.json")) <= int(global_step):
        write_json(os.path.join(folder, "result.json"), result)
    return result


def _recorded_step(path: str) -> int:
    """The step in an existing result file, -1 without a readable one."""
    try:
        with tf.io.gfile.GFile(path) as file:
            return int(json.load(file)["global_step"])
    except (tf.errors.OpError, ValueError, KeyError, TypeError):
        return -1
