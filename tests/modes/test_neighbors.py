"""Neighbours and near-duplicates in a folder of plain colours, where anybody can tell them."""

import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from PIL import Image

from simclr_tf.config import DataConfig
from simclr_tf.errors import InputError
from simclr_tf.modes import neighbors as neighbors_mode
from simclr_tf.retrieval.embeddings import EmbeddingWriter, read_embeddings
from tests.modes.asked import embed, neighbors

# Colours as points on the quarter circle from red to green: the cosine of the angle between two
# is their similarity. `orange.png` and `copy of orange.png` are the same file.
ANGLES = {
    "red.png": 0, "nested folder/rosé.png": 8, "orange.png": 30, "copy of orange.png": 30,
    "yellow 写.png": 45, "green.png": 90,
}  # fmt: skip


def save_encoder(path, scale=1.0):
    """An encoder whose embedding anybody can compute: the mean of each channel."""
    layers = [keras.layers.InputLayer((32, 32, 3)), keras.layers.Rescaling(scale)]
    keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()]).save(path)
    return str(path)


def write_color(path, degrees, size=(40, 30)):
    color = [math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), 0]
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), np.round(255 * np.array(color)), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A folder with `encoder`, `photos` and `photos.parquet`; tests only read it."""
    root = tmp_path_factory.mktemp("embedded")
    for name, degrees in ANGLES.items():
        write_color(root / "photos" / name, degrees)
    encoder = save_encoder(root / "encoder.keras")
    data = DataConfig(dataset=f"folder:{root / 'photos'}")
    embed(data, encoder, str(root / "photos.parquet"), say=[].append)
    return root


def run(embedded, tmp_path, **arguments):
    """The lines said and the picture's path; the picture lies in `tmp_path`."""
    said = []
    arguments = {**with_encoder(embedded), **arguments}
    picture = neighbors(
        str(embedded / "photos.parquet"), output=str(tmp_path / "x.png"), say=said.append,
        **arguments,
    )  # fmt: skip
    return said, picture


def with_encoder(embedded):
    return {"checkpoint": str(embedded / "encoder.keras")}


def listed(lines):
    """(similarity, name) of the lines that list an image."""
    rows = [line.split(maxsplit=2) for line in lines if line[:4].strip().isdigit()]
    return [(float(row[1]), row[2]) for row in rows]


def test_neighbours_of_an_id_in_order(embedded, tmp_path):
    said, picture = run(embedded, tmp_path, query="orange.png", num_neighbors=3)
    assert [name for _, name in listed(said)] == [
        "copy of orange.png  near-duplicate", "yellow 写.png  near-duplicate",
        "nested folder/rosé.png"]  # fmt: skip
    expected = [math.cos(math.radians(angle)) for angle in (0, 15, 22)]
    assert [value for value, _ in listed(said)] == pytest.approx(expected, abs=0.003)
    assert "2 near-duplicates (similarity of at least 0.95)" in said
    assert said[0].startswith(str(embedded / "photos.parquet")) and "6 images" in said[0]
    assert Image.open(picture).format == "PNG"


def test_an_image_file_from_elsewhere(embedded, tmp_path):
    write_color(tmp_path / "new.png", 46, size=(50, 80))
    said, _ = run(embedded, tmp_path, query=str(tmp_path / "new.png"), num_neighbors=2)
    rows = listed(said)
    assert rows[0][1].startswith("yellow 写.png") and rows[0][0] == pytest.approx(1, abs=0.002)
    assert rows[1][0] == pytest.approx(math.cos(math.radians(16)), abs=0.003)


def test_an_image_file_is_read_as_those_of_the_embeddings(tmp_path):
    # Of every ten rows one is red: what is sampled at 32 pixels sees one of the colours alone.
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[..., 1], stripes[::10] = 255, (255, 0, 0)
    (tmp_path / "photos").mkdir()
    for name, pixels in {"stripes.png": stripes, "other.png": stripes[:, :, ::-1]}.items():
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    encoder = save_encoder(tmp_path / "encoder.keras")
    data = DataConfig(dataset=f"folder:{tmp_path / 'photos'}")
    embed(data, encoder, str(tmp_path / "photos.npz"), say=[].append)
    Image.fromarray(stripes).save(tmp_path / "query.png")
    said = []
    line = {"query": str(tmp_path / "query.png"), "checkpoint": encoder}
    neighbors(str(tmp_path / "photos.npz"), say=said.append, **line)
    similarity, name = listed(said)[0]
    assert name.startswith("stripes.png") and similarity == pytest.approx(1, abs=1e-6)


