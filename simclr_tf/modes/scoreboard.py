"""`--mode=evaluate`: the paper's protocols on any encoder."""

from __future__ import annotations

import os

from simclr_tf import distribution
from simclr_tf.config import DataConfig, RunConfig
from simclr_tf.data import decode, sources
from simclr_tf.errors import require
from simclr_tf.evaluation.encoders import open_encoder
from simclr_tf.evaluation.feature_store import FeatureStore
from simclr_tf.experiment import check_writable
from simclr_tf.modes.common import Say, print_line
from simclr_tf.protocols import scoreboard
from simclr_tf.protocols.context import Context, Section


def evaluate(
    run: RunConfig, image_size: int | None = None, say: Say = print_line
) -> dict[str, Section]:
    """Evaluates one encoder by the protocols of `run.scoreboard`.

    Args:
        run: `checkpoint`, or else the run in `model_dir`, is evaluated; results go to `model_dir`.
            Data, augmentation, optimizer and lengths are what the protocols that train take.
        image_size: Side of the images; None takes the encoder's.
        say: Receives lines for the user.

    Returns:
        What each protocol found.

    Raises:
        InputError: Bad settings, encoder or data.
    """
    check_writable(run.model_dir)
    checkpoint = run.checkpoint or run.model_dir
    strategy = distribution.build_strategy(run.strategy)
    source = sources.open_source(run.data)
    with strategy.scope():
        encoder = open_encoder(checkpoint, image_size)
    say(f"{encoder.name}: images of {encoder.image_size} px on {distribution.describe(strategy)}")
    context = Context(
        encoder=encoder,
        source=source,
        train_split=run.data.train_split,
        test_split=test_split(run.data, source, run.scoreboard.names),
        settings=run.scoreboard,
        folder=run.model_dir,
        strategy=strategy,
        store=FeatureStore(run.scoreboard.feature_cache),
        augment=run.augment,
        optimizer=run.optimizer,
        train=run.train,
        eval_batch_size=run.evaluation.eval_batch_size,
        data_dir=run.data.data_dir,
        ft_proj_selector=run.model.projection.ft_proj_selector,
        excluded_ids=_bad_ids(run.data, source, say),
        say=say,
    )
    found = scoreboard.evaluate(context)
    say(f"\nresults: {os.path.join(run.model_dir, 'scoreboard.md')}, result.json and pictures")
    return found


def test_split(data: DataConfig, source: sources.Source, protocols: tuple[str, ...]) -> str:
    """The split that counts: the one asked for, `validation`, or else `test`.

    Raises:
        InputError: There is none.
    """
    if data.eval_split is not None:
        return data.eval_split
    split = next((name for name in ("validation", "test") if name in source.splits), None)
    if split is None:
        require(protocols == ("transfer",), "eval_split",
                f"must name images to test on; {source.name} has neither validation nor test",
                data.eval_split)  # fmt: skip
        return data.train_split
    return split


def _bad_ids(data: DataConfig, source: sources.Source, say: Say) -> tuple[str, ...]:
    if not data.skip_bad_images:
        return ()
    bad = [
        example_id
        for split in source.splits
        for example_id in decode.find_bad_examples(source.examples(split))
    ]
    if bad:
        say(f"note: {len(bad)} undecodable images are left out, such as {source.location(bad[0])}")
    return tuple(bad)
