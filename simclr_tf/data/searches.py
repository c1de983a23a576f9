"""What searches for undecodable images have found, kept beside a run.

A search reads and decodes every image. A run that is started again need not do it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import PIL
import tensorflow as tf

from simclr_tf.console import Say
from simclr_tf.data.fingerprint import fingerprint
from simclr_tf.data.sources import Source
from simclr_tf.files import write_json
from simclr_tf.json_files import find_or_set_aside

_SEARCHES = "searches"


class Searches:
    """A file of results; each holds for as long as its images, and their decoder, are the same.

    Args:
        path: The file, of JSON; made by the first search.
        writes: Whether this process adds to it.
        say: Receives a note if it is damaged.
    """

    def __init__(self, path: str, writes: bool, say: Say):
        self._path, self._writes, self._say = path, writes, say

    def search(
        self, source: Source, name: str, first: int, end: int, look: Callable[[], dict[int, str]]
    ) -> dict[int, str]:
        """Places and ids of the undecodable images of a range, as kept or else found by `look`.

        What is found is kept, and what was found in the range before is forgotten.
        """
        # Before anything is looked at: a file that changes meanwhile is to be looked at again.
        wanted = _key(source, name, first, end)
        for kept in self._read():
            if all(kept.get(key) == wanted[key] for key in wanted):
                places = _places(kept.get("left_out"), first, end)
                if places is not None:
                    return places
        found = look()
        if self._writes:
            others = [kept for kept in self._read() if kept.get("images") != wanted["images"]]
            left_out = [[at, example_id] for at, example_id in found.items()]
            tf.io.gfile.makedirs(os.path.dirname(self._path))
            write_json(self._path, {_SEARCHES: [*others, {**wanted, "left_out": left_out}]})
        return found

    def _read(self) -> list[dict[str, Any]]:
        found = find_or_set_aside(self._path, self._say, {_SEARCHES: list})
        return [kept for kept in found.get(_SEARCHES, []) if isinstance(kept, dict)]


def _key(source: Source, name: str, first: int, end: int) -> dict[str, str]:
    split = f"{name}[{first}:{end}]"
    return {
        "images": f"{source.name} {split}",
        "fingerprint": fingerprint(source, split),
        "decoder": f"Pillow {PIL.__version__}",
    }


def _places(left_out: Any, first: int, end: int) -> dict[int, str] | None:
    """As kept; None for what can't be a result of a search of the range."""
    if not isinstance(left_out, list):
        return None
    places = {}
    for entry in left_out:
        match entry:
            case [int(at), str(example_id)] if first <= at < end:
                places[at] = example_id
            case _:
                return None
    return places