def test_a_file_of_the_folder_is_not_its_own_neighbour(embedded, tmp_path, monkeypatch):
    monkeypatch.chdir(embedded)
    said, _ = run(embedded, tmp_path, query="photos/orange.png")
    names = [name.split("  ")[0] for _, name in listed(said)]
    assert sorted(names) == sorted(set(ANGLES) - {"orange.png"})


def test_an_id_needs_no_encoder(embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbors_mode.encoders, "open_encoder", pytest.fail)
    assert listed(run(embedded, tmp_path, query="red.png")[0])


@pytest.mark.parametrize(("num_neighbors", "lines"), [(2, 2), (30, 30)])
def test_of_many_near_duplicates_the_first_are_listed(tmp_path, num_neighbors, lines):
    with EmbeddingWriter(tmp_path / "x.npz", {}) as writer:
        writer.append([f"{i}.png" for i in range(50)], np.ones((50, 3)))
    said = []
    neighbors(str(tmp_path / "x.npz"), query="0.png", num_neighbors=num_neighbors,
              say=said.append)  # fmt: skip
    assert len(listed(said)) == lines
    assert said[2 + lines].strip() == f"... and {49 - lines} more near-duplicates (--num_neighbors)"
    assert "49 near-duplicates (similarity of at least 0.95)" in said


def test_ids_reach_the_terminal_as_one_printable_line(tmp_path):
    with EmbeddingWriter(tmp_path / "x.npz", {}, ["a\nb"]) as writer:
        writer.append(["\x1b[2J\n.png", "gpj.\u202eexe"], np.ones((2, 3)), np.zeros(2, np.int64))
    said = []
    neighbors(str(tmp_path / "x.npz"), query="\x1b[2J\n.png", say=said.append)
    neighbors(str(tmp_path / "x.npz"), say=said.append)
    assert r"nearest to \x1b[2J\n.png:" in said
    assert any(r"gpj.\u202eexe  [a\nb]" in line for line in said)
    assert not any(character in line for line in said for character in "\x1b\n\u202e")


def test_near_duplicates_beyond_k_are_counted(embedded, tmp_path):
    said, _ = run(embedded, tmp_path, query="orange.png", num_neighbors=1,
                  duplicate_similarity=0.9)  # fmt: skip
    assert [name.split("  ")[0] for _, name in listed(said)] == ["copy of orange.png"]
    assert "      ... and 2 more near-duplicates (--num_neighbors)" in said


def test_more_neighbours_than_images(embedded, tmp_path):
    assert len(listed(run(embedded, tmp_path, query="red.png", num_neighbors=100)[0])) == 5


def test_groups_of_the_whole_file(embedded, tmp_path):
    said, picture = run(embedded, tmp_path, duplicate_similarity=0.98)
    assert said[1].startswith("2 groups of near-duplicates")
    assert "similarity of at least 0.98" in said[1] and "4 of 6 images" in said[1]
    assert "chain" in said[1]
    groups = "\n".join(said[2:-1]).split("\n   2  ")
    assert {"orange.png", "copy of orange.png"} == names_in(groups[0])
    assert {"red.png", "nested folder/rosé.png"} == names_in(groups[1])
    assert groups[0].count("1.000") == 2 and groups[1].count("0.99") == 2
    assert said[-1] == f"picture: {picture}"


def names_in(text):
    return {name for name in ANGLES if name in text}


def test_members_of_a_chain_are_shown_with_the_nearest_other(tmp_path, monkeypatch):
    """Rows at 0, 8, 16 and 22 degrees: the ends are below the limit of 10 degrees to each other."""
    drawn = []
    monkeypatch.setattr(neighbors_mode.picture, "save_groups",
                        lambda *arguments, **_: drawn.append(arguments))  # fmt: skip
    angles = np.radians([0, 8, 16, 22])
    with EmbeddingWriter(tmp_path / "x.npz", {}) as writer:
        writer.append(list("abcd"), np.stack([np.cos(angles), np.sin(angles)], axis=1))
    said, limit = [], math.cos(math.radians(10))
    neighbors(str(tmp_path / "x.npz"), duplicate_similarity=limit, say=said.append)
    shown = [line.split()[-2:] for line in said if line.split()[-1] in "abcd"]
    expected = [f"{math.cos(math.radians(angle)):.3f}" for angle in (8, 8, 6, 6)]
    assert shown == [list(pair) for pair in zip(expected, "abcd", strict=True)]
    ((_, _, (tiles,)),) = drawn
    assert [tile.note for tile in tiles] == expected


