"""`--mode=evaluate`: the paper's protocols on any encoder."""

from __future__ import annotations

import os

import tensorflow as tf

from simclr_tf import distribution
from simclr_tf.data import excluding, sources
from simclr_tf.errors import require
from simclr_tf.evaluation.encoders import FrozenEncoder, open_encoder
from simclr_tf.evaluation.feature_store import FeatureStore
from simclr_tf.experiment import check_writable, choose_eval_split
from simclr_tf.modes.common import Say, print_line
from simclr_tf.protocols import scoreboard
from simclr_tf.protocols.context import Context, Section
from simclr_tf.settings.commands import Evaluate
from simclr_tf.settings.data import DataConfig
from simclr_tf.weights import locate


def evaluate(command: Evaluate, say: Say = print_line) -> dict[str, Section]:
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
    strategy = distribution.build_strategy(command.strategy)
    source = _open_source(command.data, say)
    with strategy.scope():
        encoder = open_encoder(
            command.checkpoint or command.model_dir, command.image_size, command.allow_foreign_graph
        )
    _check_folder(command.model_dir, encoder)
    say(f"{encoder.name}: images of {encoder.image_size} px on {distribution.describe(strategy)}")
    context = Context(
        encoder=encoder,
        source=source,
        train_split=command.data.train_split,
        test_split=test_split(command.data, source, command.protocols.names),
        settings=command.protocols,
        folder=command.model_dir,
        strategy=strategy,
        store=FeatureStore(command.protocols.feature_cache, say),
        augment=command.augment,
        optimizer=command.optimizer,
        train=command.train,
        distill=command.distill,
        eval_batch_size=command.eval_batch_size,
        data_dir=command.data.data_dir,
        ft_proj_selector=command.ft_proj_selector,
        say=say,
    )
    found = scoreboard.evaluate(context)
    say(f"\nresults: {os.path.join(command.model_dir, 'scoreboard.md')}")
    return found


def test_split(data: DataConfig, source: sources.Source, protocols: tuple[str, ...]) -> str:
    """The split that counts: the one asked for, `validation`, or else `test`.

    Raises:
        InputError: There is none.
    """
    split = choose_eval_split(data, source)
    if split is None:
        require(protocols == ("transfer",), "eval_split",
                f"must name images to test on; {source.name} has neither validation nor test",
                data.eval_split)  # fmt: skip
        return data.train_split
    return split


def _open_source(data: DataConfig, say: Say) -> sources.Source:
    source = sources.open_source(data)
    if not data.skip_bad_images:
        return source
    sound = excluding.without_bad_images(source)
    if isinstance(sound, excluding.ExcludingSource):
        say(f"note: {len(sound.ids)} undecodable images are left out, such as "
            f"{source.location(sound.ids[0])}")  # fmt: skip
    return sound


def _check_folder(model_dir: str, encoder: FrozenEncoder) -> None:
    """Refuses to write scores of other weights into a run's folder."""
    is_run = tf.io.gfile.exists(os.path.join(model_dir, locate.CONFIG_FILE))
    if not is_run:
        return
    own = encoder.run_dir and os.path.abspath(encoder.run_dir) == os.path.abspath(model_dir)
    require(bool(own), "model_dir", f"must not be the folder of another run than {encoder.name}",
            model_dir)  # fmt: skip
