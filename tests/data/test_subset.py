"""Class-balanced subsets: the choice, its file, and the source that holds it."""

from __future__ import annotations

import collections
import gc
import hashlib
import itertools
import json
import random

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import DataConfig
from simclr_tf.data import folder_source, pipeline, sources, subset, tfds_source
from simclr_tf.data.views import function_views
from simclr_tf.errors import InputError
from tests.data import streams

CLASSES = 5
PER_CLASS = 40
IDS = [f"image_{i:03d}" for i in range(CLASSES * PER_CLASS)]
LABELS = [i % CLASSES for i in range(len(IDS))]
LABEL_OF = dict(zip(IDS, LABELS, strict=True))


def _counts(chosen, labels=None):
    found = collections.Counter((labels or LABEL_OF)[example_id] for example_id in chosen)
    return [found[label] for label in range(CLASSES)]


@pytest.fixture
def folder(write_images):
    """Ten images in each of two classes."""
    names = [f"train/{'ab'[i % 2]}/{i:02d}.png" for i in range(20)]
    names += [f"test/{'ab'[i % 2]}/{i:02d}.png" for i in range(6)]
    return folder_source.open_folder(str(write_images(names)), "data_dir")


@pytest.fixture(scope="module")
def digits(embedded_dir):
    return tfds_source.open_tfds("digits", str(embedded_dir))


# The choice.


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.001, 1), (0.05, 2), (0.1, 4), (0.26, 10), (0.5, 20), (1.0, 40)]
)
def test_fraction_is_balanced(fraction, expected):
    # 200 images in 5 classes: 0.05 are 10 images, 2 of each class.
    chosen = subset.choose_subset(IDS, LABELS, CLASSES, fraction=fraction)
    assert _counts(chosen) == [expected] * CLASSES
    assert len(set(chosen)) == len(chosen) and chosen == sorted(chosen)


def test_imagenet_numbers():
    """1,281,167 images in 1000 classes: 1 % are 13 of each, as in the published list, 12.8."""
    ids = [str(i) for i in range(128_117)]
    labels = [i % 100 for i in range(len(ids))]
    assert len(subset.choose_subset(ids, labels, 100, fraction=0.01)) == 13 * 100


def test_choice_is_the_documented_hash():
    """The images of a class with the smallest SHA-256 of `seed:id`."""

    def digest(example_id):
        return hashlib.sha256(f"7:{example_id}".encode()).hexdigest()

    expected = []
    for label in range(CLASSES):
        members = [i for i in IDS if LABEL_OF[i] == label]
        expected += sorted(members, key=digest)[:3]
    chosen = subset.choose_subset(IDS, LABELS, CLASSES, per_class=3, seed=7)
    assert chosen == sorted(expected)


def test_order_of_the_input_does_not_matter():
    order = random.Random(1).sample(range(len(IDS)), len(IDS))
    shuffled = subset.choose_subset(
        [IDS[i] for i in order], [LABELS[i] for i in order], CLASSES, fraction=0.1, seed=2
    )
    assert shuffled == subset.choose_subset(IDS, LABELS, CLASSES, fraction=0.1, seed=2)


def test_choice_is_the_same_everywhere():
    # Of `printf "5:$i" | sha256sum` for i in 0 ... 9, the four smallest are those of 2, 4, 7, 6.
    ids = [str(i) for i in range(10)]
    for count, expected in ((1, ["2"]), (2, ["2", "4"]), (4, ["2", "4", "6", "7"])):
        assert subset.choose_subset(ids, [0] * 10, 1, per_class=count, seed=5) == expected


def test_larger_subsets_contain_smaller_ones():
    chosen = [
        set(subset.choose_subset(IDS, LABELS, CLASSES, fraction=fraction, seed=3))
        for fraction in (0.01, 0.05, 0.1, 0.5, 0.99, 1.0)
    ]
    assert all(small <= large for small, large in itertools.pairwise(chosen))
    assert chosen[-1] == set(IDS)


def test_seed_decides():
    first, second = (
        subset.choose_subset(IDS, LABELS, CLASSES, per_class=10, seed=seed) for seed in (0, 1)
    )
    assert first != second and _counts(first) == _counts(second)


def test_small_and_missing_classes():
    labels = [0] * 150 + [1] * 45 + [2] * 4 + [4]
    label_of = dict(zip(IDS, labels, strict=True))
    chosen = subset.choose_subset(IDS, labels, CLASSES, fraction=0.25)  # 10 of each
    assert _counts(chosen, label_of) == [10, 10, 4, 0, 1]
    everything = subset.choose_subset(IDS, labels, CLASSES, fraction=1.0)
    assert everything == IDS
    found = subset.Subset("x", "train", "25%", 0, (10, 10, 4, 0, 1), tuple(chosen))
    assert found.short_classes == (2, 3, 4)


