"""Files of embeddings: round trips, nothing half written, clear refusals."""

import json
import os

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.retrieval import embeddings
from simclr_tf.retrieval.embeddings import EmbeddingWriter, read_embeddings

METADATA = {"endpoint": "final_avg_pool", "image_size": 32, "data_dir": None, "splits": ["train"]}

both_formats = pytest.mark.parametrize("suffix", [".parquet", ".npz", ".NPZ"])


def write(path, ids, vectors, labels=None, class_names=None, portion=3):
    with EmbeddingWriter(path, METADATA, class_names) as writer:
        for start in range(0, len(ids), portion):
            rows = slice(start, start + portion)
            writer.append(ids[rows], vectors[rows], None if labels is None else labels[rows])
    return path


@both_formats
def test_round_trip(tmp_path, ids, vectors, suffix):
    labels = np.array([1, 0, -1, 1, 0, 7, 0])
    path = write(tmp_path / "new folder" / f"x{suffix}", ids, vectors, labels, ("cat", "dog"))
    found = read_embeddings(path)
    assert found.ids == ids
    np.testing.assert_array_equal(found.vectors, vectors)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.label_names == ("cat", "dog")
    assert found.metadata == METADATA
    assert [found.label_name(row) for row in (0, 1, 2, 5)] == ["dog", "cat", None, "7"]


@both_formats
def test_unlabeled(tmp_path, ids, vectors, suffix):
    found = read_embeddings(write(tmp_path / f"x{suffix}", ids, vectors))
    assert found.labels is None and found.label_names is None and found.label_name(0) is None


@both_formats
@pytest.mark.parametrize("portion_bytes", [1, 50, 2**25])
def test_portions_do_not_matter(tmp_path, ids, vectors, suffix, portion_bytes, monkeypatch):
    monkeypatch.setattr(embeddings, "_PORTION_BYTES", portion_bytes)
    found = read_embeddings(write(tmp_path / f"x{suffix}", ids, vectors, np.arange(7), portion=2))
    np.testing.assert_array_equal(found.vectors, vectors)
    assert found.ids == ids and found.labels.tolist() == list(range(7))


@both_formats
def test_memory_holds_portions_only(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(embeddings, "_PORTION_BYTES", 4000)
    with EmbeddingWriter(tmp_path / f"x{suffix}", {}) as writer:
        for start in range(0, 100, 10):
            writer.append([str(i) for i in range(start, start + 10)], np.ones((10, 50)))
            assert sum(part.nbytes for _, _, part in writer._waiting) < 4000
    assert len(read_embeddings(tmp_path / f"x{suffix}").ids) == 100


@both_formats
def test_a_failure_leaves_nothing(tmp_path, ids, vectors, suffix):
    path = tmp_path / f"x{suffix}"
    with pytest.raises(KeyboardInterrupt), EmbeddingWriter(path, METADATA) as writer:
        writer.append(ids, vectors)
        assert not path.exists() and os.listdir(tmp_path)
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


@both_formats
def test_a_failure_keeps_the_old_file(tmp_path, ids, vectors, suffix):
    path = write(tmp_path / f"x{suffix}", ids, vectors)
    with pytest.raises(RuntimeError), EmbeddingWriter(path, METADATA) as writer:
        writer.append(["z"], vectors[:1])
        raise RuntimeError
    assert os.listdir(tmp_path) == [path.name]
    assert read_embeddings(path).ids == ids
    assert read_embeddings(write(path, ["new"], vectors[:1])).ids == ["new"]


@both_formats
def test_a_full_disk_leaves_nothing(tmp_path, ids, vectors, suffix, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    writer = EmbeddingWriter(tmp_path / f"x{suffix}", METADATA)
    writer.append(ids, vectors)
    monkeypatch.setattr(writer._rows, "finish", fail)
    with pytest.raises(OSError, match="no space"), writer:
        pass
    assert os.listdir(tmp_path) == []


@both_formats
def test_a_full_disk_names_the_file(tmp_path, suffix, small_files):
    path = tmp_path / f"x{suffix}"
    many = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    with small_files(), pytest.raises(OSError) as caught:
        write(path, [str(i) for i in range(100)], many, portion=50)
    assert caught.value.filename == str(path) and not os.listdir(tmp_path)


def test_what_killed_processes_left_is_removed(tmp_path, ids, vectors):
    (tmp_path / ".x.npz.0123abcd.tmp").write_bytes(b"PK, half")
    with EmbeddingWriter(tmp_path / "x.npz", METADATA) as other:
        other.append(ids, vectors)  # is still writing
        write(tmp_path / "x.npz", ids, vectors)
        assert len(os.listdir(tmp_path)) == 2
    assert os.listdir(tmp_path) == ["x.npz"]


@both_formats
def test_a_private_file_stays_private(tmp_path, ids, vectors, suffix):
    path = write(tmp_path / f"x{suffix}", ids, vectors)
    path.chmod(0o600)
    assert write(path, ids, vectors).stat().st_mode & 0o777 == 0o600


def test_a_bomb_is_not_unpacked(tmp_path, ids, vectors):
    zeros = np.zeros((2**18, 65), np.float32)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, ids=np.array(["a"]), embeddings=zeros, metadata="{}")
    with pytest.raises(InputError, match="bytes declare") as caught:
        read_embeddings(path)
    assert caught.value.name == str(path)


def test_without_images_there_is_no_file(tmp_path):
    writer = EmbeddingWriter(tmp_path / "x.npz", METADATA)
    with pytest.raises(InputError, match=r"x\.npz must get at least one image"), writer:
        pass
    assert os.listdir(tmp_path) == []


@both_formats
def test_names_that_are_no_utf8_are_escaped(tmp_path, vectors, suffix):
    name = os.fsdecode(b"caf\xe9.jpg")
    found = read_embeddings(write(tmp_path / f"x{suffix}", [name], vectors[:1]))
    assert found.ids == ["caf\\udce9.jpg"]


@pytest.mark.parametrize(
    ("second", "text"),
    [
        ((["x"], np.ones((1, 4)), None), r"vectors must have shape \(n, 5\)"),
        ((["x"], np.ones(5), None), r"vectors must have shape \(n, 5\)"),
        ((["x", "y"], np.ones((1, 5)), None), "ids must be 1, one per vector"),
        ((["x"], np.ones((1, 5)), [1]), "labels must be given always or never"),
        ((["x"], np.full((1, 5), np.nan), None), "vectors must be finite. Received: 'x'"),
    ],
)
def test_rows_that_do_not_fit(tmp_path, ids, vectors, second, text):
    more_ids, more_vectors, labels = second
    with pytest.raises(InputError, match=text), EmbeddingWriter(tmp_path / "x.npz", {}) as writer:
        writer.append(ids, vectors)
        writer.append(more_ids, more_vectors, labels)
    assert os.listdir(tmp_path) == []


def test_labels_of_another_length(tmp_path, ids, vectors):
    writer = EmbeddingWriter(tmp_path / "x.npz", {})
    with pytest.raises(InputError, match="labels must have shape"), writer:
        writer.append(ids, vectors, [1, 2])


def test_maps_are_averaged_over_their_positions():
    maps = np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2)
    found = embeddings.to_vectors(maps)
    assert found.tolist() == [[5.0, 6.0], [17.0, 18.0]] and found.dtype == np.float32
    np.testing.assert_array_equal(embeddings.to_vectors(maps[:, 0, 0]), maps[:, 0, 0])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "output must end in .parquet or .npz"),
        ("x", "output must end in .parquet or .npz"),
        ("gs://bucket/x.npz", "output must be a local path"),
        ("folder.npz", "output must name a file, not a folder"),
        ("file/x.npz", "output must lie in a folder that can be written"),
    ],
)
def test_refused_outputs(tmp_path, name, text):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    path = name if "://" in name else str(tmp_path / name)
    with pytest.raises(InputError, match=text):
        EmbeddingWriter(path, METADATA)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="folder that can be written"):
        embeddings.check_output(tmp_path / "locked" / "x.npz")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no such file system")
