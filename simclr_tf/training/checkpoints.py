"""Checkpoints of a run: writing, automatic resume, and following those of another process."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow as tf
import tf_keras as keras

from simclr_tf import console
from simclr_tf.console import Say
from simclr_tf.errors import InputError, RunError, first_line, one_line
from simclr_tf.evaluation.verdict import PREFIX
from simclr_tf.files import is_remote, set_aside, write_text_atomically
from simclr_tf.json_files import field, find_json
from simclr_tf.removal import Kind, make_scratch, remove_tree
from simclr_tf.training.metric_order import low_is_good
from simclr_tf.weights import integrity, reference_run
from simclr_tf.weights.difference import describe_difference
from simclr_tf.weights.locate import checkpoint_step, damage, list_checkpoints

_MANIFEST_GRACE_SECS = 5.0
_OURS = re.compile(r"(^|/)ckpt-\d+$")
# What a killed write leaves: TensorFlow's temporary names and ours; and parts without their index,
# where a manifest of ours lists them: others may be under way from elsewhere, or somebody's last.
_LEFTOVER = re.compile(
    r"ckpt-\d+_temp(_[0-9a-f]+)?|ckpt-\d+\..+\.tempstate\d+|checkpoint\.tmp[0-9a-f]{32}"
    r"|\.(ckpt-\d+|checkpoint)\.[0-9a-f]{8}\.tmp"
)
_PART = re.compile(r"(ckpt-\d+)\.(data-\d{5}-of-\d{5}|manifest\.json)")
# Folders among them that carry no mark: TensorFlow's, and those of older versions.
_PARTS = (r"(ckpt-\d+_temp\w*/)?(part-\d{5}-of-\d{5}|ckpt-\d+)"
          r"\.(index|data-\d{5}-of-\d{5}|manifest\.json)(\.tempstate\d+)?")  # fmt: skip
_LEFTOVER_FOLDER = Kind(_PARTS, _PARTS)


class CheckpointError(RunError):
    """A checkpoint could not be written. Those before it are as they were."""


class CheckpointStore:
    """`model_dir/ckpt-<step>`: model, optimizer and global step, the newest few kept.

    A checkpoint is written in a folder beside its place, forced to disk, described in a manifest
    (`simclr_tf/weights/integrity.py`), and its files are then renamed, the index last.
    The `checkpoint` file follows, and at last older ones are deleted. So a process killed, or a
    machine switched off, at any moment leaves the newest checkpoint as it was or complete, and
    everything that `keep` and `keep_best` promise. On object stores, which rename by copying, the
    same holds for killed processes. Checkpoints without a manifest, such as those of the reference
    implementation, whose runs go on here, are never deleted and do not count.

    Only one process may write into a folder (`simclr_tf/training/run_lock.py`).
    """

    def __init__(
        self,
        model_dir: str,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        keep: int = 5,
        keep_best: str | None = None,
        writes: bool = True,
        say: Say = console.say,
    ):
        """Connects the objects; nothing is read or written yet.

        Args:
            model_dir: Folder of the run.
            model: The model, built.
            optimizer: Its optimizer, built; its `iterations` are the global step.
            keep: Number of intact checkpoints to keep, the newest.
            keep_best: A metric; the checkpoint with its best value is kept too. `train/NAME` is
                what `save` was given, `eval/NAME` and `quality/NAME` what
                `model_dir/result_<step>.json` says by the time of a later `save`. Low values of
                losses, entropies and weight decay are good, high ones of everything else; the
                older of two equals stays.
            writes: False on all workers but the first of a multi-worker run. They take part in
                reading the variables, and leave nothing on disk.
            say: Receives warnings.
        """
        self._folder = model_dir
        self._state_file = os.path.join(model_dir, "checkpoint")
        self._model, self._optimizer = model, optimizer
        self._global_step = optimizer.iterations
        self._checkpoint = tf.train.Checkpoint(
            model=model, optimizer=optimizer, global_step=optimizer.iterations
        )
        self._keep = keep
        self._keep_best = keep_best
        self._unreadable: set[str] = set()
        self._writes = writes
        self._say = say
        self._settled: int | None = None  # step last saved or restored
        self._verified: set[str] = set()  # found intact once in this process

    def newest_intact(self) -> str | None:
        """Prefix of the newest checkpoint without damage; None without any.

        The files decide, whatever the `checkpoint` file says.
        """
        return self._look()[0]

    def restore(self, prefix: str) -> None:
        """Sets model, optimizer and global step to those of a checkpoint.

        It may be one of the reference implementation, whose training goes on here.

        Raises:
            InputError: The checkpoint does not fit the model, or can't be read.
        """
        if reference_run.is_reference(prefix):
            for line in reference_run.take_over(prefix, self._model, self._optimizer):
                self._say(line)
        else:
            self._restore_ours(prefix)
        self._settled = int(self._global_step.numpy())

    def _restore_ours(self, prefix: str) -> None:
        try:
            self._checkpoint.restore(prefix).assert_existing_objects_matched()
        except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
            variables = [*self._model.variables, *self._optimizer.variables]
            reason = describe_difference(prefix, variables) or one_line(error)
            raise InputError(
                "model_dir",
                f"must hold checkpoints of this model and optimizer ({reason}); --checkpoint="
                f"{self._folder} --model_dir=NEW starts a new run from weights that fit",
                prefix,
            ) from None

    def restore_latest(self, agree: Callable[[int], int] = lambda step: step) -> int:
        """Restores the newest intact checkpoint, if there is one; returns the global step.

        Damaged newer ones are passed over, each with a warning, and stay on disk until training
        reaches their step again.

        Args:
            agree: Receives the step found here, 0 for none, and returns the one that all workers
                restore: the first worker's. Called once, whatever is found.

        Raises:
            InputError: The checkpoint does not fit the model, all checkpoints are damaged, or the
                agreed one is not here.
        """
        found, damaged = self._look()
        agreed = agree(0 if found is None else _step(found))
        if found is not None and _step(found) != agreed:
            found = None if agreed == 0 else self._intact_of_step(agreed)
        elif found is None and agreed != 0:
            found = self._intact_of_step(agreed)
        elif found is None and damaged:
            listed = "; ".join(
                f"{os.path.basename(prefix)}: {what}" for prefix, what in damaged.items()
            )
            constraint = f"must hold an intact checkpoint, or be another folder ({listed})"
            raise InputError("model_dir", constraint, self._folder)
        if found is not None:
            for prefix, what in damaged.items():
                self._say(f"warning: {prefix} is damaged ({what}); using {found}")
            self.restore(found)
            if self._writes and not damaged and self._is_ours(found):
                self._make_good(found)
        return int(self._global_step.numpy())

    def _make_good(self, newest: str) -> None:
        """Finishes what a killed process had begun: no later save may come to do it."""
        with contextlib.suppress(OSError, tf.errors.OpError):
            self._remove_leftovers()
            if tf.train.latest_checkpoint(self._folder) != newest:
                self._rotate(newest)

    def save(self, values: Mapping[str, float] | None = None) -> str:
        """Writes `ckpt-<step>`, unless it is there and intact; returns its prefix.

        What killed processes left of checkpoints is removed first. Every worker of a multi-worker
        run must call this at the same steps, after `restore_latest`.

        Args:
            values: Metrics at this step, for `keep_best`; those that are not finite are left out.

        Raises:
            CheckpointError: The disk is full, or files can't be written for another reason. Then
                nothing of this step is left, unless just the `checkpoint` file failed, and the
                checkpoints before it are untouched.
        """
        step = int(self._global_step.numpy())
        prefix = os.path.join(self._folder, f"ckpt-{step}")
        try:
            if not self._writes:
                if step != self._settled:
                    self._take_part()
            elif integrity.problem(prefix) is not None:
                self._write(prefix, step, values or {})
        except (OSError, tf.errors.OpError) as error:
            intact = self.newest_intact()
            path = self._state_file if intact == prefix else prefix
            raise CheckpointError(
                f"{path} could not be written ({_reason(error)}); "
                f"the newest intact checkpoint is {intact}"
            ) from error
        self._settled = step
        return prefix

    def _look(self) -> tuple[str | None, dict[str, str]]:
        """The newest intact checkpoint, and what is wrong with those that are newer."""
        damaged: dict[str, str] = {}
        for prefix in reversed(list_checkpoints(self._folder)):
            what = integrity.problem(prefix)
            if what is None:
                self._verified.add(prefix)
                return prefix, damaged
            damaged[prefix] = what
        return None, damaged

    def _intact_of_step(self, step: int) -> str:
        for prefix in reversed(list_checkpoints(self._folder)):
            if _step(prefix) == step and integrity.problem(prefix) is None:
                return prefix
        raise InputError("model_dir", f"must hold an intact ckpt-{step}, from which the first "
                         "worker resumes", self._folder)  # fmt: skip

    def _take_part(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            self._write_variables(os.path.join(scratch, "ckpt"))

    def _write_variables(self, prefix: str) -> None:
        # As `tf.train.CheckpointManager` does: readers of older versions expect the counter.
        self._checkpoint.save_counter.assign_add(1)
        self._checkpoint.write(prefix)

    def _write(self, prefix: str, step: int, values: Mapping[str, float]) -> None:
        name = os.path.basename(prefix)
        scratch = os.path.join(self._folder, f".{name}.{uuid.uuid4().hex[:8]}.tmp")
        self._verified.discard(prefix)
        tf.io.gfile.makedirs(self._folder)
        self._remove_leftovers()
        try:
            make_scratch(scratch)
            written = os.path.join(scratch, name)
            self._write_variables(written)
            _sync(integrity.files_of(written))
            integrity.write_manifest(written, step, values)
            self._publish(written, prefix)
        finally:
            with contextlib.suppress(OSError, tf.errors.OpError):
                remove_tree(scratch)
        self._verified.add(prefix)
        self._rotate(prefix)

    def _publish(self, written: str, prefix: str) -> None:
        """Moves the files into place, instead of a damaged checkpoint of that step.

        The index comes last: it is what makes a checkpoint, which is then complete.
        """
        try:
            if not self._is_ours(prefix):
                _set_aside(prefix)
            _remove(prefix)
            # The manifest first: it tells whose the others are. The index last: it makes them one.
            for path in [integrity.manifest_path(written), *integrity.files_of(written)]:
                tf.io.gfile.rename(path, prefix + path.removeprefix(written), overwrite=True)
            with contextlib.suppress(OSError):  # not every file system does this for folders
                _sync([self._folder])
        except BaseException:
            with contextlib.suppress(tf.errors.OpError):
                _remove(prefix)
            raise

    def _rotate(self, newest: str) -> None:
        """Points the `checkpoint` file to the newest, then deletes what need not stay."""
        listed = [prefix for prefix in list_checkpoints(self._folder) if _OURS.search(prefix)]
        ours = [prefix for prefix in listed if self._is_ours(prefix)]
        kept = {newest}
        for prefix in reversed(ours):
            if len(kept) < self._keep and self._is_intact(prefix):
                kept.add(prefix)
        if (best := self._best(ours)) is not None:
            kept.add(best)
        older = [prefix for prefix in listed if _step(prefix) < _step(newest)]
        deleted = [prefix for prefix in older if prefix in ours and prefix not in kept]
        self._point_to([prefix for prefix in older if prefix not in deleted] + [newest])
        for prefix in deleted:
            self._try(_remove, prefix)

    def _is_ours(self, prefix: str) -> bool:
        """Only what has our manifest is ever deleted: not what a run of the reference left."""
        return bool(_OURS.search(prefix)) and integrity.has_manifest(prefix)

    def _is_intact(self, prefix: str) -> bool:
        """`integrity.problem` without reading again what this process has read or written."""
        if integrity.problem(prefix, contents=prefix not in self._verified) is not None:
            return False
        self._verified.add(prefix)
        return True

    def _best(self, prefixes: Sequence[str]) -> str | None:
        name = self._keep_best
        if name is None:
            return None
        low = low_is_good(name)
        found = {prefix: self._value(prefix, name) for prefix in prefixes}
        values = {prefix: value for prefix, value in found.items() if value is not None}
        order = sorted(values, key=lambda prefix: values[prefix] if low else -values[prefix])
        return next((prefix for prefix in order if self._is_intact(prefix)), None)

    def _value(self, prefix: str, name: str) -> float | None:
        if not name.startswith(("eval/", PREFIX)):
            return integrity.read_values(prefix).get(name)
        path = os.path.join(self._folder, f"result_{_step(prefix)}.json")
        try:
            return field(find_json(path) or {}, name, float, path, None)  # not in it (yet)
        except InputError as error:
            if path not in self._unreadable:
                self._say(f"warning: {error}; it does not count for --keep_best")
            self._unreadable.add(path)
            return None

    def _point_to(self, prefixes: Sequence[str]) -> None:
        """Writes the `checkpoint` file, with names relative to it; the last is the newest."""
        names = [os.path.basename(prefix) for prefix in prefixes]
        lines = [f'model_checkpoint_path: "{names[-1]}"']
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
        # `tf.train.CheckpointManager` takes charge only of those whose age it knows.
        times = [_written_at(prefix) or 0.0 for prefix in prefixes]
        lines += [f"all_model_checkpoint_timestamps: {written_at!r}" for written_at in times]
        write_text_atomically(self._state_file, "\n".join(lines) + "\n")

    def _remove_leftovers(self) -> None:
        names = {name.rstrip("/") for name in tf.io.gfile.listdir(self._folder)}
        for name in sorted(names):
            part, path = _PART.fullmatch(name), os.path.join(self._folder, name)
            if part is not None and f"{part.group(1)}.index" not in names:
                if integrity.is_listed(os.path.join(self._folder, part.group(1)), path):
                    self._try(_remove_leftover, path)
            elif _LEFTOVER.fullmatch(name):
                self._try(_remove_leftover, path)

    def _try(self, delete: Callable[[str], None], path: str) -> None:
        """What can't be deleted is in no one's way."""
        try:
            delete(path)
        except (OSError, tf.errors.OpError) as error:
            self._say(f"warning: {path} could not be deleted ({_reason(error)})")


def _step(prefix: str) -> int:
    return checkpoint_step(prefix) or 0


def _remove_leftover(path: str) -> None:
    if not tf.io.gfile.isdir(path):
        tf.io.gfile.remove(path)
    elif not remove_tree(path, _LEFTOVER_FOLDER):
        raise OSError(errno.EPERM, "it holds other files")


def _remove(prefix: str) -> None:
    """Deletes a checkpoint; without its index, which goes first, it is none."""
    paths = [*reversed(integrity.files_of(prefix)), integrity.manifest_path(prefix)]
    for path in paths:
        if tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)


def _set_aside(prefix: str) -> None:
    """Renames what another program left damaged at a step that is written now."""
    for path in integrity.files_of(prefix):
        set_aside(path)


def _sync(paths: Sequence[str]) -> None:
    """Forces local files, or the names in local folders, to disk."""
    for path in paths:
        if is_remote(path):
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: Exception) -> str:
    """`No space left on device` out of TensorFlow's text around it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = re.sub(r"\{\{.*?\}\} *| *\[Op:\w+\]", "", first_line(error))
    return re.sub(r"^.*\.tmp/[^;]*; ", "", text)


