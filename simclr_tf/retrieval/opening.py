"""A file of embeddings as a person opens it: where its images lie now, how they are compared."""

from __future__ import annotations

import os

from simclr_tf.console import Say
from simclr_tf.data import sources
from simclr_tf.errors import require
from simclr_tf.retrieval import images
from simclr_tf.retrieval import neighbors as search
from simclr_tf.retrieval.embeddings import Embeddings, read_embeddings
from simclr_tf.text import printable_name
from simclr_tf.units import format_count


def open_embeddings(path: str, image_folder: str | None, say: Say) -> Embeddings:
    """Reads a file of embeddings, and says what it holds and which of its images are gone.

    Args:
        path: The file.
        image_folder: Where the images of a `folder:` data set lie now; None means where they were.
        say: Receives lines for the user.

    Raises:
        InputError: Bad file or folder.
    """
    content = _moved(read_embeddings(path), image_folder)
    say(_describe(path, content))
    _say_absent(content, say)
    return content


def open_space(
    content: Embeddings, similarity: str, duplicate_similarity: float | None, say: Say
) -> search.Space:
    """How images are compared (`choose_space`); a limit that follows from the file is said."""
    space = search.choose_space(content.vectors, similarity, duplicate_similarity)
    if space.expected is not None:
        pairs = len(content.ids) * (len(content.ids) - 1) // 2
        say(f"near-duplicates: similarity of at least {space.limit:.4f}, above which "
            f"{space.expected:g} of {pairs:,} pairs are expected to be of different images "
            "(--duplicate_similarity)")  # fmt: skip
    return space


def _moved(content: Embeddings, image_folder: str | None) -> Embeddings:
    """The embeddings as if their images had always been in the given folder."""
    if image_folder is None:
        return content
    folder = os.path.abspath(os.path.expanduser(image_folder))
    require(os.path.isdir(folder), "dataset", "must be folder:PATH with an existing folder",
            image_folder)  # fmt: skip
    recorded = content.metadata.get("dataset")
    in_folder = recorded is None or images.image_folder(content.metadata) is not None
    require(in_folder, "dataset", "must not be given: the embeddings are not of a folder but are "
            f"of {recorded}", image_folder)  # fmt: skip
    dataset = f"{sources.FOLDER}:{folder}"
    return content._replace(metadata={**content.metadata, "dataset": dataset})


def _say_absent(content: Embeddings, say: Say) -> None:
    folder = images.image_folder(content.metadata)
    if folder is None:
        return
    absent = sum(not os.path.isfile(folder / name) for name in content.ids)
    if absent:
        are = "is" if absent == 1 else "are"
        say(f"note: {format_count(absent, 'image')} {are} not found in {folder}; "
            f"--dataset=folder:NEW names {'its' if absent == 1 else 'their'} new "
            "place")  # fmt: skip


def _describe(path: str, content: Embeddings) -> str:
    metadata = content.metadata
    count, dimension = content.vectors.shape
    origin = ", ".join(
        str(metadata[key]) for key in ("endpoint", "checkpoint", "dataset") if metadata.get(key)
    )
    return f"{path}: {count} images, {dimension} numbers each ({printable_name(origin)})"