def test_of_many_groups_the_first_are_listed(tmp_path):
    """23 groups of 2 and one of 13."""
    rows = [*range(23), *range(23), *[23] * 13]
    with EmbeddingWriter(tmp_path / "x.npz", {}) as writer:
        writer.append([f"{i}.png" for i in range(len(rows))], np.eye(24)[rows])
    said = []
    neighbors(str(tmp_path / "x.npz"), duplicate_similarity=0.95, say=said.append)
    assert said[1].startswith("24 groups of near-duplicates")
    members = [line for line in said if line.endswith(".png") and not line.startswith("picture")]
    assert len(members) == 10 + 19 * 2
    more = [line.strip() for line in said if "more" in line]
    assert more == ["... and 3 more", "... and 4 more groups"]


def test_exact_duplicates_at_similarity_1(embedded, tmp_path):
    said, _ = run(embedded, tmp_path, duplicate_similarity=1.0)
    assert said[1].startswith("1 group of near-duplicates")


def test_a_group_of_most_images_is_remarked(tmp_path):
    with EmbeddingWriter(tmp_path / "x.npz", {"dataset": "folder:/nowhere"}) as writer:
        writer.append([f"{i}.png" for i in range(40)], np.ones((40, 3)))
    said = []
    assert neighbors(str(tmp_path / "x.npz"), say=said.append)
    assert said[-2].startswith("note: one group holds most images")


def test_nothing_found_draws_nothing(tmp_path):
    with EmbeddingWriter(tmp_path / "x.npz", {}) as writer:
        writer.append(["a", "b"], np.eye(2))
    said = []
    assert neighbors(str(tmp_path / "x.npz"), say=said.append) is None
    assert said[1].startswith("0 groups") and len(said) == 2
    with EmbeddingWriter(tmp_path / "y.npz", {}) as writer:
        writer.append(["a"], np.ones((1, 2)))
    assert neighbors(str(tmp_path / "y.npz"), query="a", say=said.append) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz", "y.npz"]


def test_the_picture_lies_beside_the_file(tmp_path):
    with EmbeddingWriter(tmp_path / "my photos.v2.npz", {}) as writer:
        writer.append(["a", "b"], np.ones((2, 2)), [0, 1])
    said = []
    picture = neighbors(str(tmp_path / "my photos.v2.npz"), query="a", say=said.append)
    assert picture == str(tmp_path / "my photos.v2.neighbors.png")
    assert listed(said)[0][1] == "b  [1]  near-duplicate"  # without names labels are numbers


def test_images_that_are_gone_do_no_harm(embedded, tmp_path):
    data = read_embeddings(embedded / "photos.parquet")
    metadata = {**data.metadata, "dataset": "folder:/nowhere/at/all"}
    with EmbeddingWriter(tmp_path / "x.parquet", metadata) as writer:
        writer.append(data.ids, data.vectors)
    for query in ("red.png", None):
        assert neighbors(str(tmp_path / "x.parquet"), query=query, say=[].append)


@pytest.fixture
def moved(embedded, tmp_path):
    """The embeddings after their images moved from `old` to `new`, beside them in `tmp_path`."""
    data = read_embeddings(embedded / "photos.parquet")
    metadata = {**data.metadata, "dataset": f"folder:{tmp_path / 'old'}"}
    with EmbeddingWriter(tmp_path / "moved.npz", metadata) as writer:
        writer.append(data.ids, data.vectors)
    shutil.copytree(embedded / "photos", tmp_path / "new")
    return str(tmp_path / "moved.npz")


def notes(lines):
    return [line for line in lines if line.startswith("note:")]


@pytest.mark.parametrize("query", ["red.png", None])
def test_images_that_moved_are_remarked(moved, tmp_path, query):
    said = []
    neighbors(moved, query=query, say=said.append)
    assert notes(said) == [
        f"note: 6 images are not found in {tmp_path / 'old'}; --dataset=folder:NEW names their "
        "new place"
    ]
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    (tmp_path / "old" / "green.png").unlink()
    said = []
    neighbors(moved, query=query, say=said.append)
    assert [note.split(";")[0] for note in notes(said)] == [
        f"note: 1 image is not found in {tmp_path / 'old'}"]  # fmt: skip