@pytest.mark.parametrize(
    ("rule", "counts", "expected"),
    [
        ("25%", (10, 10, 10), None),
        ("20_per_class", (7, 7), None),  # All equal.
        ("100%", (10, 4, 0), None),
        ("100.0%", (10, 4, 0), None),
        ("25%", (10, 10, 4, 1),
         "2 of 4 classes have fewer images than asked for (cat: 4, dog: 1)"),
        ("25%", (10, 10, 4, 0),
         "1 of 4 classes has fewer images than asked for (cat: 4), 1 has none (dog)"),
        ("25%", (0, 10, 0, 10), "2 of 4 classes have no image (ant, cat)"),
        ("25%", (10, 10, 10, 0), "1 of 4 classes has no image (dog)"),
        ("25%", (1, 10, 0, 0), "1 of 4 classes has fewer images than asked for (ant: 1), "
         "2 have none (cat, dog)"),
        # No class has the 20 images; compared with each other only one would be short.
        ("20_per_class", (12, 9),
         "2 of 2 classes have fewer images than asked for (ant: 12, bee: 9)"),
        ("ids", (12, 9), "1 of 2 classes has fewer images than the others (bee: 9)"),
    ],
)  # fmt: skip
def test_note(rule, counts, expected):
    found = subset.Subset("x", "train", rule, 0, counts, ("id",))
    assert found.note(["ant", "bee", "cat", "dog"][: len(counts)]) == expected


def test_note_without_names_and_of_many_classes():
    found = subset.Subset("x", "train", "25%", 0, (10, 10, 4, 0), ("id",))
    assert found.note() == (
        "1 of 4 classes has fewer images than asked for (class 2: 4), 1 has none (class 3)"
    )
    many = subset.Subset("x", "train", "25%", 0, (10, *[3] * 7, *[0] * 6), ("id",))
    assert many.note([f"c{i}" for i in range(14)]) == (
        "7 of 14 classes have fewer images than asked for (c1: 3, c2: 3, c3: 3, c4: 3, c5: 3 and "
        "2 more), 6 have none (c8, c9, c10, c11, c12 and 1 more)"
    )


def test_note_refuses_names_that_do_not_fit():
    found = subset.Subset("x", "train", "25%", 0, (10, 4), ("id",))
    with pytest.raises(InputError, match="class_names must be 2 names"):
        found.note(["a"])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "fraction"),
        ({"fraction": 0.1, "per_class": 3}, "fraction"),
        ({"fraction": 0.0}, "fraction"),
        ({"fraction": 1.01}, "fraction"),
        ({"fraction": float("nan")}, "fraction"),
        ({"per_class": 0}, "per_class"),
    ],
)
def test_refused_sizes(options, name):
    with pytest.raises(InputError) as caught:
        subset.choose_subset(IDS, LABELS, CLASSES, **options)
    assert caught.value.name == name


def test_refused_labels_and_ids():
    with pytest.raises(InputError, match=r"'b' does not.*-1"):
        subset.choose_subset(["a", "b"], [0, -1], 2, per_class=1)
    with pytest.raises(InputError, match=r"'a' does not.*2"):
        subset.choose_subset(["a", "b"], [2, 1], 2, per_class=1)
    with pytest.raises(InputError, match=r"twice.*'a'"):
        subset.choose_subset(["a", "a"], [0, 1], 2, per_class=1)


# The setting.


def test_rules(tmp_path):
    assert subset.parse_rule("1%") == subset.Rule(fraction=0.01)
    assert subset.parse_rule("0.5%") == subset.Rule(fraction=0.005)
    assert subset.parse_rule("100%") == subset.Rule(fraction=1.0)
    assert subset.parse_rule("25_per_class") == subset.Rule(per_class=25)
    file = tmp_path / "chosen.json"
    file.write_text("{}")
    assert subset.parse_rule(str(file)) == subset.Rule(path=str(file))


@pytest.mark.parametrize(
    "text", ["0%", "101%", "-1%", "1 %", "25", "0_per_class", "x_per_class", "absent.json", "."]
)
def test_refused_rules(text):
    with pytest.raises(InputError) as caught:
        subset.parse_rule(text)
    assert caught.value.name == "label_subset" and caught.value.received == text


def test_setting():
    assert DataConfig().label_subset is None
    with pytest.raises(InputError) as caught:
        DataConfig(label_subset="")
    assert caught.value.name == "label_subset"


# The source.


def _ids(source, split="train"):
    return [e["id"].decode() for e in source.records(split).as_numpy_iterator()]


