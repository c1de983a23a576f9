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
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.weights import locate


def evaluate(
    run: RunConfig,
    image_size: int | None = None,
    say: Say = print_line,
    ft_proj_selector: int | None = None,
    allow_foreign_graph: bool = False,
) -> dict[str, Section]:
    """Evaluates one encoder by the protocols of `run.scoreboard`.

    Args:
        run: `checkpoint`, or else the run in `model_dir`, is evaluated; results go to `model_dir`.
            Data, augmentation, optimizer and lengths are what the protocols that train take.
        image_size: Side of the images; None takes the encoder's.
        say: Receives lines for the user.
        ft_proj_selector: Layers of the encoder's own projection head that fine-tuning keeps; None
            takes the run's setting.
        allow_foreign_graph: See `encoders.open_encoder`.

    Returns:
        What each protocol found.

    Raises:
        InputError: Bad settings, encoder or data.
    """
    check_writable(run.model_dir)
    require(run.data.label_subset is None, "label_subset",
            "is a setting of training; evaluation has --label_fractions",
            run.data.label_subset)  # fmt: skip
    checkpoint = run.checkpoint or run.model_dir
    if ft_proj_selector is None:
        ft_proj_selector = run.model.projection.ft_proj_selector
    strategy = distribution.build_strategy(run.strategy)
    source = _open_source(run.data, say)
    with strategy.scope():
        encoder = open_encoder(checkpoint, image_size, allow_foreign_graph)
    _check_folder(run.model_dir, encoder)
    say(f"{encoder.name}: images of {encoder.image_size} px on {distribution.describe(strategy)}")
    context = Context(
        encoder=encoder,
        source=source,
        train_split=run.data.train_split,
        test_split=test_split(run.data, source, run.scoreboard.names),
        settings=run.scoreboard,
        folder=run.model_dir,
        strategy=strategy,
        store=FeatureStore(run.scoreboard.feature_cache, say),
        augment=run.augment,
        optimizer=run.optimizer,
        train=run.train,
        eval_batch_size=run.evaluation.eval_batch_size,
        data_dir=run.data.data_dir,
        ft_proj_selector=ft_proj_selector,
        say=say,
    )
    found = scoreboard.evaluate(context)
    say(f"\nresults: {os.path.join(run.model_dir, 'scoreboard.md')}")
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
