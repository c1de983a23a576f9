"""Checkpoints of a run: writing, automatic resume, and the guard on a run's configuration."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf import recipes
from simclr_tf.config import RunConfig
from simclr_tf.errors import InputError, first_line, require
from simclr_tf.files import write_json
from simclr_tf.weights.locate import (
    CONFIG_FILE,
    checkpoint_step,
    list_checkpoints,
    newest_checkpoint,
)
from simclr_tf.weights.network import read_json

# Settings that may change from one start of a run to the next: they do not touch what is learned.
_FREE_SETTINGS = frozenset(
    {"model_dir", "data_dir", "cache_dataset", "skip_bad_images", "eval_split",
     "checkpoint_epochs", "checkpoint_steps", "keep_checkpoint_max", "checkpoint"}
)  # fmt: skip
_FREE_SECTIONS = ("evaluation", "scoreboard", "retrieval", "strategy")

# What a checkpoint's reader must agree on with its writer.
MODEL_SETTINGS = frozenset(
    {"resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "stem", "proj_head_mode",
     "proj_out_dim", "num_proj_layers", "ft_proj_selector", "train_mode"}
)  # fmt: skip


class CheckpointStore:
    """`model_dir/ckpt-<step>`: model, optimizer and global step, the newest few kept."""

    def __init__(
        self,
        model_dir: str,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        keep: int = 5,
    ):
        """Connects the objects; nothing is read or written yet.

        Args:
            model_dir: Folder of the run.
            model: The model, built.
            optimizer: Its optimizer, built; its `iterations` are the global step.
            keep: Number of checkpoints to keep.
        """
        self._global_step = optimizer.iterations
        self._checkpoint = tf.train.Checkpoint(
            model=model, optimizer=optimizer, global_step=optimizer.iterations
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, model_dir, max_to_keep=keep, checkpoint_name="ckpt"
        )

    def restore_latest(self) -> int:
        """Restores the newest checkpoint, if there is one; returns the global step.

        Raises:
            InputError: The checkpoint does not fit the model.
        """
        # The folder is looked at too: without its `checkpoint` file the manager knows nothing.
        prefix = self._manager.latest_checkpoint or newest_checkpoint(self._manager.directory)
        if prefix is not None:
            try:
                self._checkpoint.restore(prefix).assert_existing_objects_matched()
            except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
                raise InputError("model_dir", "must hold checkpoints of this model "
                                 f"({first_line(error)})", prefix) from None  # fmt: skip
        return int(self._global_step.numpy())

    def save(self) -> str:
        """Writes `ckpt-<step>`, unless this step was written already; returns its prefix.

        TensorFlow writes to temporary names and renames, and updates the `checkpoint` file last,
        so an interrupt leaves the previous checkpoint in force.
        """
        step = int(self._global_step.numpy())
        latest = self._manager.latest_checkpoint
        if latest is not None and checkpoint_step(latest) == step:
            return latest
        return self._manager.save(checkpoint_number=step)


def follow_checkpoints(
    model_dir: str,
    last_step: int | None,
    timeout_secs: float,
    say: Callable[[str], None],
    poll_secs: float = 2.0,
) -> Iterator[str]:
    """Yields every checkpoint of a run in order, waiting for new ones.

    Args:
        model_dir: Folder of the run; need not exist yet.
        last_step: The run's last step, after whose checkpoint this ends; None when unknown.
        timeout_secs: Ends, with a message, when nothing new came for so long.
        say: Receives the messages.
        poll_secs: Pause between looks at the folder.
    """
    seen: set[str] = set()
    waiting_since = time.monotonic()
    if not list_checkpoints(model_dir):
        say(f"waiting for a checkpoint in {model_dir}")
    while True:
        new = [prefix for prefix in list_checkpoints(model_dir) if prefix not in seen]
        for prefix in new:
            if tf.io.gfile.exists(prefix + ".index"):  # it may have been rotated away meanwhile
                yield prefix
                waiting_since = time.monotonic()
            seen.add(prefix)
            if last_step is not None and (checkpoint_step(prefix) or 0) >= last_step:
                return
        if not new and time.monotonic() - waiting_since >= timeout_secs:
            say(f"no new checkpoint in {model_dir} for {timeout_secs:g} s (--eval_timeout_secs)")
            return
        if not new:
            time.sleep(min(poll_secs, max(timeout_secs, 0.01)))


def defining_settings(run: RunConfig) -> dict[str, Any]:
    """The settings by name that decide what a run learns."""
    kept = {}
    for field in dataclasses.fields(run):
        value = getattr(run, field.name)
        if field.name in _FREE_SECTIONS:
            continue
        kept.update(
            recipes.flatten(value) if dataclasses.is_dataclass(value) else {field.name: value}
        )
    return {name: value for name, value in kept.items() if name not in _FREE_SETTINGS}


def record_config(run: RunConfig, class_names: Sequence[str] | None = None) -> None:
    """Writes the run's settings and the names of its classes to `model_dir/config.json`."""
    names = None if class_names is None else list(class_names)
    record = {**recipes.flatten(run), "class_names": names}
    write_json(os.path.join(run.model_dir, CONFIG_FILE), record)


def check_same_classes(model_dir: str, class_names: Sequence[str] | None) -> None:
    """Refuses images of other classes than a run has learned.

    Raises:
        InputError: Names both lists.
    """
    recorded = (read_config(model_dir) or {}).get("class_names")
    if recorded and class_names and newest_checkpoint(model_dir) is not None:
        same = recorded == list(class_names)
        require(same, "dataset", f"must have the classes of the run in {model_dir}: "
                f"{', '.join(recorded[:10])}", ", ".join(class_names[:10]))  # fmt: skip


def read_config(model_dir: str) -> dict[str, Any] | None:
    """The settings recorded in a run's folder, None where there are none.

    Raises:
        InputError: The file can't be read.
    """
    path = os.path.join(model_dir, CONFIG_FILE)
    return read_json(path) if tf.io.gfile.exists(path) else None


def check_same_run(run: RunConfig, only: frozenset[str] | None = None) -> None:
    """Refuses a `model_dir` whose recorded settings differ from the present ones.

    Args:
        run: The present settings.
        only: Names to compare; all defining settings when None.

    Raises:
        InputError: Lists every difference.
    """
    recorded = read_config(run.model_dir)
    if recorded is None or newest_checkpoint(run.model_dir) is None:
        return  # nothing has been learned yet: a run that failed at once may be corrected
    now = defining_settings(run)
    names = [name for name in now if name in recorded and (only is None or name in only)]
    differences = [
        f"{name}={recorded[name]} there, {now[name]} here"
        for name in names
        if recorded[name] != now[name]
    ]
    if differences:
        listed = "; ".join(differences)
        constraint = f"must hold a run with the same settings, or be another folder ({listed})"
        raise InputError("model_dir", constraint, run.model_dir)
