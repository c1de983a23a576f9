"""Features for TensorBoard's embedding projector: points to turn, search and colour."""

from __future__ import annotations

import io
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Sequence

import numpy as np
from tensorboard.plugins import projector

from simclr_tf.errors import InputError, require
from simclr_tf.files import is_remote, write_bytes_atomically, write_text_atomically
from simclr_tf.report.embedding_map import choose_examples
from simclr_tf.report.pictures import in_rgb

_LARGEST_SPRITE = 8192  # Pixels a side; the projector refuses more.
_CONFIG = "projector_config.pbtxt"
_ENTRY = "embedding.pbtxt"  # The part of the configuration that describes one folder.
_NO_LABEL = "no label"


def write_projector(
    folder: str | os.PathLike[str],
    features: np.ndarray,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None = None,
    thumbnails: np.ndarray | None = None,
    name: str = "embedding",
    max_points: int = 5000,
) -> np.ndarray:
    """Writes what the "Projector" tab of TensorBoard reads.

    `tensorboard --logdir FOLDER` shows it; so does a log directory in which `folder` is a run,
    that is, holds event files too. Files: `FOLDER/projector_config.pbtxt`, and
    `FOLDER/NAME/` with tensors, `metadata.tsv` (label and index of each point) and `sprite.png`.
    The configuration comes last, so it never names a file that is not there, and lists every NAME
    that was written to the folder: h and g(h) can lie side by side.

    Args:
        folder: A local folder, since the projector reads no other; made where it is missing.
        features: (N, D) finite floats, N and D at least 2 (the projector hides smaller ones).
        labels: (N,) integers; negative ones are unlabeled. None: all unlabeled.
        class_names: A name per class; None writes numbers.
        thumbnails: (N, h, w, C), uint8, or floats in [0, 1], shown as `pictures.in_rgb` says; None
            leaves pictures out. They are made smaller where the sprite would exceed 8192 pixels a
            side.
        name: What the projector lists: letters, digits, `_`, `-` and `.`.
        max_points: Of more features, those of `choose_examples(N, max_points)` are written.

    Returns:
        (n,) int64, the indices of the features that were written.

    Raises:
        InputError: The folder is remote, shapes do not fit, a feature is not finite, a label has
            no name, or `name` has other characters. Nothing is written then.
    """
    require(not is_remote(folder), "folder", "must be local", folder)
    features = _checked_features(features)
    count = len(features)
    require(max_points >= 2, "max_points", "must be at least 2", max_points)
    require(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name) is not None, "name",
            "must consist of letters, digits, '_', '-' and '.'", name)  # fmt: skip
    named = _named_labels(labels, class_names, count)
    if thumbnails is not None:
        require(np.ndim(thumbnails) == 4 and len(thumbnails) == count, "thumbnails",
                f"must have shape ({count}, h, w, C)", np.shape(thumbnails))  # fmt: skip
    chosen = choose_examples(count, max_points)
    sprite = None if thumbnails is None else sprite_image(np.asarray(thumbnails)[chosen])
    lines = ["label\tindex", *(f"{named[index]}\t{index}" for index in chosen)]
    root = pathlib.Path(folder)
    config = projector.ProjectorConfig()
    entry = config.embeddings.add(tensor_name=name)
    _write_tensors(root, entry, features[chosen])
    entry.metadata_path = f"{name}/metadata.tsv"
    write_text_atomically(root / entry.metadata_path, "\n".join(lines) + "\n")
    if sprite is not None:
        _write_sprite(root, entry, *sprite)
    write_text_atomically(root / name / _ENTRY, _to_text(config))
    # Configurations in this format are merged by writing them one after the other.
    entries = [path.read_text("utf-8") for path in sorted(root.glob(f"*/{_ENTRY}"))]
    write_text_atomically(root / _CONFIG, "".join(entries))
    return chosen


