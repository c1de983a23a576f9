"""The table of published encoders: against the sources that tests may read, and by its names."""

import os
import re

import pytest

import simclr_tf
from simclr_tf.errors import InputError
from simclr_tf.weights import published
from tests.conftest import REPOSITORY

# Table 1 of the SimCLRv2 paper as the authors' README gives it: depth, width, SK, parameters in
# millions, 1 %, 10 %, 100 %, linear, supervised.
TABLE_1 = """
50 1 0 24 57.9 68.4 76.3 71.7 76.6
50 1 1 35 64.5 72.1 78.7 74.6 78.5
50 2 0 94 66.3 73.9 79.1 75.6 77.8
50 2 1 140 70.6 77.0 81.3 77.7 79.3
101 1 0 43 62.1 71.4 78.2 73.6 78.0
101 1 1 65 68.3 75.1 80.6 76.3 79.6
101 2 0 170 69.1 75.8 80.7 77.0 78.9
101 2 1 257 73.2 78.8 82.4 79.0 80.1
152 1 0 58 64.0 73.0 79.3 74.5 78.3
152 1 1 89 70.0 76.5 81.3 77.2 79.9
152 2 0 233 70.2 76.6 81.1 77.4 79.1
152 2 1 354 74.2 79.4 82.9 79.4 80.4
152 3 1 795 74.9 80.1 83.1 79.8 80.5
"""
ORDER = ("finetuned_1pct", "finetuned_10pct", "finetuned_100pct", "pretrained", "supervised")


def test_version_2_is_table_1():
    expected = {}
    for line in TABLE_1.split("\n"):
        if line:
            depth, width, sk, millions, *top1 = map(float, line.split())
            for training, value in zip(ORDER, top1, strict=True):
                expected[int(depth), int(width), bool(sk), training] = (millions, value)
    found = {(one.depth, one.width, one.sk, one.training): one
             for one in simclr_tf.published("simclrv2")}  # fmt: skip
    assert found.keys() == expected.keys() and len(found) == 65  # as many as the README says
    for key, (millions, top1) in expected.items():
        assert abs(found[key].parameters / 1e6 - millions) < 1 and found[key].top1 == top1


def test_the_conversions_are_about_as_good_as_the_paper_says():
    pairs = [(one.top1, one.top1_authors) for one in simclr_tf.published() if one.top1]
    assert all(abs(paper - measured) <= 0.4 for paper, measured in pairs)


def test_parameters_are_those_of_the_reference(fixtures_dir):
    import json

    counted = json.loads((fixtures_dir / "architectures.json").read_text())
    names = {"r50_1x": "r50_1x_sk0", "r50_2x": "r50_2x_sk0", "r50_1x_sk": "r50_1x_sk1",
             "r101_1x": "r101_1x_sk0", "r152_3x_sk": "r152_3x_sk1"}  # fmt: skip
    for key, name in names.items():
        (one, *_) = simclr_tf.published(f"simclrv2/{name}")
        assert one.parameters == counted[key]["encoder_trainable"]


# As others' programs and the authors' notebooks write them.
@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("simclrv2/r50_1x_sk1", "-tf2/simclrv2/pretrained/r50_1x_sk1/saved_model"),
        ("simclrv2/r50_1x_sk1/", "-tf2/simclrv2/pretrained/r50_1x_sk1/saved_model"),
        ("simclrv2/r152_3x_sk1/finetuned_1pct",
         "-tf2/simclrv2/finetuned_1pct/r152_3x_sk1/saved_model"),
        ("simclrv2/r50_1x_sk0/finetuned_100pct/tf1_hub",
         "/simclrv2/finetuned_100pct/r50_1x_sk0/hub"),
        ("simclrv2/r152_2x_sk1/tf1_checkpoint", "/simclrv2/pretrained/r152_2x_sk1"),
        ("simclrv2/r101_1x_sk0/supervised", "-tf2/simclrv2/supervised/r101_1x_sk0/saved_model"),
        ("simclrv1/r50_4x", "-tf2/simclrv1/pretrain/4x/saved_model"),
        ("simclrv1/r50_2x/finetuned_10pct/saved_model",
         "-tf2/simclrv1/finetune_10pct/2x/saved_model"),
        ("simclrv1/r50_1x/tf1_hub", "/simclrv1/pretrain/1x/hub"),
    ],
)  # fmt: skip
def test_names_lead_to_addresses(name, address):
    assert published.address(name) == f"gs://simclr-checkpoints{address}"


