"""`embed`, `neighbors`, `explore` and `study`, as the modes of these names; images as arrays."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf import capacity, console
from simclr_tf.console import Say
from simclr_tf.data import decode, pipeline, sources
from simclr_tf.data.any_source import as_source
from simclr_tf.data.array_source import ArraySource
from simclr_tf.data.images import Images
from simclr_tf.data.sources import Source
from simclr_tf.errors import require
from simclr_tf.evaluation.encoders import as_encoder
from simclr_tf.evaluation.features import FINAL_ENDPOINT
from simclr_tf.job import Job
from simclr_tf.modes import embed as embedding
from simclr_tf.modes import explore as exploring
from simclr_tf.modes import neighbors as searching
from simclr_tf.retrieval.embeddings import check_output, to_vectors
from simclr_tf.settings import by_name, commands, recipes
from simclr_tf.settings.checks import IMAGE_SIZE
from simclr_tf.settings.study import StudyConfig
from simclr_tf.studies import study as studies
from simclr_tf.studies.results import Results

_BATCH = 256  # images that are read at a time


class LoadedImages(NamedTuple):
    """Images of a data set in memory.

    Attributes:
        images: (N, S, S, C) float32 in [0, 1], as an encoder is shown them.
        labels: int64 (N,), -1 where there is none; (N, classes) with several classes an image.
        ids: N ids: paths in a folder, else a split and a position.
        class_names: Of all classes, None where there are none.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: list[str]
    class_names: tuple[str, ...] | None


def load_images(
    images: Any,
    split: str | None = None,
    *,
    image_size: int | None = None,
    data_dir: str | None = None,
    value_range: tuple[float, float] | None = None,
    channels: int | None = None,
    say: Say = console.say,
) -> LoadedImages:
    """Images of a data set as arrays, in the order of `embed`.

    Example:
        >>> test = simclr_tf.load_images("patterns", "test[:1000]")  # doctest: +SKIP
        >>> test.images.shape, test.class_names[test.labels[0]]  # doctest: +SKIP
        ((1000, 32, 32, 3), 'stripes')

    Args:
        images: As in `pretrain`.
        split: As in `embed`.
        image_size: Side S in pixels, 8 to 8192; None where all images have one square shape.
        data_dir: Where the data set that `images` names is prepared.
        value_range: What becomes black and white where the type of the values does not tell.
        channels: Of arrays, see `from_arrays`.
        say: Receives lines for the user.

    Raises:
        InputError: Bad images, split or size, or more than this machine can hold.
    """
    source = as_source(images, value_range=value_range, channels=channels, data_dir=data_dir,
                       say=say)  # fmt: skip
    if image_size is None:
        height, width = source.image_shape or (None, 0)
        require(height == width, "image_size", "must be given: the images have several shapes, or "
                "are no squares", source.image_shape)  # fmt: skip
        image_size = height
    assert image_size is not None
    require(image_size in IMAGE_SIZE, "image_size", str(IMAGE_SIZE), image_size)
    split = split or _whole(source)
    count = source.num_examples(split, "split")
    capacity.check_copies(4 * count * image_size**2 * source.channels, "split", "its images")
    chosen = pipeline.Selection(split, setting="split")
    pixels: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    with decode.naming_bad_image(source, split, "split"):
        ids = pipeline.example_ids(source, chosen)
        batches = pipeline.eval_batches(source, chosen, min(_BATCH, count), image_size)
        for batch in batches.as_numpy_iterator():
            real = batch["weight"] > 0
            pixels.append(batch["image"][real])
            labels.append(batch["label"][real])
    order = _order(ids, source)
    return LoadedImages(
        np.concatenate(pixels)[order],
        np.concatenate(labels)[order],
        [ids[row] for row in order],
        source.class_names,
    )


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
    whole = isinstance(batch_size, int) and batch_size >= 1
    require(whole, "batch_size", "must be a whole number of at least 1", batch_size)
    if output is not None:
        check_output(output)
    opened = as_encoder(encoder)
    source = as_source(images, value_range=value_range, channels=opened.channels, say=say)
    split = split or _whole(source)
    job = Job(tf.distribute.get_strategy(), say)
    view = Images(source, opened.image_size, batch_size, job)
    embedding.check_endpoint(opened, endpoint)
    with view.naming_bad_image(split):
        ids = pipeline.example_ids(source, pipeline.Selection(split))
        found = opened.extractor(job, endpoint).features(view.eval_batches(split))
    vectors, labels = to_vectors(found.features), found.labels
    order = _order(ids, source)
    ids, vectors = [ids[row] for row in order], vectors[order]
    if output is not None:
        labels = None if labels is None or labels.ndim > 1 else labels[order]
        embedding.write(output, opened, source, split, endpoint, (ids, vectors, labels))
    return (ids, vectors) if with_ids else vectors


def _whole(source: Source) -> str:
    """All splits of arrays and folders, `train` of another data set."""
    whole = isinstance(source, ArraySource) or sources.folder_of(source) is not None
    return "+".join(source.splits) if whole else "train"


def _order(ids: list[str], source: Source) -> np.ndarray:
    """Rows in the order of arrays, else of the ids."""

    def place(row: int) -> Any:
        if not isinstance(source, ArraySource):
            return ids[row]
        split, _, position = ids[row].rpartition("/")
        return split, int(position)

    return np.array(sorted(range(len(ids)), key=place))


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


def explore(
    embeddings: str | os.PathLike[str],
    images: Any = None,
    *,
    split: str | None = None,
    say: Say = console.say,
    **settings: Any,
) -> str:
    """Shows what is among the images of a file of embeddings, on one page and in a table.

    A map with pictures, groups found without labels, near-duplicates, outliers, labels that look
    wrong, images to label next; what one marks can be downloaded.

    Example:
        >>> page = simclr_tf.explore("photos.parquet")  # doctest: +SKIP

    Args:
        embeddings: A file that `embed` wrote.
        images: Where the pictures come from, as in `pretrain`: for arrays, which no file has. None
            takes the folder or data set that the file names.
        split: Of these images, as in `embed`.
        say: Receives what was found.
        **settings: Others of `simclr_tf.settings.commands.Explore`.

    Returns:
        The path of the page.

    Raises:
        InputError: Bad file, images, labels or output.
    """
    chosen = {"embeddings": os.fspath(embeddings), **settings}
    origin = None
    if images is not None:
        source = as_source(images, say=say)
        origin = (source, split or _whole(source))
    return exploring.explore(by_name.build_filled(commands.Explore, chosen), say, origin)


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
    run = recipes.recipe(recipe, **shared)
    command = commands.Study(run, by_name.build_filled(StudyConfig, {"study": name, **own}))
    return studies.run_study(command, say)