def sprite_image(thumbnails: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """All thumbnails in one picture, row by row, as many columns as rows.

    Args:
        thumbnails: (N, h, w, C), uint8, or floats in [0, 1]; see `pictures.in_rgb`.

    Returns:
        (rows * height, columns * width, 3) uint8, black where there is no thumbnail, and height
        and width of one: (h, w), or less where the picture would exceed 8192 pixels a side.

    Raises:
        InputError: The shape is another, floats leave [0, 1], or there are over 8192^2 thumbnails.
    """
    _require_pictures(thumbnails)
    thumbnails = in_rgb(thumbnails)
    columns = math.isqrt(len(thumbnails) - 1) + 1
    require(columns <= _LARGEST_SPRITE, "thumbnails", f"must be at most {_LARGEST_SPRITE**2}",
            len(thumbnails))  # fmt: skip
    longest = max(thumbnails.shape[1:3])
    scale = min(1.0, (_LARGEST_SPRITE // columns) / longest)
    height, width = (max(1, int(side * scale + 1e-9)) for side in thumbnails.shape[1:3])
    sprite = np.zeros((columns * height, columns * width, 3), np.uint8)
    for index, thumbnail in enumerate(thumbnails):
        top, left = index // columns * height, index % columns * width
        sprite[top : top + height, left : left + width] = _small(thumbnail, height, width)
    return sprite, (height, width)


def _small(thumbnail: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8."""
    from PIL import Image

    if thumbnail.dtype != np.uint8:
        thumbnail = np.round(thumbnail.astype(np.float32) * 255).astype(np.uint8)
    if thumbnail.shape[:2] == (height, width):
        return thumbnail
    return np.asarray(Image.fromarray(thumbnail).resize((width, height), Image.Resampling.BOX))


def _require_pictures(thumbnails: np.ndarray) -> None:
    require(thumbnails.ndim == 4 and thumbnails.size > 0, "thumbnails",
            "must have shape (N, h, w, C)", thumbnails.shape)  # fmt: skip
    if thumbnails.dtype == np.uint8:
        return
    require(np.issubdtype(thumbnails.dtype, np.floating), "thumbnails", "must be uint8 or floats",
            str(thumbnails.dtype))  # fmt: skip
    lowest, highest = float(thumbnails.min()), float(thumbnails.max())
    require(lowest >= 0 and highest <= 1, "thumbnails", "must lie in [0, 1] where they are floats",
            (lowest, highest))  # fmt: skip


def _checked_features(features: np.ndarray) -> np.ndarray:
    """(N, D) float32, finite."""
    features = np.asarray(features)
    require(features.ndim == 2 and min(features.shape) >= 2, "features",
            "must have shape (N, D) with N and D at least 2", features.shape)  # fmt: skip
    features = features.astype("<f4")
    finite = np.isfinite(features).all(axis=1)  # (N,)
    if not finite.all():
        index = int(np.argmin(finite))
        raise InputError("features", "must be finite", f"NaN or infinity at example {index}")
    return features


def _named_labels(
    labels: np.ndarray | None, class_names: Sequence[str] | None, count: int
) -> list[str]:
    """The name of each example's class, in one line and one column."""
    if labels is None:
        return [_NO_LABEL] * count
    labels = np.asarray(labels)
    require(labels.shape == (count,), "labels", f"must have shape ({count},)", labels.shape)
    highest = int(labels.max())
    if class_names is None:
        class_names = [str(label) for label in range(highest + 1)]
    require(highest < len(class_names), "labels",
            f"must be below {len(class_names)}, the number of names", highest)  # fmt: skip
    escaped = [_escape(str(class_name)) for class_name in class_names]
    return [_NO_LABEL if label < 0 else escaped[label] for label in labels]


def _escape(text: str) -> str:
    return text.replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def _write_tensors(
    root: pathlib.Path, entry: projector.EmbeddingInfo, features: np.ndarray
) -> None:
    data, suffix = _encode_tensors(features)
    entry.tensor_shape.extend(features.shape)
    entry.tensor_path = f"{entry.tensor_name}/tensors.{suffix}"
    write_bytes_atomically(root / entry.tensor_path, data)


def _write_sprite(
    root: pathlib.Path,
    entry: projector.EmbeddingInfo,
    picture: np.ndarray,
    sides: tuple[int, int],
) -> None:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    height, width = sides
    entry.sprite.image_path = f"{entry.tensor_name}/sprite.png"
    entry.sprite.single_image_dim.extend([width, height])
    write_bytes_atomically(root / entry.sprite.image_path, file.getvalue())


def _encode_tensors(features: np.ndarray) -> tuple[bytes, str]:
    """Raw float32 rows, or a table of numbers, and the file's suffix.

    TensorBoard reads every file as a table first and takes it for raw numbers only when a line is
    not UTF-8. It reads line by line and fails on a first line that is valid text but no table,
    which raw zeros and whole numbers can be; such features become a table.
    """
    raw = features.tobytes()
    first_line = raw.partition(b"\n")[0]
    try:
        first_line.decode("utf-8")
    except UnicodeDecodeError:
        return raw, "bytes"
    table = io.StringIO()
    np.savetxt(table, features, fmt="%.9g", delimiter="\t")  # 9 digits give float32 back exactly.
    return table.getvalue().encode("ascii"), "tsv"


def _to_text(config: projector.ProjectorConfig) -> str:
    """TensorBoard's own spelling. Its function writes in place, so it gets another folder."""
    with tempfile.TemporaryDirectory() as folder:
        projector.visualize_embeddings(folder, config)
        return (pathlib.Path(folder) / _CONFIG).read_text("utf-8")