def test_every_name_is_one_encoder():
    everything = simclr_tf.published()
    assert len({one.name for one in everything}) == len({one.address for one in everything}) == 222
    assert all(published.address(one.name) == one.address for one in everything)
    assert all(published.published(one.name) == [one] for one in everything)
    assert published.published("simclrv2/r50") == []  # whole parts


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("r50_1x_sk1", "simclrv2/r50_1x_sk1"),
        ("simclrv2/pretrained/r50_1x_sk1", "simclrv2/r50_1x_sk1"),
        ("simclrv2/r50_1x_sk2", "simclrv2/r50_1x_sk"),
        ("simclrv2/r200_1x_sk0", "simclrv2/r50_1x_sk0"),
        ("simclr/r50_4x", "simclrv1/r50_4x"),
        ("simclrv1/1x", "simclrv1/r50_1x"),
        ("simclrv2/r152_3x_sk1/finetuned_1", "simclrv2/r152_3x_sk1/finetuned_1"),
        ("simclrv2", "simclrv"),
        ("simclrv2/r50", "simclrv2/r50_"),
    ],
)
def test_an_unknown_name_lists_the_near_ones(name, near):
    with pytest.raises(InputError, match="existing path or the name of a published") as caught:
        published.address(name)
    listed = caught.value.constraint
    assert near in listed.split("such as ")[1].split(", ")[0] and "simclr export list" in listed


@pytest.mark.parametrize(
    "path",
    ["runs/a", "published/", "/data/r50_1x_sk1", "./simclrv2/r50_1x_sk1", "~/r50_1x", "photos",
     "gs://simclr-checkpoints/simclrv2/pretrained/r50_1x_sk1", "https://a/simclrv2.tar.gz"],
)  # fmt: skip
def test_paths_are_no_names(path):
    assert published.address(path) == path and not published.is_name(path)


def test_what_lies_here_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert published.is_name("simclrv2/r50_1x_sk1")
    os.makedirs("simclrv2/r50_1x_sk1")
    assert published.address("simclrv2/r50_1x_sk1") == "simclrv2/r50_1x_sk1"
    (tmp_path / "simclrv2" / "r50_1x_sk1" / "model.ckpt-1.index").write_text("")
    path = "simclrv2/r50_1x_sk1/model.ckpt-1"
    assert published.address(path) == path


def test_the_list_for_a_person():
    lines = published.table()
    assert len(lines) == 1 + 65 + 9 + 3
    (line,) = [line for line in lines if line.startswith("simclrv2/r50_1x_sk1/finetuned_1pct ")]
    assert re.split(" {2,}", line)[1:] == ["35.2 M", "64.5", "fine-tuned on 1 % of the labels"]
    (title, *rows) = published.table("simclrv1/r50_1x/finetuned_100pct")
    assert title.split() == ["name", "parameters", "top-1", "address"]
    assert [row.split()[-1] for row in rows] == [
        one.address for one in simclr_tf.published("simclrv1/r50_1x/finetuned_100pct")
    ]
    assert len(published.table("simclrv2/r50_1x_sk1/tf1_hub")) == 2


def test_the_page_is_the_table():
    text = (REPOSITORY / "docs" / "published.md").read_text()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")]
            for line in text.splitlines() if line.startswith("| `simclrv")]  # fmt: skip

    def shown(value):
        return "" if value is None else f"{value:.1f}"

    expected = []
    for one in simclr_tf.published():
        if one.format == published.SAVED_MODEL:
            expected.append([one.name.rpartition("/")[0], f"{one.parameters / 1e6:.1f}",
                             shown(one.top1), shown(one.top1_authors)])  # fmt: skip
    assert sorted(rows) == sorted(expected)
    for one in simclr_tf.published():
        network = f"{one.width}x" if one.version == "simclrv1" else one.name.split("/")[1]
        place = one.address.replace(network, "1x" if one.version == "simclrv1" else "NETWORK")
        folders = place.split("/")
        folders[4] = "TRAINING"
        assert f"`{'/'.join(folders)}`" in text
