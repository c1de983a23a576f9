"""Kinds of cases: each draws a case from a generator of random numbers."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable

from fuzz.case import Case
from fuzz.kinds import archives, embeddings, flag_values, images, links, records, tfds_sets, weights

# Draws a case; the folder of fixtures tells which files there are to change.
Draw = Callable[[random.Random, pathlib.Path], Case]

KINDS: dict[str, Draw] = {
    "flags": flag_values.draw,
    "refused": flag_values.draw_refused,
    "streams": flag_values.draw_streams,
    "records": records.draw,
    "archives": archives.draw,
    "links": links.draw,
    "embeddings": embeddings.draw,
    "images": images.draw,
    "weights": weights.draw,
    "tfds": tfds_sets.draw,
}
# How often each is drawn in a session of all kinds.
WEIGHTS = {"flags": 30, "refused": 30, "streams": 4, "records": 20, "archives": 10, "links": 12,
           "embeddings": 15, "images": 10, "weights": 12, "tfds": 6}  # fmt: skip
NEEDS = {
    "flags": ("photos", "files", "run", "enc", "new.parquet"),
    "refused": ("photos",),
    "streams": ("photos", "run", "new.parquet"),
    "records": ("photos", "files", "run", "enc", "ev", "cache", "study", "ws", "new.parquet"),
    "archives": ("photos", "run", "enc"),
    "links": ("photos", "files", "run", "enc", "ev", "cache", "study", "new.parquet", "new.npz"),
    "embeddings": ("photos", "new.parquet", "new.npz"),
    "images": ("photos", "run", "new.parquet"),
    "tfds": ("tfds", "run"),
    "weights": ("photos", "files", "foreign", "run", "enc", "ws", "new.parquet", "new.npz"),
}
