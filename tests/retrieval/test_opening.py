import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.retrieval.embeddings import EmbeddingWriter
from simclr_tf.retrieval.opening import open_embeddings, open_space


def write(folder, metadata, count=3):
    with EmbeddingWriter(folder / "x.npz", metadata) as writer:
        writer.append([f"{row}.png" for row in range(count)],
                      np.random.default_rng(0).normal(size=(count, 5)) + 3)  # fmt: skip
    return str(folder / "x.npz")


def test_what_is_there_and_what_is_gone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(b"x")
    said = []
    path = write(tmp_path, {"dataset": f"folder:{tmp_path / 'photos'}", "endpoint": "h"})
    assert len(open_embeddings(path, None, said.append).ids) == 3
    assert said[0].startswith(f"{path}: 3 images, 5 numbers each (h, folder:")
    assert said[1].startswith("note: 2 images are not found in")


def test_a_folder_that_moved(tmp_path):
    (tmp_path / "new").mkdir()
    found = open_embeddings(write(tmp_path, {"dataset": "folder:/gone"}), str(tmp_path / "new"),
                            [].append)  # fmt: skip
    assert found.metadata["dataset"] == f"folder:{tmp_path / 'new'}"
    with pytest.raises(InputError, match="dataset must not be given"):
        open_embeddings(write(tmp_path, {"dataset": "cifar10"}), str(tmp_path / "new"), [].append)
    with pytest.raises(InputError, match="an existing folder"):
        open_embeddings(write(tmp_path, {}), str(tmp_path / "nothing"), [].append)


@pytest.mark.parametrize(("count", "limit", "lines"), [(60, None, 1), (60, 0.9, 0), (3, None, 0)])
def test_a_limit_that_was_chosen_is_said(tmp_path, count, limit, lines):
    content = open_embeddings(write(tmp_path, {}, count), None, [].append)
    said = []
    space = open_space(content, "centred", limit, said.append)
    assert len(said) == lines and space.limit == (limit or space.limit)
    assert all("0.1 of 1,770 pairs are expected" in line for line in said)
