"""Encoders and views of one's own on the command line, from training to evaluation."""

import json
import os

import numpy as np
import pytest

import run
import simclr_tf

WORDS = [
    "--mode=train_then_eval", "--dataset=digits", "--image_size=8",
    "--encoder=tests.api.nets:tiny", "--views=crop(0.3,1) rot90 tests.api.nets:dimmer",
    "--train_steps=2", "--train_batch_size=16", "--eval_steps=1", "--eval_batch_size=32",
    "--warmup_epochs=0", "--linear_probe=False", "--knn_bank_size=64",
    "--quality_images=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "own"
    assert run.main([*WORDS, f"--model_dir={folder}"]) == 0
    return folder


def test_a_run_evaluates_exports_and_describes_itself(folder):
    result = json.loads((folder / "result.json").read_text())
    assert {"eval/knn_20_accuracy", "untrained/knn_20_accuracy"} <= result.keys()
    page = (folder / "report.html").read_text()
    assert "tests.api.nets:tiny" in page and "nets:dimmer" in page and "resnet_depth" not in page
    images = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    trained = simclr_tf.load_encoder(folder)(images)["final_avg_pool"]
    exported = simclr_tf.load_encoder(folder / "saved_model" / "2")(images)["final_avg_pool"]
    np.testing.assert_allclose(trained, exported, atol=1e-6)
    card = (folder / "saved_model/2/assets.extra/README.md").read_text()
    assert card.startswith("# SimCLR tests.api.nets:tiny, trained on `digits`")


def test_other_modes_read_it(folder, tmp_path):
    board = ["--mode=evaluate", f"--checkpoint={folder}", "--dataset=digits", "--protocols=knn",
             "--knn_neighbors=1", "--map_points=0", f"--model_dir={tmp_path}"]  # fmt: skip
    assert run.main(board) == 0
    assert run.main(["--mode=eval", f"--model_dir={folder}", "--eval_timeout_secs=0"]) == 0
    assert os.path.exists(tmp_path / "scoreboard.md")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--mode=train", "--model_dir=RUN"],
            "--encoder must be given again: the record of a run imports no code",
        ),
        ([*WORDS, "--sk_ratio=0.1"], "--sk_ratio has no effect with --encoder=tests.api.nets:tiny"),
        (
            [*WORDS, "--encoder=resnet", "--model_dir=RUN"],
            "--model_dir must hold a run with the same settings",
        ),
        ([*WORDS, "--encoder=nets"], "--encoder must be resnet, applications/NAME"),
        ([*WORDS, "--channels=4"], "--channels must be 3, as many as the images of digits have"),
        ([*WORDS, "--views=crop("], "--views can't be read at character 6"),
    ],
)
def test_bad_command_lines_end_in_one_line(words, text, folder, capsys, tmp_path):
    words = [word.replace("RUN", str(folder)) for word in words]
    assert run.main([f"--model_dir={tmp_path / 'new'}", *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and text in said[0]