def test_source_keeps_order_ids_labels_and_images(digits):
    chosen = subset.open_subset(digits, "train", "5_per_class", 0)
    assert chosen.num_examples("train") == 50 == chosen.splits["train"]
    assert chosen.description.class_counts == (5,) * 10
    assert sorted(_ids(chosen)) == list(chosen.ids)
    assert _ids(chosen) == [i for i in _ids(digits) if i in chosen.ids]
    whole = {e["id"]: e for e in digits.examples("train").as_numpy_iterator()}
    for example in chosen.examples("train").as_numpy_iterator():
        assert example == whole[example["id"]]
    for name in ("name", "num_classes", "class_names", "record_bytes", "always_cached",
                 "multi_label"):  # fmt: skip
        assert getattr(chosen, name) == getattr(digits, name)
    assert chosen.location("x") == digits.location("x")


def test_other_splits_pass_through(folder):
    chosen = subset.open_subset(folder, "train", "2_per_class", 0)
    assert chosen.splits == {"train": 4, "test": 6}
    assert _ids(chosen, "test[:50%]") == _ids(folder, "test[:50%]")
    assert chosen.num_examples("test") == 6
    assert _ids(chosen, "train[:100%]") == _ids(chosen, "train")


@pytest.mark.parametrize("split", ["train[:50%]", "train[3:]", "train+test", "train[:1]+test"])
def test_slices_of_the_subset_are_refused(folder, split):
    chosen = subset.open_subset(folder, "train", "2_per_class", 0)
    for use in (chosen.num_examples, chosen.ranges, chosen.records, chosen.examples):
        with pytest.raises(InputError, match="label_subset keeps 4 images") as caught:
            use(split, "eval_split")
        assert caught.value.name == "eval_split" and caught.value.received == split
    with pytest.raises(InputError, match="label_subset"):
        sources.divide_split(chosen, "train", 0.1)


def test_part_of_a_split(folder):
    """A slice is a split to choose from; the rest stays available, for validation."""
    chosen = subset.open_subset(folder, "train[:15]", "3_per_class", 0)
    assert set(chosen.ids) <= set(_ids(folder, "train[:15]"))
    assert chosen.num_examples("train[:15]") == 6
    assert _ids(chosen, "train[15:]") == _ids(folder, "train[15:]")
    with pytest.raises(InputError):
        chosen.num_examples("train")


def test_subset_of_a_subset(folder):
    large = subset.open_subset(folder, "train", "5_per_class", 0)
    small = subset.open_subset(large, "train", "2_per_class", 0)
    assert set(small.ids) < set(large.ids) and small.base is folder
    assert small.ids == subset.open_subset(folder, "train", "2_per_class", 0).ids


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("buffer", [2**31, 1])
def test_training_batches(digits, cache, buffer, monkeypatch):
    monkeypatch.setattr(pipeline, "SHUFFLE_BYTES", buffer)
    chosen = subset.open_subset(digits, "train", "1_per_class", 0)
    label_of = dict(zip(*subset.read_labels(digits, "train"), strict=True))
    steps = pipeline.steps_per_epoch(chosen, "train", 5)
    assert steps == 2
    batches = streams.training(
        chosen, "train", batch_size=5, seed=0,
        views=function_views([lambda image, seed: image[:1, :1]]),
        cache=cache,
    )  # fmt: skip
    found = [b["label"].tolist() for b in itertools.islice(batches.as_numpy_iterator(), 3 * steps)]
    for epoch in range(3):
        labels = sum(found[epoch * steps : (epoch + 1) * steps], [])
        assert sorted(labels) == list(range(10)) == sorted(label_of[i] for i in chosen.ids)
    with pytest.raises(InputError, match="the 10 images of split train"):
        pipeline.steps_per_epoch(chosen, "train", 11)


def test_evaluation_batches_outlive_the_source(folder):
    chosen = subset.open_subset(folder, "train", "3_per_class", 0)
    batches = streams.evaluation(
        chosen, "train", batch_size=4, image_size=8,
        view_fn=lambda image, size: tf.cast(image, tf.float32),
    )  # fmt: skip
    # The images of a folder hold their number, which is their name.
    expected = [int(i[-6:-4]) for i in streams.ids(chosen, "train")]
    del chosen
    gc.collect()
    found = list(batches.as_numpy_iterator())
    values = np.concatenate([batch["image"][:, 0, 0, 0] for batch in found])
    assert values.tolist() == [*expected, 0, 0]
    assert np.concatenate([batch["weight"] for batch in found]).tolist() == [1] * 6 + [0] * 2


def test_source_from_ids(folder):
    ids = _ids(folder)[:3]
    chosen = subset.SubsetSource(folder, "train", ids)
    assert _ids(chosen) == ids and chosen.num_examples("train") == 3
    assert sum(chosen.description.class_counts) == 3 and set(chosen.description.ids) == set(ids)


