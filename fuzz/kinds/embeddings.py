"""Files of embeddings with hostile columns, ids and headers."""

from __future__ import annotations

import io
import json
import pathlib
import random
import zipfile
from typing import Any

import numpy as np

from fuzz import hostile
from fuzz.case import Case
from fuzz.kinds.scenes import SCENES, change

_IDS: tuple[Any, ...] = (
    "", ".", "..", "/", "/dev/zero", "/etc/hostname", "../outside/docs/thesis.txt", "fifo",
    "zero", "sparse.jpg", "train", "train/cat", "a\0b", "a\nb", hostile.ESCAPES, hostile.LONG,
    "\u202egnp.exe", "<script>alert(1)</script>", "http://127.0.0.1:9/x.jpg", "train/cat/0.jpg",
    "%s", "~", None, 7, 1.5, b"\xff\xfe", True, [], "💥" * 100,
)  # fmt: skip

_QUERIES = ("photos/test/cat/0.jpg", "train/dog/1.jpg", "0", "fifo", "zero", "/dev/zero",
            "../outside/docs/thesis.txt", "sparse.jpg")  # fmt: skip
_NAMED = ("http://127.0.0.1:9/x", "fifo", "/dev/zero", "x.keras", "../outside/docs",
          hostile.ESCAPES, "", None, 5, [], {}, "folder:/", "folder:fifo", ["a", None],
          "x" * 10**6)  # fmt: skip


def draw(random_: random.Random, fixtures: pathlib.Path) -> Case:
    """A file whose metadata, ids or numbers are not what embedding writes."""
    del fixtures
    chosen = random_.choice(("neighbors", "neighbors by id", "explore"))
    scene = SCENES[chosen]
    name = scene.words[1].partition("=")[2]
    how = random_.random()
    if how < 0.3:
        apply = hostile.change_bytes(name)
    else:
        apply = _rewrite_parquet if name.endswith("parquet") else _rewrite_npz
    extra: tuple[str, ...] = ()
    if random_.random() < 0.4 and chosen != "explore":
        extra = (f"--query={random_.choice(_QUERIES)}",)
    if random_.random() < 0.4:
        extra += (f"--dataset=folder:{random_.choice(('photos', '.', 'absent', '/'))}",)
    return Case("embeddings", scene.program, scene.words, extra=extra, inputs=scene.inputs,
                writes=scene.writes, changes=(change(random_, _add_odd), change(random_, apply)),
                refuses_first=True)  # fmt: skip


def _add_odd(work: pathlib.Path, random_: random.Random) -> str:
    """Files that ids may name, beside the photographs and among them."""
    for place in ("", "photos/"):
        hostile.plant(f"{place}fifo", ("fifo",))(work, random_)
        hostile.plant(f"{place}zero", ("link to /dev/zero",))(work, random_)
        hostile.plant(f"{place}sparse.jpg", ("sparse file",))(work, random_)
    return "fifo, zero and sparse.jpg here and in photos"


def _header(random_: random.Random, text: str) -> tuple[str, str]:
    """Metadata with one part changed, often the one that names an encoder or images."""
    if random_.random() < 0.4:
        value = json.loads(text)
        key = random_.choice(list(value))
        value[key] = random_.choice(_NAMED)
        return json.dumps(value), f"metadata {key} = {str(value[key])[:40]!r}"
    return hostile.hostile_json(text, random_)


def _vectors(random_: random.Random, vectors: np.ndarray) -> tuple[np.ndarray, str]:
    how = random_.choice(
        ("nan", "inf", "zero", "none", "one", "float64", "text", "huge", "3d", "int")
    )
    changed = vectors.copy()
    if how in ("nan", "inf", "huge"):
        changed[random_.randrange(len(changed))] = {"nan": np.nan, "inf": np.inf, "huge": 3e38}[how]
    return {
        "zero": np.zeros_like(vectors), "none": vectors[:, :0], "one": vectors[:1],
        "float64": vectors.astype(np.float64), "text": vectors.astype("U8"),
        "3d": vectors[:, :, None], "int": vectors.astype(np.int32),
    }.get(how, changed), f"vectors: {how}"  # fmt: skip