def test_the_new_place_of_images(embedded, moved, tmp_path, monkeypatch):
    seen = []
    save = neighbors_mode.picture.save_neighbors
    monkeypatch.setattr(neighbors_mode.picture, "save_neighbors",
                        lambda *arguments: (seen.append(arguments), save(*arguments)))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for query in ("orange.png", "new/orange.png"):
        said = []
        neighbors(moved, query=query, image_folder="new", say=said.append,
                  **with_encoder(embedded))  # fmt: skip
        assert notes(said) == [] and str(tmp_path / "old") not in "".join(said)
        assert len(listed(said)) == 5
        _, _, tile, tiles = seen.pop()
        assert tile.image is not None and all(tile.image is not None for tile in tiles)


@pytest.mark.parametrize("name", ["orange.png", "nested folder/rosé.png"])
def test_a_moved_image_is_not_its_own_neighbour(embedded, moved, tmp_path, name):
    said = []
    neighbors(moved, query=str(tmp_path / "new" / name), say=said.append,
              **with_encoder(embedded))  # fmt: skip
    names = [found.split("  ")[0] for _, found in listed(said)]
    assert sorted(names) == sorted(set(ANGLES) - {name})
    assert f"note: {name} of the file is taken for the query itself and left out" in said


def test_another_image_of_the_same_name_is_a_neighbour(embedded, moved, tmp_path):
    write_color(tmp_path / "else" / "orange.png", 31)
    write_color(tmp_path / "else" / "other.png", 30)  # equal, with another name
    for query in ("orange.png", "other.png"):
        said = []
        neighbors(moved, query=str(tmp_path / "else" / query), say=said.append,
                  **with_encoder(embedded))  # fmt: skip
        assert len(listed(said)) == 6


def test_of_equal_images_the_longest_tail_is_the_query(embedded, tmp_path):
    data = read_embeddings(embedded / "photos.parquet")
    metadata = {**data.metadata, "dataset": "folder:/nowhere/at/all"}
    vector = data.vectors[data.ids.index("red.png")]
    with EmbeddingWriter(tmp_path / "x.npz", metadata) as writer:
        writer.append(["a.png", "b/a.png", "c/a.png"], np.stack([vector] * 3))
    write_color(tmp_path / "new" / "b" / "a.png", 0)
    said = []
    neighbors(str(tmp_path / "x.npz"), query=str(tmp_path / "new/b/a.png"), say=said.append,
              **with_encoder(embedded))  # fmt: skip
    assert [name.split()[0] for _, name in listed(said)] == ["a.png", "c/a.png"]


def test_a_new_place_of_what_lies_in_no_folder(tmp_path):
    with EmbeddingWriter(tmp_path / "x.npz", {"dataset": "cifar10"}) as writer:
        writer.append(["a", "b"], np.eye(2))
    with pytest.raises(InputError, match="dataset must not be given: .* are of cifar10"):
        neighbors(str(tmp_path / "x.npz"), image_folder=str(tmp_path), say=[].append)