@pytest.mark.parametrize(
    ("ids", "constraint"),
    [([], "at least one"), (["a", "a"], "twice"), ([str(i) for i in range(21)], "the 20 images")],
)
def test_refused_ids(folder, ids, constraint):
    with pytest.raises(InputError, match=constraint) as caught:
        subset.SubsetSource(folder, "train", ids)
    assert caught.value.name == "ids"


def test_unlabeled_data_is_refused(write_images):
    source = folder_source.open_folder(str(write_images(["0.png", "1.png"])), "data_dir")
    with pytest.raises(InputError, match="must have labels"):
        subset.open_subset(source, "train", "1%", 0)


def test_odd_file_names(write_images):
    source = folder_source.open_folder(
        str(write_images(["ä/ü 1.png", "ä/2.png", "b/'3\".png", "b/4.png"])), "data_dir"
    )
    chosen = subset.open_subset(source, "train", "100%", 0)
    assert sorted(_ids(chosen)) == list(chosen.ids) and len(chosen.ids) == 4


# The file.


def test_file_round_trip(folder, tmp_path):
    chosen = subset.open_subset(folder, "train", "3_per_class", 4)
    path = tmp_path / "some" / "subset.json"
    subset.write_subset(path, chosen.description)
    assert subset.read_subset(path, folder, "train") == chosen.description
    again = subset.open_subset(folder, "train", str(path), seed=99)
    assert again.ids == chosen.ids and again.description == chosen.description
    content = json.loads(path.read_text())
    assert content["dataset"] == "folder" and content["class_counts"] == [3, 3]
    assert content["rule"] == "3_per_class" and content["seed"] == 4 and len(content["ids"]) == 6


def test_folder_may_move(folder, write_images, tmp_path):
    subset.write_subset(
        tmp_path / "s.json", subset.open_subset(folder, "train", "2_per_class", 0).description
    )
    folder.root.rename(tmp_path / "moved")
    moved = folder_source.open_folder(str(tmp_path / "moved"), "data_dir")
    assert len(subset.read_subset(tmp_path / "s.json", moved, "train").ids) == 4


def _refusal(path, source, split="train"):
    with pytest.raises(InputError) as caught:
        subset.read_subset(path, source, split)
    assert caught.value.name == str(path) and "\n" not in str(caught.value)
    return str(caught.value)


def test_file_of_another_data_set(folder, digits, tmp_path):
    path = tmp_path / "s.json"
    subset.write_subset(path, subset.open_subset(folder, "train", "1_per_class", 0).description)
    assert "must be a subset of digits. Received: 'folder'" in _refusal(path, digits)


def test_file_with_unknown_ids(folder, tmp_path):
    path = tmp_path / "s.json"
    chosen = subset.open_subset(folder, "train", "10_per_class", 0)
    subset.write_subset(path, chosen.description)
    (folder.root / chosen.ids[7]).unlink()
    (folder.root / chosen.ids[9]).unlink()
    changed = folder_source.open_folder(str(folder.root), "data_dir")
    message = _refusal(path, changed)
    assert "ids of images of train" in message and f"Received: '{chosen.ids[7]}'" in message
    assert "ids of images of test" in _refusal(path, folder, "test")


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b'"x"', b"{}", b"\xff\xfe"])
def test_files_of_another_kind(folder, tmp_path, content):
    path = tmp_path / "s.json"
    path.write_bytes(content)
    _refusal(path, folder)


@pytest.mark.parametrize(
    "change", [{"ids": []}, {"ids": [1]}, {"ids": "a"}, {"ids": ["a", "a"]}, {"class_counts": 3}]
)
def test_broken_files(folder, tmp_path, change):
    path = tmp_path / "s.json"
    subset.write_subset(path, subset.open_subset(folder, "train", "1_per_class", 0).description)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    _refusal(path, folder)


def test_absent_file(folder, tmp_path):
    assert "no such file" in _refusal(tmp_path / "absent.json", folder)


# The published subsets.


def test_published_subsets(tmp_path):
    version = tmp_path / "imagenet2012_subset" / "1pct" / "5.0.0"
    assert subset.published_subset("imagenet2012", str(tmp_path), 0.01) is None
    version.mkdir(parents=True)
    assert subset.published_subset("imagenet2012", str(tmp_path), 0.01) is None
    (version / "dataset_info.json").write_text("{}")
    name = "imagenet2012_subset/1pct"
    assert subset.published_subset("imagenet2012", str(tmp_path), 0.01) == name
    assert subset.published_subset("imagenet2012:5.1.0", str(tmp_path), 1 / 100) == name
    for other in (("imagenet2012", 0.1), ("imagenet2012", 0.02), ("cifar10", 0.01),
                  ("imagenet2012_real", 0.01)):  # fmt: skip
        assert subset.published_subset(other[0], str(tmp_path), other[1]) is None
