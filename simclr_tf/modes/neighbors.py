"""`--mode=neighbors`: the images nearest to one, or all near-duplicates of a file."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf import console
from simclr_tf.augment import policy
from simclr_tf.console import Say
from simclr_tf.data import limits, reduced
from simclr_tf.data.reading import READING, recorded_reading
from simclr_tf.data.retry import plain_reason
from simclr_tf.errors import InputError, require
from simclr_tf.evaluation import encoders
from simclr_tf.files import check_length, check_local
from simclr_tf.job import Job
from simclr_tf.retrieval import images, picture
from simclr_tf.retrieval import neighbors as search
from simclr_tf.retrieval.embeddings import Embeddings, check_parent, to_vectors
from simclr_tf.retrieval.opening import open_embeddings, open_space
from simclr_tf.settings.commands import Neighbors
from simclr_tf.text import printable_name
from simclr_tf.units import format_count

# In the text.
_LISTED_GROUPS, _LISTED_OF_GROUP = 20, 10
# In the picture.
_PICTURED_NEIGHBORS = 50
_PICTURED_GROUPS, _PICTURED_OF_GROUP = 10, 7
_QUERY_SIDE = 640  # pixels of the query in the picture, twice a tile
_SHOWN_PATH = 300  # characters of what a file says of its encoder

_Opener = Callable[[], encoders.FrozenEncoder]


class _Query(NamedTuple):
    """What is looked for.

    Attributes:
        name: As shown.
        vector: (D,) float32.
        row: Its own row in the file, which is no neighbour; None where it is not in the file.
        image: uint8 (H, W, 3), None where it is absent.
    """

    name: str
    vector: np.ndarray
    row: int | None
    image: np.ndarray | None


def neighbors(command: Neighbors, say: Say = console.say) -> str | None:
    """Shows the images nearest to a query, or the near-duplicates among all images.

    The text goes to `say`, the picture to a file.

    Args:
        command: What is looked for, and where.
        say: Receives lines for the user.

    Returns:
        The path of the picture, None when there was nothing to draw.

    Raises:
        InputError: Bad file, query or encoder.
    """
    embeddings, query = command.embeddings, command.query
    assert embeddings is not None  # else refused
    check_local(embeddings, "embeddings")
    check_length(embeddings, "embeddings")
    kind = "duplicates" if query is None else "neighbors"
    target = _picture_path(embeddings, command.output, kind)
    content = open_embeddings(embeddings, command.image_folder, say)
    compared = functools.partial(
        open_space, content, command.similarity, command.duplicate_similarity, say
    )
    if query is None:
        drawn = _show_duplicates(content, compared(), target, say)
    else:
        opened = functools.partial(
            _open_encoder, content.metadata, command.checkpoint, command.allow_foreign_graph
        )
        found = _resolve(query, content, opened, say)
        space = compared()
        drawn = _show_nearest(content, found, command.num_neighbors, space, target, say)
    if drawn:
        say(f"picture: {target}")
    return target if drawn else None


def _picture_path(embeddings: str, output: str | None, kind: str) -> str:
    if output is None:
        target = os.path.expanduser(f"{os.path.splitext(embeddings)[0]}.{kind}.png")
    else:
        require(output.lower().endswith(".png"), "output", "must end in .png with mode=neighbors",
                output)  # fmt: skip
        target = os.path.expanduser(output)
    require(not os.path.isdir(target), "output", "must name a file, not a folder", target)
    check_parent(target, "output")
    return target


def _resolve(query: str, content: Embeddings, open_encoder: _Opener, say: Say) -> _Query:
    """An existing file counts as such, even where it is called like an id."""
    path = pathlib.Path(query).expanduser()
    if os.path.isfile(path):  # not an error of its own where the text is too long for a path
        vector = _embed_file(path, content, open_encoder)
        row = _row_of_file(path, content)
        if row is None:
            row = _row_of_moved_file(path, vector, content)
            if row is not None:
                say(f"note: {content.ids[row]} of the file is taken for the query itself and left "
                    "out")  # fmt: skip
        return _Query(query, vector, row, images.read_image(path))
    if query not in content.ids:
        raise InputError("query", "must be an image file, or an id in the file of embeddings "
                         f"(such as {content.ids[0]})", query)  # fmt: skip
    row = content.ids.index(query)
    image = images.load_images(content.metadata, [query], _QUERY_SIDE)[0]
    return _Query(query, content.vectors[row], row, image)


def _row_of_file(path: pathlib.Path, content: Embeddings) -> int | None:
    """The row of an image file that lies in the folder of the embeddings."""
    folder = images.image_folder(content.metadata)
    if folder is None:
        return None
    try:
        below = path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return None
    return content.ids.index(below) if below in content.ids else None


def _row_of_moved_file(path: pathlib.Path, vector: np.ndarray, content: Embeddings) -> int | None:
    """The row with the same embedding whose id is how the path of the image ends."""
    names = pathlib.Path(os.path.abspath(path)).parts
    tails = {"/".join(names[start:]) for start in range(len(names))}
    rows = np.array([row for row, name in enumerate(content.ids) if name in tails], np.int64)
    if len(rows) == 0:
        return None
    similarities = search.similarities_to(content.vectors, vector, rows)  # (M,)
    equal = rows[similarities >= 1 - search.ROUNDING]
    return max(map(int, equal), key=lambda row: len(content.ids[row]), default=None)


def _embed_file(path: pathlib.Path, content: Embeddings, open_encoder: _Opener) -> np.ndarray:
    """(D,) float32: the embedding of an image file, by the encoder of the file."""
    encoded = limits.read_file(path)
    require(encoded is not None, str(path), "must be a readable image", path.name)
    metadata = content.metadata
    reading = recorded_reading(metadata.get(READING))
    require(reading is not None, "embeddings", f"must say how images were read in {READING}",
            metadata.get(READING))  # fmt: skip
    missing = [key for key in ("fingerprint", "endpoint", "image_size") if key not in metadata]
    require(not missing, "embeddings", "must say which encoder wrote it to compare an image file; "
            f"its metadata lacks {', '.join(missing)}", sorted(metadata))  # fmt: skip
    encoder = open_encoder()
    assert reading is not None
    try:
        view = reduced.eval_image(
            tf.constant(encoded), policy.eval_view, encoder.image_size, reading
        )  # (S, S, 3)
    except tf.errors.OpError as error:
        raise InputError(str(path), "must be a readable image", plain_reason(error)) from error
    batches = tf.data.Dataset.from_tensors({"image": view[None]})
    endpoint = metadata["endpoint"]
    batch = next(encoder.extractor(Job(), endpoint).iterate(batches))
    vector = to_vectors(batch.endpoints[endpoint])[0]  # (D,)
    dimension = content.vectors.shape[1]
    require(len(vector) == dimension, "checkpoint", f"must give {dimension} numbers as in the file",
            len(vector))  # fmt: skip
    return vector


def _open_encoder(
    metadata: dict[str, Any], checkpoint: str | None, allow_foreign_graph: bool
) -> encoders.FrozenEncoder:
    """The encoder that the user names, if it is that of the embeddings."""
    recorded = repr(metadata.get("checkpoint"))[:_SHOWN_PATH]
    require(bool(checkpoint), "checkpoint", "must name the encoder of the embeddings to compare an "
            f"image file (they were made with {recorded}; what a file names is not opened by "
            "itself)", checkpoint)  # fmt: skip
    assert checkpoint is not None
    encoder = encoders.open_encoder(checkpoint, metadata["image_size"], allow_foreign_graph)
    fingerprint = metadata["fingerprint"]  # "" for a function that nobody can identify
    require(encoder.fingerprint == fingerprint, "checkpoint",
            f"must be the encoder of the embeddings, {recorded} with the fingerprint "
            f"{str(fingerprint)[:64]!r}; {checkpoint} has another",
            encoder.fingerprint)  # fmt: skip
    return encoder


def _show_nearest(
    content: Embeddings,
    query: _Query,
    num_neighbors: int,
    space: search.Space,
    target: str,
    say: Say,
) -> bool:
    """Lists and draws; returns whether there was anything to draw."""
    similarities = search.similarities_to(
        content.vectors, query.vector, origin=space.origin
    )  # (N,)
    order = np.argsort(-similarities, kind="stable")
    order = order[order != query.row] if query.row is not None else order
    if len(order) == 0:
        say("there is no other image in the file")
        return False
    limit = space.limit - search.ROUNDING
    num_duplicates = int((similarities[order] >= limit).sum())
    listed = order[:num_neighbors]
    say(f"nearest to {printable_name(query.name)}:")
    for rank, index in enumerate(listed, start=1):
        mark = "  near-duplicate" if rank <= num_duplicates else ""
        say(f"{rank:4}  {similarities[index]:.3f}  {_named(content, index)}{mark}")
    if num_duplicates > len(listed):
        more = format_count(num_duplicates - len(listed), "more near-duplicate")
        say(f"      ... and {more} (--num_neighbors)")
    at_least = f"(similarity of at least {space.limit:.4g})"
    duplicates = f"{format_count(num_duplicates, 'near-duplicate')} {at_least}"
    say(duplicates)
    shown = listed[: min(num_neighbors, _PICTURED_NEIGHBORS)]
    tiles = _tiles(content, shown, similarities[shown], limit)
    title = f"{len(shown)} nearest of {format_count(len(order), 'image')}; {duplicates}"
    picture.save_neighbors(target, title, picture.Tile(query.image, query.name, "query"), tiles)
    return True


def _show_duplicates(content: Embeddings, space: search.Space, target: str, say: Say) -> bool:
    """Lists and draws; returns whether there was anything to draw."""
    groups = search.near_duplicates(content.vectors, space.limit, origin=space.origin)
    num_images = sum(len(group.indices) for group in groups)
    found = f"{format_count(len(groups), 'group')} of near-duplicates"
    share = f"{num_images:,} of {format_count(len(content.ids), 'image')}"
    say(f"{found} (chains of pairs with a similarity of at least {space.limit:.4g}), {share}")
    if not groups:
        return False
    say("similarity of each image to the nearest other of its group:")
    _list_groups(content, groups, say)
    if len(groups[0].indices) > max(10, len(content.ids) // 2):
        say("note: one group holds most images; a higher --duplicate_similarity tells more")
    rows = []
    for indices, similarities in groups[:_PICTURED_GROUPS]:
        tiles = _tiles(content, indices[:_PICTURED_OF_GROUP], similarities, limit=None)
        absent = [picture.Tile(None, "")] * (len(indices) - len(tiles))  # counted, not drawn
        rows.append([*tiles, *absent])
    if len(groups) > len(rows):
        found = f"First {len(rows)} of {found}"
    title = f"{found} (chains of pairs \N{GREATER-THAN OR EQUAL TO} {space.limit:.4g}), {share}"
    picture.save_groups(target, title, rows, columns=_PICTURED_OF_GROUP)
    return True


def _list_groups(content: Embeddings, groups: Sequence[search.DuplicateGroup], say: Say) -> None:
    for number, (indices, similarities) in enumerate(groups[:_LISTED_GROUPS], start=1):
        shown = indices[:_LISTED_OF_GROUP]
        for place, index in enumerate(shown):
            start = f"{number:4}" if place == 0 else " " * 4
            say(f"{start}  {similarities[place]:.3f}  {_named(content, index)}")
        if len(indices) > len(shown):
            say(f"      ... and {len(indices) - len(shown):,} more")
    if len(groups) > _LISTED_GROUPS:
        say(f"... and {format_count(len(groups) - _LISTED_GROUPS, 'more group')}")


def _tiles(
    content: Embeddings, indices: np.ndarray, similarities: np.ndarray, limit: float | None
) -> list[picture.Tile]:
    """The images with their similarities; those from `limit` on are marked as near-duplicates."""
    loaded = images.load_images(content.metadata, [content.ids[index] for index in indices])
    tiles = []
    for index, value, image in zip(indices, similarities, loaded, strict=False):
        label = content.label_name(index)
        note = f"{value:.3f}" if label is None else f"{value:.3f}  {label}"
        is_duplicate = limit is not None and bool(value >= limit)
        tiles.append(picture.Tile(image, content.ids[index], note, is_duplicate))
    return tiles


def _named(content: Embeddings, index: int) -> str:
    """In one line, whatever the file says."""
    label, name = content.label_name(index), content.ids[index]
    return printable_name(name if label is None else f"{name}  [{label}]")