def test_the_encoder_that_a_file_names_is_shown_and_never_opened(embedded, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(neighbors_mode.encoders, "open_encoder",
                        lambda *arguments: opened.append(arguments))  # fmt: skip
    data = read_embeddings(embedded / "photos.parquet")
    query = str(embedded / "photos" / "red.png")
    recorded = data.metadata["checkpoint"]
    for name in (
        recorded,
        "http://host/x.tar.gz",
        "/tmp/x.keras",
        "\x1b[2Jx",
        "x" * 10**4,
        None,
        5,
    ):
        with EmbeddingWriter(tmp_path / "x.npz", {**data.metadata, "checkpoint": name}) as writer:
            writer.append(data.ids, data.vectors)
        with pytest.raises(InputError, match="checkpoint must name the encoder of the") as caught:
            neighbors(str(tmp_path / "x.npz"), query=query, say=[].append)
        text = str(caught.value)
        assert repr(name)[:200] in text and "\x1b" not in text and len(text) < 600
    assert opened == []


def test_the_encoder_may_have_moved_but_not_changed(embedded, tmp_path):
    shutil.copyfile(embedded / "encoder.keras", tmp_path / "moved.keras")
    query = str(embedded / "photos" / "red.png")
    assert run(embedded, tmp_path, query=query, checkpoint=str(tmp_path / "moved.keras"))[1]
    other = save_encoder(tmp_path / "other.keras", scale=2.0)
    with pytest.raises(InputError, match="must be the encoder of the embeddings"):
        run(embedded, tmp_path, query=query, checkpoint=other)


def test_a_graph_of_others_runs_only_with_the_flag(embedded, tmp_path):
    module = tf.train.Checkpoint()
    spec = tf.TensorSpec([None, 32, 32, 3])
    module.__call__ = tf.function(lambda x: tf.reduce_mean(x, (1, 2)), input_signature=[spec])
    foreign = str(tmp_path / "foreign")
    tf.saved_model.save(module, foreign)
    query = str(embedded / "photos" / "red.png")
    with pytest.raises(InputError, match="runs only with --allow_foreign_graph"):
        run(embedded, tmp_path, query=query, checkpoint=foreign)
    data = DataConfig(dataset=f"folder:{embedded / 'photos'}")
    with pytest.raises(InputError, match="runs only with --allow_foreign_graph"):
        embed(data, foreign, str(tmp_path / "x.npz"), say=[].append)
    with pytest.warns(UserWarning, match="the code of its author runs with your rights"):
        embed(data, foreign, str(tmp_path / "x.npz"), allow_foreign_graph=True, say=[].append)
        neighbors(str(tmp_path / "x.npz"), query=query, checkpoint=foreign,
                  allow_foreign_graph=True, say=[].append)  # fmt: skip


def test_a_file_that_names_no_encoder(embedded, tmp_path):
    with EmbeddingWriter(tmp_path / "x.npz", {}) as writer:
        writer.append(["a", "b"], np.eye(2))
    with pytest.raises(InputError, match="must say which encoder wrote it"):
        neighbors(str(tmp_path / "x.npz"), query=str(embedded / "photos" / "red.png"))


def test_images_of_a_tfds_data_set(embedded, tmp_path):
    encoder = str(embedded / "encoder.keras")
    path = embed(DataConfig(dataset="digits"), encoder, str(tmp_path / "digits.npz"),
                 split="test[:20]", say=[].append)  # fmt: skip
    said = []
    first = read_embeddings(path).ids[0]
    assert neighbors(path, query=first, num_neighbors=4, say=said.append)
    assert len(listed(said)) >= 4 and listed(said)[0][1].removesuffix("  near-duplicate").endswith(
        "]"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"embeddings": None}, "embeddings must name a file"),
        ({"embeddings": "/nowhere/x.npz"}, "embeddings must name an existing file"),
        ({"query": "nothing.png"}, "query must be an image file, or an id"),
        ({"num_neighbors": 0}, "num_neighbors must be at least 1"),
        ({"duplicate_similarity": 1.5}, "duplicate_similarity must be greater than 0"),
        ({"output": "x.jpg"}, "output must end in .png"),
        ({"output": "/dev/null/x.png"}, "output must lie in a folder that can be written"),
        ({"output": "/proc/nosuch/x.png"}, "output must lie in a folder that can be written"),
        ({"image_folder": "nowhere"}, "dataset must be folder:PATH with an existing folder"),
    ],
)
def test_refusals(embedded, tmp_path, monkeypatch, change, text):
    monkeypatch.chdir(tmp_path)
    arguments = {"embeddings": str(embedded / "photos.parquet"), "query": "red.png"}
    with pytest.raises(InputError, match=text):
        neighbors(**{**arguments, **change}, say=[].append)
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_is_no_image(embedded, tmp_path):
    (tmp_path / "bad.jpg").write_text("hello")
    with pytest.raises(InputError, match=r"bad\.jpg must be a readable image"):
        run(embedded, tmp_path, query=str(tmp_path / "bad.jpg"))


def test_metadata_is_plain_json(embedded):
    json.dumps(read_embeddings(embedded / "photos.parquet").metadata, allow_nan=False)


def test_many_images_are_compared_from_their_mean(tmp_path):
    """At the cosine of the embeddings themselves all are one group."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(80, 12)) + 9).astype(np.float32)
    vectors[7] = vectors[3] + 0.01
    with EmbeddingWriter(tmp_path / "x.npz", {}) as writer:
        writer.append([f"{i:02}.png" for i in range(80)], vectors)
    said: list[str] = []
    neighbors(str(tmp_path / "x.npz"), say=said.append)
    (line,) = (line for line in said if line.startswith("near-duplicates: "))
    assert "0.1 of 3,160 pairs are expected to be of different images" in line
    assert any(line.startswith("1 group of near-duplicates") for line in said)
    assert [name for _, name in listed(said)] == ["03.png"]
    said.clear()
    neighbors(str(tmp_path / "x.npz"), similarity="cosine", duplicate_similarity=0.95,
              say=said.append)  # fmt: skip
    assert any("80 of 80 images" in line for line in said)
