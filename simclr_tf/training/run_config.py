"""The guard on a run's configuration: which settings its folder was started with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf import run_folder
from simclr_tf.data.reading import READING, Reading
from simclr_tf.data.sources import Source
from simclr_tf.errors import InputError, require
from simclr_tf.files import check_reachable, write_json
from simclr_tf.json_files import field, texts
from simclr_tf.settings import by_name
from simclr_tf.settings.data import MOST_HELD_OUT
from simclr_tf.settings.run import RunConfig
from simclr_tf.weights import integrity
from simclr_tf.weights.locate import is_study, newest_checkpoint
from simclr_tf.weights.reference_run import goes_on_from_reference, is_reference

_REFERENCE_STEPS = "reference_steps"
_TRAIN_IMAGES = "train_images"

# Settings that may change from one start of a run to the next: they do not touch what is learned.
_FREE_SETTINGS = frozenset(
    {"model_dir", "data_dir", "cache_dataset", "skip_bad_images", "eval_split",
     "checkpoint_epochs", "checkpoint_steps", "keep_checkpoint_max", "checkpoint", "keep_best",
     "early_stop",
     "data_service", "read_retries", "deterministic", "skip_nonfinite_steps",
     "loss_block_size", "augment_on", "remat", "jit_compile"}
)  # fmt: skip
_FREE_SECTIONS = ("evaluation", "page", "strategy")

# What `auto` can stand for.
_RESOLVED = ("stem", "precision", "jit_compile", "data_sharding", "augment_on", "antialias",
             "holdout")  # fmt: skip

# What a checkpoint's reader must agree on with its writer.
MODEL_SETTINGS = frozenset(
    {"encoder", "channels", "resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "stem",
     "resnet_variant", "input_norm", "proj_head_mode", "proj_out_dim", "num_proj_layers",
     "ft_proj_selector", "train_mode"}
)  # fmt: skip


def defining_settings(run: RunConfig) -> dict[str, Any]:
    """The settings by name that decide what a run learns."""
    kept = {}
    for part in dataclasses.fields(run):
        value = getattr(run, part.name)
        if part.name in _FREE_SECTIONS:
            continue
        kept.update(
            by_name.flatten(value) if dataclasses.is_dataclass(value) else {part.name: value}
        )
    return {name: value for name, value in kept.items() if name not in _FREE_SETTINGS}


def record_config(
    run: RunConfig,
    class_names: Sequence[str] | None = None,
    steps: int | None = None,
    settled: RunConfig | None = None,
    train_images: int | None = None,
    reading: Reading | None = None,
) -> None:
    """Writes the run's settings and the names of its classes to `model_dir/config.json`.

    Args:
        run: The settings.
        class_names: None where unknown.
        steps: From `reference_steps`.
        settled: The same settings without `auto`: what it became is written beside them.
        train_images: Their number, where the run trains.
        reading: How the files of its data set are read.
    """
    names = None if class_names is None else list(class_names)
    record = {**by_name.flatten(run), "class_names": names}
    if steps is not None:
        record[_REFERENCE_STEPS] = steps
    if train_images is not None:
        record[_TRAIN_IMAGES] = train_images
    if reading is not None:
        record[READING] = reading.record()
    if settled is not None:
        became = by_name.flatten(settled)
        record["resolved"] = {name: became[name] for name in _RESOLVED}
    write_json(os.path.join(run.model_dir, run_folder.CONFIG), record)


def check_same_classes(model_dir: str, class_names: Sequence[str] | None) -> None:
    """Refuses images of other classes than a run has learned.

    Raises:
        InputError: Names both lists.
    """
    path = os.path.join(model_dir, run_folder.CONFIG)
    recorded = texts(run_folder.read_config(model_dir) or {}, "class_names", path, None)
    if recorded and class_names and newest_checkpoint(model_dir) is not None:
        same = recorded == list(class_names)
        require(same, "dataset", f"must have the classes of the run in {model_dir}: "
                f"{', '.join(recorded[:10])}", ", ".join(class_names[:10]))  # fmt: skip


def recorded_precision(model_dir: str) -> str | None:
    """The precision that a run was started with, None where nothing has been learned yet.

    Raises:
        InputError: The record can't be read.
    """
    if newest_checkpoint(model_dir) is None:
        return None
    path = os.path.join(model_dir, run_folder.CONFIG)
    return field(run_folder.read_config(model_dir) or {}, "precision", str, path, None)


def reference_steps(run: RunConfig, source: Source) -> int | None:
    """The last step of a run that the reference implementation began, as its program counts.

    Args:
        run: The settings.
        source: The images.

    Returns:
        What was recorded when the run went on here for the first time, which is now where its
        newest checkpoint is one of the reference; None for other runs.

    Raises:
        InputError: The record can't be read, or there is no such split.
    """
    if goes_on_from_reference(run.model_dir):
        num_examples = source.num_examples(run.data.train_split, setting="train_split")
        return num_examples * run.train.train_epochs // run.train.train_batch_size + 1
    recorded = (run_folder.read_config(run.model_dir) or {}).get(_REFERENCE_STEPS)
    return recorded if isinstance(recorded, int) and recorded > 0 else None


def _recorded_settings(model_dir: str) -> dict[str, Any] | None:
    """What a run has been trained with so far, None where that is unknown or nothing yet."""
    newest = newest_checkpoint(model_dir)
    if newest is None:  # a run that failed at once may be corrected
        return None
    if is_reference(newest):
        return _reference_flags(model_dir)
    recorded = run_folder.read_config(model_dir)
    if recorded is None:
        return None
    field(recorded, "dataset", str, os.path.join(model_dir, run_folder.CONFIG))
    # A setting that the record does not know came later; its default is what was before.
    return {**defining_settings(RunConfig(model_dir)), **recorded}


def _reference_flags(model_dir: str) -> dict[str, Any] | None:
    """The flags of a run of the reference implementation, which its evaluation writes."""
    if run_folder.read_config(model_dir) is not None:  # a start here wrote both anew
        return None
    recorded = run_folder.read_flags(model_dir)
    if recorded is None:
        return None
    # An evaluation by itself knows the network alone, and the reference writes -1 for the last
    # layer and 0 for lengths that are not set.
    trained = recorded.get("mode") == "train_then_eval"
    unset = {"ft_proj_selector": -1, "train_steps": 0}
    return {
        name: value
        for name, value in recorded.items()
        if (trained or name in MODEL_SETTINGS) and unset.get(name) != value
    }


def lacks_record(model_dir: str) -> bool:
    """Whether a folder holds checkpoints of a run of ours, but not the record of its settings.

    Checkpoints of other programs have no manifest, and no record either.
    """
    begun = newest_checkpoint(model_dir) is not None and integrity.any_manifest(model_dir)
    return begun and run_folder.read_config(model_dir) is None


def check_no_study(model_dir: str) -> None:
    """Refuses the folder of a study as that of a run.

    Raises:
        InputError: Names the folder.
    """
    check_reachable(model_dir, "model_dir")
    require(not is_study(model_dir), "model_dir", "must not be the folder of a study", model_dir)


def other_images_note(model_dir: str, count: int, last_step: int) -> str | None:
    """What the user should know where a run goes on with another number of images, else None."""
    record = run_folder.read_config(model_dir) or {}
    before = record.get(_TRAIN_IMAGES)
    if newest_checkpoint(model_dir) is None or not isinstance(before, int) or before == count:
        return None
    return (f"the run was started with {before:,} training images and goes on with {count:,}, up "
            f"to step {last_step}")  # fmt: skip


def recorded_holdout(model_dir: str) -> float | None:
    """The share of images that a run has held out so far, None where nothing was learned yet."""
    if newest_checkpoint(model_dir) is None:
        return None
    return resolved_holdout(run_folder.read_config(model_dir) or {})


def resolved_holdout(record: Mapping[str, Any]) -> float:
    """The share of images that a run holds out, by its record; old versions held out none."""
    resolved = record.get("resolved")
    share = resolved.get("holdout") if isinstance(resolved, dict) else None
    return float(share) if isinstance(share, int | float) and share in MOST_HELD_OUT else 0.0


def lacks_setting(model_dir: str, name: str) -> bool:
    """Whether something was learned in a folder before there was a setting of this name."""
    if newest_checkpoint(model_dir) is None:
        return False
    record = run_folder.read_config(model_dir)
    return record is not None and name not in record


def check_same_run(run: RunConfig, only: frozenset[str] | None = None) -> None:
    """Refuses a `model_dir` whose recorded settings differ from the present ones.

    Args:
        run: The present settings.
        only: Names to compare; all defining settings when None.

    Raises:
        InputError: Lists every difference; or all settings are to be compared, and the record of
            the run is gone.
    """
    path = os.path.join(run.model_dir, run_folder.CONFIG)
    found = run_folder.read_config(run.model_dir)
    require(found is None or "dataset" in found, path, "must be the record of a run of this "
            "program (name another folder with --model_dir)", sorted(found or ())[:5])  # fmt: skip
    require(only is not None or not lacks_record(run.model_dir), "model_dir",
            f"must hold {run_folder.CONFIG}, the record of its run, to be continued (restore the "
            f"file, or start a new run from its weights: --checkpoint={run.model_dir} "
            "--model_dir=NEW)",
            run.model_dir)  # fmt: skip
    recorded = _recorded_settings(run.model_dir)
    if recorded is None:
        return
    now = defining_settings(run)
    names = [name for name in now if name in recorded and (only is None or name in only)]
    differences = [
        f"{name}={recorded[name]} there, {now[name]} here"
        for name in names
        if recorded[name] != now[name]
    ]
    if differences:
        listed = "; ".join(differences)
        constraint = (
            f"must hold a run with the same settings, or be another folder ({listed}); "
            f"--checkpoint={run.model_dir} --model_dir=NEW starts one from its weights"
        )
        raise InputError("model_dir", constraint, run.model_dir)
