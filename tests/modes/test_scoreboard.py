import functools
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import run as command_line
from simclr_tf.data import sources
from simclr_tf.errors import InputError
from simclr_tf.evaluation import attributes
from simclr_tf.modes import scoreboard, training
from simclr_tf.protocols import distill, logreg, semi_supervised, supervised
from simclr_tf.settings import by_name
from tests.eager import eagerly

TINY = {
    "dataset": "digits", "image_size": 8, "resnet_depth": 18, "width_multiplier": 1 / 16,
    "num_proj_layers": 2, "proj_out_dim": 8, "train_batch_size": 32, "train_steps": 1,
    "warmup_epochs": 0, "use_blur": False, "color_jitter_strength": 0, "report": False,
}  # fmt: skip
SHORT = (
    "--linear_epochs=1 --linear_batch_size=64 --logreg_values=2 --knn_neighbors=1,5 "
    "--label_fractions=2_per_class --label_epochs=1 --label_batch_size=20 --finetune_steps=1 "
    "--finetune_batch_size=32 --finetune_learning_rates=0.01 --finetune_weight_decays=0 "
    "--supervised_steps=1 --attribute_images=50 --distill_width=1 --distill_labels=2_per_class "
    "--distill_steps=1 --map_points=30 --eval_batch_size=64 --train_split=train[:100] "
    "--eval_split=test[:60]"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with the command line's files."""
    folder = tmp_path_factory.mktemp("run") / "a"
    run = by_name.build_run_config({"model_dir": str(folder), **TINY})
    with eagerly():
        training.train(run, None, by_name.flatten(run), say=lambda text: None)
    return folder


def test_the_whole_scoreboard_by_one_command(trained, eager, tmp_path, capsys, monkeypatch):
    """Architecture, data set and schedule come from the run itself."""
    for protocol in (semi_supervised, supervised, distill):  # have tests of their own
        monkeypatch.setattr(protocol, "fit", lambda *_, **__: None)
    monkeypatch.setattr(logreg, "_write_pictures", lambda *_: None)
    color = attributes.ATTRIBUTES[:1]
    table_of_color = functools.partial(attributes.attribute_table, attributes=color)
    monkeypatch.setattr(attributes, "ATTRIBUTES", color)
    monkeypatch.setattr(attributes, "attribute_table", table_of_color)
    words = f"--mode=evaluate --protocols=all --checkpoint={trained} --model_dir={tmp_path}/board"
    (tmp_path / "tfds").mkdir()
    data = f"--data_dir={tmp_path}/tfds"
    assert command_line.main([*words.split(), data, *SHORT.split()]) == 0, capsys.readouterr().err
    board = tmp_path / "board"
    sections = json.loads((board / "result.json").read_text())["protocols"]
    assert list(sections) == ["linear", "knn", "logreg", "semi_supervised", "finetune",
                              "supervised", "attributes", "distill", "transfer"]  # fmt: skip
    assert all("seconds" in section for section in sections.values())
    assert len(sections["transfer"]["absent"]) == 12
    text = (board / "scoreboard.md").read_text()
    assert "Fine-tuning (B.8)" in text and "g(h)" in text
    for name in ("map.png", "projector/projector_config.pbtxt"):
        assert (board / name).is_file(), name
    assert "Logistic regression" in capsys.readouterr().out


def test_a_run_in_model_dir_is_evaluated_in_its_place(trained):
    words = f"--mode=evaluate --protocols=knn --model_dir={trained} {SHORT} --map_points=0"
    assert command_line.main(words.split()) == 0
    assert "knn" in json.loads((trained / "result.json").read_text())["protocols"]


BAD = {
    "no encoder": ("--protocols=knn --dataset=digits", "--checkpoint"),
    "no data": ("--checkpoint={empty}", "--dataset"),
    "unknown protocol": ("--checkpoint={run} --protocols=knm", "--protocols must be one of all"),
    "not an encoder": ("--checkpoint={empty} --dataset=digits", "--checkpoint must be"),
    "no such path": ("--checkpoint={empty}/x --dataset=digits", "--checkpoint must be"),
    "batch": ("--checkpoint={run} --num_logical_cpus=1 --eval_batch_size=0", "--eval_batch_size"),
    "split": ("--checkpoint={run} --eval_split=nothing", "--eval_split must be a split"),
    "comparison": ("--checkpoint={run} --compare_with={empty}", "--compare_with must hold"),
    "cache": ("--checkpoint={run} --feature_cache={run}/flags.json/x", "--feature_cache"),
    "transfer": (
        "--checkpoint={run} --protocols=transfer --transfer_datasets=mnist",
        "--transfer_datasets must name",
    ),
    "endpoint": ("--checkpoint={run} --protocols=knn --endpoint=pool5", "endpoint"),
    "subset": (
        "--checkpoint={run} --protocols=semi_supervised --label_epochs=1 --label_fractions=200%",
        "--label_fractions must be",
    ),
    "hidden labels": (
        "--checkpoint={run} --label_subset=1%",
        "--label_subset has no effect with --mode=evaluate",
    ),
    "one set twice": ("--checkpoint={run} --eval_split=train", "--eval_split must share no image"),
    "absent set": (
        "--checkpoint={run} --protocols=transfer --transfer_datasets=dtd --data_dir={empty}",
        "--transfer_datasets must name",
    ),
    "narrow student": ("--checkpoint={run} --protocols=knn,distill", "--distill_width times"),
    "map endpoint": ("--checkpoint={run} --protocols=knn --endpoint=block_group4", "(B, D)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, trained, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    words, named = BAD[case]
    words = words.format(run=trained, empty=tmp_path / "empty")
    board = tmp_path / "board"
    target = [] if case == "no encoder" else [f"--model_dir={board}"]
    status = command_line.main(["--mode=evaluate", *words.split(), *target])
    error = capsys.readouterr().err
    assert status == 2, error
    assert len(error.strip().splitlines()) == 1 and named in error, error
    assert not (board / "result.json").exists()


def test_scores_of_other_weights_do_not_go_into_a_runs_folder(trained, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    words = f"--mode=evaluate --checkpoint={trained} --protocols=knn --model_dir={other} {SHORT}"
    assert command_line.main(words.split()) == 2
    assert "--model_dir must not be the folder of another run" in capsys.readouterr().err


def test_bad_images_are_left_out_of_every_count(trained, tmp_path, monkeypatch):
    """One image of the test split and one of the training split can't be decoded."""
    monkeypatch.setattr(semi_supervised, "fit", lambda *_: None)
    for split, count in (("train", 12), ("test", 6)):
        for index in range(count):
            place = tmp_path / "photos" / split / ("cat" if index % 2 else "dog")
            place.mkdir(parents=True, exist_ok=True)
            image = tf.io.encode_png(tf.fill((8, 8, 3), tf.constant(index * 9, tf.uint8))).numpy()
            (place / f"{index}.png").write_bytes(image[:30] if index == 4 else image)
    board = tmp_path / "board"
    words = (
        f"--mode=evaluate --checkpoint={trained} --dataset=folder:{tmp_path}/photos "
        f"--skip_bad_images --protocols=semi_supervised --label_fractions=100% "
        f"--label_epochs=1 --map_points=0 --eval_batch_size=4 --model_dir={board}"
    )
    assert command_line.main(words.split()) == 0
    found = json.loads((board / "result.json").read_text())["protocols"]["semi_supervised"]
    assert found["100%"]["images"] == 11
    with np.load(board / "predictions" / "pretrained_100pct.npz") as stored:
        assert len(stored["labels"]) == 5


def test_the_split_that_counts():
    digits = sources.open_source(sources.DataConfig(dataset="digits", image_size=8))
    named = sources.DataConfig(dataset="digits", eval_split="train[:5]", image_size=8)
    assert scoreboard.test_split(named, digits, ("knn",)) == "train[:5]"
    assert scoreboard.test_split(sources.DataConfig(image_size=8), digits, ("knn",)) == "test"

    class TrainOnly:
        splits, name = {"train": 3}, "x"

    with pytest.raises(InputError, match="eval_split must name"):
        scoreboard.test_split(sources.DataConfig(image_size=8), TrainOnly(), ("knn",))


def test_files_of_the_fixture(trained):
    assert pathlib.Path(trained, "flags.json").is_file()
