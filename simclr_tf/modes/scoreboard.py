"""`--mode=evaluate`: the paper's protocols on any encoder."""

from __future__ import annotations

import os

import tensorflow as tf

from simclr_tf import console, run_folder
from simclr_tf.console import Say
from simclr_tf.data import holdout, sources
from simclr_tf.data.images import Images
from simclr_tf.errors import require
from simclr_tf.evaluation.encoders import FrozenEncoder, open_encoder
from simclr_tf.evaluation.feature_store import FeatureStore
from simclr_tf.experiment import check_writable, choose_eval_split
from simclr_tf.job import open_job
from simclr_tf.protocols import scoreboard
from simclr_tf.protocols.context import Context, Section
from simclr_tf.settings.commands import Evaluate
from simclr_tf.settings.data import DataConfig


def evaluate(command: Evaluate, say: Say = console.say) -> dict[str, Section]:
    """Evaluates one encoder by the protocols that are asked for.

    Args:
        command: What to evaluate and how; results go to its `model_dir`. Augmentation, optimizer
            and lengths are what the protocols that train take.
        say: Receives lines for the user.

    Returns:
        What each protocol found.

    Raises:
        InputError: Bad settings, encoder or data.
    """
    check_writable(command.model_dir)
    if command.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    job = open_job(command.strategy, say)
    whole = sources.open_source(command.data, job.say)
    source = holdout.hold_out(whole, holdout.share_of(whole, command.data))
    with job.scope():
        encoder = open_encoder(
            command.checkpoint or command.model_dir, command.image_size, command.allow_foreign_graph
        )
    _check_folder(command.model_dir, encoder)
    say(f"{encoder.name}: images of {encoder.image_size} px on {job}")
    context = Context(
        encoder=encoder,
        images=Images(source, encoder.image_size, command.eval_batch_size, job),
        train_split=command.data.train_split,
        test_split=test_split(command.data, source, command.protocols.names),
        settings=command.protocols,
        folder=command.model_dir,
        store=FeatureStore(command.protocols.feature_cache, say),
        augment=command.augment,
        optimizer=command.optimizer,
        train=command.train,
        distill=command.distill,
        data_dir=command.data.data_dir,
        ft_proj_selector=command.ft_proj_selector,
    )
    found = scoreboard.evaluate(context)
    say(f"\nresults: {os.path.join(command.model_dir, run_folder.SCOREBOARD)}")
    return found


def test_split(data: DataConfig, source: sources.Source, protocols: tuple[str, ...]) -> str:
    """The split that counts, see `choose_eval_split`.

    Raises:
        InputError: There is none.
    """
    split = choose_eval_split(data, source)
    if split is None:
        require(protocols == ("transfer",), "eval_split",
                f"must name images to test on; {source.name} has no validation or test split",
                data.eval_split)  # fmt: skip
        return data.train_split
    return split


def _check_folder(model_dir: str, encoder: FrozenEncoder) -> None:
    """Refuses to write scores of other weights into a run's folder."""
    is_run = tf.io.gfile.exists(os.path.join(model_dir, run_folder.CONFIG))
    if not is_run:
        return
    own = encoder.run_dir and os.path.abspath(encoder.run_dir) == os.path.abspath(model_dir)
    require(bool(own), "model_dir", f"must not be the folder of another run than {encoder.name}",
            model_dir)  # fmt: skip