@pytest.mark.parametrize("path", ["/proc/nosuch/n.npz", "/proc/n.npz"])
def test_a_folder_that_nobody_can_write(path):
    with pytest.raises(InputError, match="output must lie in a folder that can be written"):
        embeddings.check_output(path)


def test_checking_an_output_leaves_nothing(tmp_path):
    embeddings.check_output(tmp_path / "new" / "x.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_turns_out_to_be_a_file(tmp_path, vectors):
    (tmp_path / "new").mkdir()
    with (
        pytest.raises(InputError, match="output must be a file that can be written"),
        EmbeddingWriter(tmp_path / "new" / "x.npz", METADATA) as writer,
    ):
        (tmp_path / "new").rmdir()
        (tmp_path / "new").touch()
        writer.append(list(map(str, range(len(vectors)))), vectors)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="embeddings must name an existing file"):
        read_embeddings(tmp_path / "x.npz")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(InputError, match="embeddings must end in"):
        read_embeddings(tmp_path / "x.txt")


@both_formats
@pytest.mark.parametrize("content", [b"", b"hello", "half"])
def test_damaged_files_are_named(tmp_path, ids, vectors, suffix, content):
    path = write(tmp_path / f"x{suffix}", ids, vectors)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(InputError, match="must be a complete file of embeddings") as caught:
        read_embeddings(path)
    assert caught.value.name == str(path)


def save(path, **changes):
    header = {"format_version": 1, "class_names": None}
    arrays = {"ids": ["a"], "embeddings": np.ones((1, 2), np.float32), "metadata": header}
    arrays.update(changes)
    arrays["metadata"] = json.dumps(arrays["metadata"])
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"metadata": {}}, "metadata lacks format_version"),
        ({"metadata": [1]}, "metadata must be JSON, an object"),
        ({"metadata": {"format_version": 1, "class_names": 5}}, "list of texts as class_names"),
        ({"metadata": {"format_version": 1, "class_names": [5]}}, "list of texts as class_names"),
        ({"metadata": {"format_version": 2, "class_names": None}}, "version 2, not 1"),
        ({"ids": ["a", "b"]}, "2 ids for 1 embeddings"),
        ({"embeddings": np.ones((1, 2))}, "float64"),
        ({"embeddings": np.ones((0, 2), np.float32), "ids": []}, r"shape \(0, 2\)"),
        ({"embeddings": np.ones((1, 0), np.float32)}, r"shape \(1, 0\)"),
        ({"embeddings": np.array([[1, np.nan]], np.float32)}, "NaN or infinite"),
        ({"embeddings": np.array([[1, -np.inf]], np.float32)}, "NaN or infinite"),
        ({"ids": [7]}, "ids must be texts, one is 7"),
        ({"ids": [""]}, "ids must be texts, one is ''"),
        ({"ids": ["a\0b"]}, "ids must be texts"),
        ({"labels": [1, 2]}, r"labels are int64 of shape \(2,\)"),
    ],
)
def test_archives_that_do_not_fit_together(tmp_path, change, text):
    read_embeddings(save(tmp_path / "good.npz"))
    with pytest.raises(InputError, match=text):
        read_embeddings(save(tmp_path / "x.npz", **change))