def _ids(random_: random.Random, ids: list[Any]) -> tuple[list[Any], str]:
    value = random_.choice(_IDS)
    if random_.random() < 0.2:
        return [value] * len(ids), f"all ids are {str(value)[:40]!r}"
    ids = list(ids)
    for place in random_.sample(range(len(ids)), random_.choice((1, 1, 3))):
        ids[place] = value
    return ids, f"an id is {str(value)[:40]!r}"


def _rewrite_parquet(work: pathlib.Path, random_: random.Random) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = work / "new.parquet"
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata or {})
    what = random_.choice(("header", "header", "ids", "ids", "vectors", "columns", "labels"))
    columns = {name: table.column(name) for name in table.column_names}
    first, *_, last = table.column_names
    done = what
    if what == "header" and metadata:
        key = random_.choice(list(metadata))
        text = metadata[key].decode("utf-8", "replace")
        try:
            changed, done = _header(random_, text)
        except ValueError:
            changed, done = "[" * 100_000, f"{key!r} is deep"
        metadata[key] = changed.encode("utf-8", "surrogatepass")
    elif what == "ids":
        ids, done = _ids(random_, columns[first].to_pylist())
        kinds = {type(value) for value in ids}
        columns[first] = pa.array(ids if len(kinds) == 1 else [
            value if isinstance(value, str) else None for value in ids
        ])  # fmt: skip
    elif what == "vectors":
        rows = np.array(columns[last].to_pylist(), np.float32)
        vectors, done = _vectors(random_, rows)
        columns[last] = pa.array(vectors[: len(rows)].tolist())
        columns = {name: column[: len(columns[last])] for name, column in columns.items()}
    elif what == "columns":
        name = random_.choice(list(columns))
        column = columns.pop(name)
        if random_.random() < 0.5:
            columns[name + "s"] = column
        done = f"no column {name}"
    elif what == "labels":
        value = random_.choice((-5, 10**12, None))
        for name in columns:
            if "label" in name and "name" not in name:
                columns[name] = pa.array([value] * table.num_rows, pa.int64())
        done = f"labels are {value}"
    schema_table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(schema_table, path)
    return f"new.parquet: {done}"


def _rewrite_npz(work: pathlib.Path, random_: random.Random) -> str:
    path = work / "new.npz"
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    name = random_.choice(list(arrays))
    array, done = arrays[name], f"{name} "
    how = random_.choice(("values", "values", "shape", "pickle", "gone", "header", "bomb"))
    raw: dict[str, bytes] = {}
    if how == "values" and array.dtype.kind in "US":
        if array.ndim == 0:
            try:
                text, what = _header(random_, str(array))
                arrays[name], done = np.array(text), done + what
            except ValueError:
                arrays[name] = np.array("{")
        else:
            ids, what = _ids(random_, array.tolist())
            arrays[name], done = np.array([str(value) for value in ids]), done + what
    elif how == "values" and array.ndim == 2:
        arrays[name], what = _vectors(random_, array)
        done += what
    elif how == "pickle":
        arrays[name] = np.array([{"a": 1}] * max(1, array.size), dtype=object)
        done += "is pickled"
    elif how == "gone":
        del arrays[name]
        done += "is gone"
    elif how == "header":
        shape = random_.choice(((10**12, 32), (2**62,), (-1, 5), (24, 10**9), (0, 0)))
        raw[name] = _npy_header(shape)
        done += f"claims the shape {shape}"
    elif how == "bomb":
        raw[name] = _npy_header((2**27,)) + bytes(2**29)
        done += "is a bomb"
    else:
        arrays[name] = random_.choice(
            (array.reshape(-1)[:0], np.array(5), array[None], array[..., None])
        )
        done += f"has the shape {arrays[name].shape}"
    _write_npz(path, arrays, raw)
    return f"new.npz: {done}"


def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)  # type: ignore[arg-type]
    return buffer.getvalue()


def _write_npz(path: pathlib.Path, arrays: dict[str, np.ndarray], raw: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=True)
            file.writestr(f"{name}.npy", raw.get(name, buffer.getvalue()))
