"""Which files of a folder are images, and what becomes of the others.

A file whose suffix is that of an image counts as one; what it is, its first bytes decide when it is
decoded. Of other files the first bytes are looked at here, so that an image without a suffix is
used too. Whatever is not used is counted, by reason and suffix.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator

from simclr_tf.data import formats, limits
from simclr_tf.data.reading import RARE_KINDS
from simclr_tf.errors import InputError, require
from simclr_tf.text import printable_name

SUFFIXES = frozenset(
    (
        ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .webp .tif .tiff .avif .avifs "
        ".jp2 .j2k .jpc .jpf .jpx .j2c .ico .pbm .pgm .ppm .pnm .pcx .psd .sgi .rgb .rgba .bw "
        ".qoi .dds "
    ).split()
)
_RARE = {".gif": "GIF", ".bmp": "BMP", ".dib": "BMP", ".webp": "WEBP"}
HEIC_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
# Their content is never looked at: there can be as many of them as there are images, and a raw
# file of a camera starts like a TIFF, with a small picture for its first page.
NO_IMAGES = frozenset(
    (
        ".txt .csv .tsv .json .jsonl .xml .yml .yaml .md .html .htm .py .ipynb .sh .log .pdf "
        ".doc .docx .npy .npz .mat .h5 .hdf5 .pkl .pt .pth .parquet .arrow .tfrecord .db .ini "
        ".lst .zip .tar .gz .tgz .bz2 .xz .7z .rar .mp4 .mov .avi .mkv .webm .mp3 .wav .flac "
        ".svg .eps .ps .ai .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .pef .srw .raw "
    ).split()
)
_HIDDEN, _OTHER, _HEIC = "hidden", "no images", "need pillow-heif: pip install 'simclr_tf[heic]'"
_NO_FILE = "no files, or too long"
_SKIP = "--skip_bad_images leaves such files out"
_MOST_NAMED = 8

Parts = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a folder holds.

    Attributes:
        images: Paths below the folder as tuples of names, in no order.
        left_out: Numbers of other files by (reason, suffix).
        folders: Folders below it that hold files or folders, hidden ones not.
    """

    images: list[Parts]
    left_out: dict[tuple[str, str], int]
    folders: list[Parts]

    def summary(self, folder: str) -> str | None:
        """One line that says what is left out, None where nothing is."""
        if not self.left_out:
            return None
        by_reason: dict[str, list[str]] = collections.defaultdict(list)
        for (reason, suffix), count in sorted(self.left_out.items(), key=lambda one: -one[1]):
            by_reason[reason].append(f"{count:,} {printable_name(suffix)}".strip())
        listed = "; ".join(
            f"{_shortened(those)} ({reason})" for reason, those in sorted(by_reason.items())
        )
        total = sum(self.left_out.values())
        files = "1 file" if total == 1 else f"{total:,} files"
        return f"{files} of {printable_name(folder)} left out: {listed}"


def scan(root: pathlib.Path, skip_bad: bool = False) -> Scan:
    """Looks through a folder; follows links, but enters no folder twice.

    Args:
        root: The folder.
        skip_bad: Whether what is named like an image but can't be one (see `limits.file_problem`)
            is left out, not refused.

    Raises:
        InputError: A folder can't be read, or what is named like an image can't be one.
    """
    images: list[Parts] = []
    left_out: collections.Counter[tuple[str, str]] = collections.Counter()
    folders: list[Parts] = []
    for below, names, hidden in _walk(root):
        if names and below and not hidden:
            folders.append(below)
        for name in names:
            reason: str | None = _HIDDEN
            if not (hidden or name.startswith(".")):
                reason = _reason(root, below, name, skip_bad)
            if reason is None:
                images.append((*below, name))
            else:
                left_out[reason, os.path.splitext(name)[1].lower()] += 1
    return Scan(images, dict(left_out), folders)


def rare_kinds(images: Iterable[Parts]) -> frozenset[str]:
    """Which of `reading.RARE_KINDS` the names of images tell; all, where one has no such suffix."""
    suffixes = {os.path.splitext(parts[-1])[1].lower() for parts in images}
    if suffixes - SUFFIXES - HEIC_SUFFIXES:
        return RARE_KINDS
    return frozenset(_RARE[suffix] for suffix in suffixes & _RARE.keys())


def _walk(root: pathlib.Path) -> Iterator[tuple[Parts, list[str], bool]]:
    """Each folder below the root, the files in it, and whether a part of its path is hidden."""
    entered = set()

    def refuse(error: OSError) -> None:
        """Else `os.walk` would leave out what it can't read, and a class with it."""
        below = os.path.relpath(os.fsdecode(error.filename), root)
        if not _is_hidden(pathlib.PurePath(below).parts):
            raise InputError(
                os.fsdecode(error.filename), "must be a folder that can be read", error.strerror
            ) from error

    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders.sort()
        below = pathlib.Path(folder).relative_to(root).parts
        yield below, names, _is_hidden(below)


def _is_hidden(below: Parts) -> bool:
    return any(part.startswith(".") and part != "." for part in below)


def _reason(root: pathlib.Path, below: Parts, name: str, skip_bad: bool) -> str | None:
    """Why a file is no image, None for one that is."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in NO_IMAGES:
        return _OTHER
    path = os.path.join(root, *below, name)
    problem = limits.file_problem(path)
    if suffix in SUFFIXES:
        require(problem is None or skip_bad, path, f"{problem} ({_SKIP})", name)
        return None if problem is None else _NO_FILE
    if suffix not in HEIC_SUFFIXES:
        kind = None if problem else _kind(path)
        if kind != formats.HEIC:
            return None if kind else _OTHER
    return None if formats.reads_heic() else _HEIC


def _kind(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return formats.kind_of(file.read(formats.HEAD_BYTES))
    except OSError:
        return None


def _shortened(those: list[str]) -> str:
    more = len(those) - _MOST_NAMED
    named = ", ".join(those[:_MOST_NAMED])
    return named if more <= 0 else f"{named} and {more} other suffixes"