def follow_checkpoints(
    model_dir: str,
    last_step: int | None,
    timeout_secs: float,
    say: Say,
    poll_secs: float = 2.0,
) -> Iterator[str]:
    """Yields every intact checkpoint of a run in order, waiting for new ones.

    A damaged one is passed over with a warning, and yielded once training has written it anew.

    Args:
        model_dir: Folder of the run; need not exist yet.
        last_step: The run's last step, after whose checkpoint this ends; None when unknown.
        timeout_secs: Ends, with a message, when nothing new came for so long.
        say: Receives the messages.
        poll_secs: Pause between looks at the folder.
    """
    seen: set[str] = set()
    damaged: dict[str, float | None] = {}
    waiting_since = time.monotonic()
    if not list_checkpoints(model_dir):
        say(f"waiting for a checkpoint in {model_dir}")
    while True:
        new = [
            prefix
            for prefix in list_checkpoints(model_dir)
            if prefix not in seen
            and (prefix not in damaged or damaged[prefix] != _written_at(prefix))
        ]
        for prefix in new:
            written_at = _written_at(prefix)
            what = _damage_when_complete(prefix, written_at, poll_secs)
            if what is not None:
                if tf.io.gfile.exists(prefix + ".index"):  # else it is gone, or just being replaced
                    say(f"warning: {prefix} is damaged ({what}); skipped")
                    damaged[prefix] = written_at
                continue
            seen.add(prefix)
            yield prefix
            waiting_since = time.monotonic()
            if last_step is not None and _step(prefix) >= last_step:
                return
        if not new and time.monotonic() - waiting_since >= timeout_secs:
            say(f"no new checkpoint in {model_dir} for {timeout_secs:g} s (--eval_timeout_secs)")
            return
        if not new:
            time.sleep(min(poll_secs, max(timeout_secs, 0.01)))


def _written_at(prefix: str) -> float | None:
    """Time of the last change of a checkpoint's index, in seconds since 1970; None without one."""
    path = f"{prefix}.index"
    try:
        if is_remote(path):
            return tf.io.gfile.stat(path).mtime_nsec / 1e9
        return os.stat(path).st_mtime  # TensorFlow cuts off the fraction
    except (FileNotFoundError, tf.errors.NotFoundError):
        return None


def _damage_when_complete(prefix: str, written_at: float | None, poll_secs: float) -> str | None:
    """What is wrong with a checkpoint; a young one without its manifest is given a moment."""
    while (
        written_at is not None
        and 0 <= time.time() - written_at < _MANIFEST_GRACE_SECS
        and not integrity.has_manifest(prefix)
        and integrity.any_manifest(os.path.dirname(prefix))
    ):
        time.sleep(min(poll_secs, 0.1))
    return damage(prefix)
