"""`embed`, `neighbors` and `study`: what the modes of these names do, from Python."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf import console
from simclr_tf.console import Say
from simclr_tf.data import pipeline, sources
from simclr_tf.data.any_source import as_source
from simclr_tf.data.array_source import ArraySource
from simclr_tf.data.images import Images
from simclr_tf.errors import require_choice
from simclr_tf.evaluation.encoders import FrozenEncoder, open_encoder
from simclr_tf.evaluation.features import FINAL_ENDPOINT
from simclr_tf.job import Job
from simclr_tf.modes import embed as embedding
from simclr_tf.modes import neighbors as searching
from simclr_tf.retrieval.embeddings import check_output, to_vectors
from simclr_tf.settings import by_name, commands, recipes
from simclr_tf.settings.study import StudyConfig
from simclr_tf.studies import study as studies
from simclr_tf.studies.results import Results


def embed(
    encoder: Any,
    images: Any,
    *,
    endpoint: str = FINAL_ENDPOINT,
    split: str | None = None,
    output: str | os.PathLike[str] | None = None,
    batch_size: int = 256,
    value_range: tuple[float, float] | None = None,
    with_ids: bool = False,
    say: Say = console.say,
) -> Any:
    """The embeddings of images.

    Example:
        >>> vectors = simclr_tf.embed("runs/cells", images)  # doctest: +SKIP
        >>> ids, vectors = simclr_tf.embed("runs/cells", "photos", with_ids=True)  # doctest: +SKIP

    Args:
        encoder: A run or its folder, a file that `open_encoder` opens, or a `FrozenEncoder`.
        images: As in `pretrain`.
        endpoint: Output of the encoder; maps are averaged over their positions.
        split: A split expression; None takes all splits of arrays and folders, and `train` of
            another data set.
        output: Also a file, `.parquet` or `.npz`, for `neighbors` and other programs.
        batch_size: Images per forward pass.
        value_range: What becomes black and white where the type of the values does not tell.
        with_ids: Whether the ids are wanted too.
        say: Receives lines for the user.

    Returns:
        (N, D) float32: of arrays and datasets in their order, one split after the other, else in
        the order of the ids. With `with_ids` a pair: N ids, and these.

    Raises:
        InputError: Bad encoder, images, endpoint or output.
    """
    if output is not None:
        check_output(output)
    opened = as_encoder(encoder)
    source = as_source(images, value_range=value_range, channels=opened.channels, say=say)
    in_order = isinstance(source, ArraySource)
    if split is None:
        whole = in_order or source.name.startswith(sources.FOLDER)
        split = "+".join(source.splits) if whole else "train"
    job = Job(tf.distribute.get_strategy(), say)
    view = Images(source, opened.image_size, batch_size, job)
    embedding.check_endpoint(opened, endpoint)
    with view.naming_bad_image(split):
        ids = pipeline.example_ids(source, pipeline.Selection(split))
        found = opened.extractor(job, endpoint).features(view.eval_batches(split))
    vectors, labels = to_vectors(found.features), found.labels
    order = np.array(sorted(range(len(ids)), key=lambda row: _place(ids[row], in_order)))
    ids, vectors = [ids[row] for row in order], vectors[order]
    if output is not None:
        labels = None if labels is None or labels.ndim > 1 else labels[order]
        embedding.write(output, opened, source, split, endpoint, (ids, vectors, labels))
    return (ids, vectors) if with_ids else vectors


def as_encoder(encoder: Any) -> FrozenEncoder:
    """A `FrozenEncoder` as it is, or what a path names."""
    return encoder if isinstance(encoder, FrozenEncoder) else open_encoder(encoder)


def _place(example_id: str, in_order: bool) -> Any:
    """What ids are sorted by: those of arrays are a split and a position."""
    if not in_order:
        return example_id
    split, _, position = example_id.rpartition("/")
    return split, int(position)


def neighbors(
    embeddings: str | os.PathLike[str],
    query: str | os.PathLike[str] | None = None,
    *,
    say: Say = console.say,
    **settings: Any,
) -> str | None:
    """Finds the images nearest to one, or the near-duplicates of a file of embeddings.

    Example:
        >>> picture = simclr_tf.neighbors("photos.parquet", "photos/cat.jpg",
        ...                               checkpoint="runs/photos")  # doctest: +SKIP

    Args:
        embeddings: A file that `embed` wrote.
        query: An image file or an id; None groups the near-duplicates of the whole file.
        say: Receives what was found.
        **settings: Others of `simclr_tf.settings.commands.Neighbors`.

    Returns:
        The path of a picture, None where there was nothing to draw.

    Raises:
        InputError: Bad file, query or encoder.
    """
    chosen = {"embeddings": os.fspath(embeddings), **settings}
    if query is not None:
        chosen["query"] = os.fspath(query)
    return searching.neighbors(by_name.build_filled(commands.Neighbors, chosen), say)


def study(
    name: str, *, recipe: str = "quickstart", say: Say = console.say, **settings: Any
) -> Results:
    """Runs one of the paper's experiments, whose cells are runs.

    Example:
        >>> found = simclr_tf.study("temperature", study_budget="200", model_dir="runs/t")
        ... # doctest: +SKIP

    Args:
        name: One of `simclr_tf.settings.study.STUDIES`.
        recipe: Settings that the cells share.
        say: Receives lines for the user.
        **settings: Changes to the recipe, and `study_budget`, `study_seeds`, `study_grid`.

    Returns:
        The figures of all cells.

    Raises:
        InputError: Settings, data or the folder don't fit.
    """
    names = by_name.setting_names(StudyConfig)
    own = {key: value for key, value in settings.items() if key in names}
    shared = {key: value for key, value in settings.items() if key not in names}
    shared.setdefault("model_dir", os.path.join("runs", f"study-{name}"))
    require_choice("recipe", recipe, recipes.recipe_names())
    run = recipes.recipe(recipe, **shared)
    command = commands.Study(run, by_name.build_filled(StudyConfig, {"study": name, **own}))
    return studies.run_study(command, say)
