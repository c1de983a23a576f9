"""Result files in the reference implementation's format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from simclr_tf import run_folder
from simclr_tf.console import Say
from simclr_tf.errors import InputError
from simclr_tf.evaluation.verdict import PREFIX, of_metrics
from simclr_tf.files import write_json
from simclr_tf.json_files import find_json, find_or_set_aside

VERDICT = f"{PREFIX}verdict"
_KINDS = {"global_step": int, "evaluated": dict, "protocols": dict}


def write_results(
    model_dir: str | os.PathLike[str],
    metrics: Mapping[str, float],
    global_step: int,
    say: Say = print,
) -> dict[str, float]:
    """Writes `result.json` and `result_<step>.json` into `model_dir`, each atomically.

    `result.json` stays when it is that of a later step. The figures without labels that it has of
    the same step stay in it.

    Args:
        model_dir: The run directory, local or remote.
        metrics: Values by TensorBoard name (`eval/label_top_1_accuracy`).
        global_step: Step of the checkpoint that was evaluated; stored under `global_step`.
        say: Receives a note where a damaged `result.json` was set aside.

    Returns:
        What was written.

    Raises:
        InputError: A metric is NaN or infinite. Neither file is touched then.
    """
    result: dict[str, Any] = {name: float(value) for name, value in metrics.items()}
    for name, value in result.items():
        if value != value or value in (float("inf"), float("-inf")):
            raise InputError(name, f"must be finite at step {global_step}", value)
    result["global_step"] = int(global_step)
    folder = os.fspath(model_dir)
    # The numbered file first: whoever sees a new result.json finds its step's file too.
    write_json(os.path.join(folder, f"result_{int(global_step)}.json"), result)
    newest = find_or_set_aside(os.path.join(folder, run_folder.RESULT), say, _KINDS)
    if (newest.get("global_step") or 0) <= int(global_step):
        # The protocols' sections are of the same weights where they are of the same step.
        kept = {key: newest[key] for key in ("evaluated", "protocols") if key in newest}
        same = (kept.get("evaluated") or {}).get("global_step") == int(global_step)
        beside = {key: value for key, value in newest.items() if key.startswith(PREFIX)}
        beside = beside if newest.get("global_step") == int(global_step) else {}
        write_json(os.path.join(folder, run_folder.RESULT),
                   {**beside, **result, **(kept if same else {})})  # fmt: skip
    return result


def add_figures(
    model_dir: str | os.PathLike[str],
    figures: Mapping[str, float],
    global_step: int,
    say: Say = print,
) -> None:
    """Adds the figures without labels, and the sentence on them, to the result files of a step.

    Each file is written atomically. What evaluations of the step have written stays; a
    `result.json` of another step is replaced, if that is an earlier one.

    Args:
        model_dir: The run directory, local or remote.
        figures: From `verdict.figures`.
        global_step: Step of the checkpoint that was looked at.
        say: Receives a note where a damaged file was set aside.
    """
    judged = of_metrics(figures)
    sentence = {} if judged is None else {VERDICT: str(judged)}
    for name in (f"result_{int(global_step)}.json", run_folder.RESULT):
        path = os.path.join(os.fspath(model_dir), name)
        found = find_or_set_aside(path, say, _KINDS)
        step = found.get("global_step") or 0
        if step <= int(global_step):
            kept = found if step == int(global_step) else {}
            write_json(path, {**kept, **figures, **sentence, "global_step": int(global_step)})


def write_protocol(
    folder: str | os.PathLike[str],
    name: str,
    section: Mapping[str, Any],
    about: Mapping[str, Any],
    say: Say = print,
) -> dict[str, Any]:
    """Puts one protocol's section into `result.json`, under `protocols`, atomically.

    Everything else in the file stays: the metrics of the same encoder's training run, and sections
    of other protocols. Sections of another encoder, step, data set or endpoint are dropped, since
    one table must be of one thing.

    Args:
        folder: Folder of the evaluation.
        name: Of the protocol.
        section: Its figures.
        about: What is evaluated, on what; must hold `global_step`.
        say: Receives a note where a damaged `result.json` was set aside.

    Returns:
        All sections, by protocol.

    Raises:
        InputError: A figure is NaN or infinite; the file is not touched then.
    """
    path = os.path.join(os.fspath(folder), run_folder.RESULT)
    result = find_or_set_aside(path, say, _KINDS)
    sections = dict(result.get("protocols") or {}) if _is_of(result, about) else {}
    sections[name] = dict(section)
    result.setdefault("global_step", int(about["global_step"]))
    write_json(path, {**result, "evaluated": dict(about), "protocols": sections})
    return sections


def is_same(folder: str | os.PathLike[str], about: Mapping[str, Any]) -> bool:
    """Whether the sections in a folder, if any, are of the same encoder, data and endpoint."""
    try:
        result = find_json(os.path.join(os.fspath(folder), run_folder.RESULT))
    except InputError:
        return True  # damaged: whoever writes sets it aside
    return _is_of(result or {}, about)


def _is_of(result: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    return result.get("evaluated") in (None, dict(about))
