"""The command line from the outside: exit status, what it says, what it leaves behind."""

from __future__ import annotations

import errno
import io
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import run
from simclr_tf import console
from tests import warm

ROOT = pathlib.Path(run.__file__).resolve().parent
# The smallest run there is: 1/16 width, a few steps, 8 px images.
TINY = (
    "--resnet_depth=18 --width_multiplier=0.0625 --image_size=8 --train_batch_size=16 "
    "--train_steps=3 --warmup_epochs=0 --eval_batch_size=64 --use_blur=False --report=False"
)


def write_images(folder: pathlib.Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 10, 12, 3), np.uint8)
    for index, image in enumerate(pixels):
        (folder / f"{index:02d}.jpg").write_bytes(tf.io.encode_jpeg(image).numpy())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Folders of images: labelled with a test split, unlabeled, with a truncated file, empty."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 12), ("test", 5)):
        for label in ("cat", "dog"):
            write_images(root / "labelled" / split / label, count, seed=len(label + split))
    write_images(root / "unlabelled", 20)
    write_images(root / "broken", 20)
    whole = (root / "broken" / "07.jpg").read_bytes()
    (root / "broken" / "07.jpg").write_bytes(whole[: len(whole) // 2])
    write_images(root / "stray" / "train" / "cat", 3)
    (root / "stray" / "cover.jpg").write_bytes(whole)
    write_images(root / "link", 3)
    (root / "link" / "lost.jpg").symlink_to(root / "nowhere.jpg")
    (root / "empty").mkdir()
    (root / "file").write_text("not a folder")
    return root


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A finished run on the labelled folder."""
    folder = tmp_path_factory.mktemp("run") / "finished"
    line = f"--mode=train_then_eval --dataset=folder:{photos}/labelled --model_dir={folder} {TINY}"
    assert run.main(line.split()) == 0
    return folder


LABELLED = "--dataset=folder:{photos}/labelled"
# Command line -> what the one line on stderr has to name.
BAD_INPUT = {
    "unknown flag": ("--colour=1", "colour"),
    "misspelt flag": ("--temperatur=1", "did you mean --temperature?"),
    "wrong type": ("--train_steps=many", "--train_steps"),
    "not a flag": ("train", "--name=value"),
    "unknown mode": ("--mode=dance", "--mode"),
    "unknown recipe": ("--recipe=pancakes", "--recipe must be one of"),
    "temperature zero": (LABELLED + " --temperature=0", "--temperature"),
    "temperature negative": (LABELLED + " --temperature=-1", "--temperature"),
    "optimizer": (LABELLED + " --optimizer=sgd", "--optimizer"),
    "learning rate": (LABELLED + " --learning_rate=-0.1", "--learning_rate"),
    "depth": (LABELLED + " --resnet_depth=20", "--resnet_depth"),
    "width": (LABELLED + " --width_multiplier=-1", "--width_multiplier"),
    "head": (LABELLED + " --proj_head_mode=deep", "--proj_head_mode"),
    "selector": (LABELLED + " --ft_proj_selector=9", "--ft_proj_selector"),
    "crop area": (LABELLED + " --crop_area_min=0", "--crop_area_min"),
    "jitter": (LABELLED + " --color_jitter_strength=-1", "--color_jitter_strength"),
    "seed": (LABELLED + " --seed=-1", "--seed"),
    "precision": (LABELLED + " --precision=float8", "--precision"),
    "image too small": (LABELLED + " --image_size=24 --stem=imagenet", "--image_size"),
    "freezing in pretraining": (LABELLED + " --fine_tune_after_block=2",
                                "--fine_tune_after_block"),
    "batch of one": (LABELLED + " --train_batch_size=1", "--train_batch_size"),
    "fewer images than a batch": (LABELLED + " --train_batch_size=512",
                                  "--train_batch_size must not exceed the 24 images"),
    "unknown data set": ("--dataset=cifar11", "--dataset"),
    "missing training split": (LABELLED + " --train_split=everything", "--train_split"),
    "missing evaluation split": (LABELLED + " --eval_split=validation", "--eval_split"),
    "broken split expression": (LABELLED + " --train_split=train[:ten]", "--train_split"),
    "absent folder": ("--dataset=folder:{photos}/absent", "--dataset"),
    "folder without its path": ("--dataset=folder", "--data_dir"),
    "no images": ("--dataset=folder --data_dir={photos}/empty", "--data_dir"),
    "a file as folder": ("--dataset=folder --data_dir={photos}/file", "--data_dir"),
    "unlabelled fine-tuning": ("--dataset=folder:{photos}/unlabelled --train_mode=finetune",
                               "--dataset must have labels"),
    "unlabelled evaluation": ("--mode=eval --dataset=folder:{photos}/unlabelled --model_dir="
                              "{photos}/empty --train_mode=supervised", "--dataset must have"),
    "absent checkpoint": (LABELLED + " --checkpoint={photos}/ckpt-1", "--checkpoint"),
    "folder without checkpoint": (LABELLED + " --checkpoint={photos}/empty", "--checkpoint"),
    "checkpoint of another encoder": (LABELLED + " --checkpoint={finished} "
                                      "--width_multiplier=0.125", "--checkpoint must fit"),
    "unwritable folder": (LABELLED + " --model_dir={photos}/file/run", "--model_dir"),
    "eval name with a path": (LABELLED + " --eval_name=../x", "--eval_name"),
    "huge number": (LABELLED + " --knn_bank_size=99999999999999999999", "--knn_bank_size"),
    "stray image": ("--dataset=folder:{photos}/stray", "cover.jpg"),
    "broken link": ("--dataset=folder:{photos}/link", "lost.jpg"),
    "no TPU": (LABELLED + " --use_tpu=True", "--use_tpu"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(case, photos, finished, tmp_path, capsys):
    line, named = BAD_INPUT[case]
    folder = tmp_path / "run"
    words = f"--mode=train --model_dir={folder} {TINY} {line}".format(
        photos=photos, finished=finished
    )
    status = run.main(words.split())
    captured = capsys.readouterr()
    assert status == console.BAD_INPUT
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("run.py: error: ")
    assert named in captured.err
    assert "Traceback" not in captured.err
    assert not folder.exists()


LONG = "/".join(["y" * 100] * 45)
EMBED = "--mode=embed --checkpoint={finished} --dataset=folder:{photos}/labelled"
# Command line -> the flag whose path can't be meant: elsewhere, absent or too long.
BAD_PATHS = {
    "remote run": (LABELLED + " --model_dir=hdfs://a/b", "--model_dir"),
    "remote run to evaluate": (LABELLED + " --mode=eval --model_dir=hdfs://a/b", "--model_dir"),
    "web address as a run": (LABELLED + " --model_dir=https://a/b", "--model_dir"),
    "remote study": (LABELLED + " --mode=study --study=losses --model_dir=s3://a/b",
                     "--model_dir must be a local path"),
    "remote data": ("--dataset=cifar10 --data_dir=s3://a/b", "--data_dir"),
    "remote folder": ("--dataset=folder --data_dir=hdfs://a/b", "--data_dir must be a local path"),
    "remote named folder": ("--dataset=folder:http://a/b", "--dataset must be a local path"),
    "remote checkpoint": (LABELLED + " --checkpoint=hdfs://a/b", "--checkpoint"),
    "remote teacher": (LABELLED + " --train_mode=distill --teacher=s3://a/b", "--teacher"),
    "remote cache": ("--mode=evaluate --checkpoint={finished} --feature_cache=s3://a/b",
                     "--feature_cache must be a local path"),
    "remote other": ("--mode=evaluate --checkpoint={finished} --compare_with=s3://a/b",
                     "--compare_with"),
    "remote output": (EMBED + " --output=s3://a/b.npz", "--output must be a local path"),
    "remote embeddings": ("--mode=neighbors --embeddings=s3://a/b.npz",
                          "--embeddings must be a local path"),
    "remote page": ("--mode=explore --embeddings=a.npz --output=s3://a/b.html",
                    "--output must be a local path"),
    "remote encoder": (EMBED.replace("{finished}", "hdfs://a/b") + " --output=b.npz",
                       "--checkpoint"),
    "mistyped data": ("--dataset=digits --data_dir={photos}/typo", "--data_dir must be an exist"),
    "mistyped run": (LABELLED + " --mode=eval --model_dir={photos}/typo",
                     "--model_dir must be an existing folder with mode=eval"),
    "long name": (LABELLED + " --model_dir=run/" + "x" * 300, "--model_dir must be made of names"),
    "long run": (LABELLED + f" --model_dir={LONG}", "--model_dir must have at most"),
    "long data": (f"--dataset=folder --data_dir={LONG}", "--data_dir must have at most"),
    "long output": (EMBED + f" --output={LONG}.npz", "--output must have at most"),
    "long embeddings": (f"--mode=neighbors --embeddings={LONG}.npz", "--embeddings must have at"),
    "long cache": ("--mode=evaluate --checkpoint={finished} --feature_cache=" + LONG,
                   "--feature_cache must have at most"),
    "long checkpoint": (LABELLED + f" --checkpoint={LONG}", "--checkpoint"),
    "peak beyond numbers": (LABELLED + " --learning_rate=1e308", "--learning_rate must be at"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PATHS)
def test_a_path_that_cannot_be_meant_names_its_flag_and_makes_nothing(
    case, photos, finished, tmp_path, capsys, monkeypatch
):
    line, named = BAD_PATHS[case]
    monkeypatch.chdir(tmp_path)
    before = sorted(photos.rglob("*"))
    trains = not re.search("--mode=(evaluate|embed|neighbors|explore)", line)
    start = f"--model_dir=run {TINY} " if trains else ""
    words = f"{start}{line}".format(photos=photos, finished=finished).split()
    assert run.main(words) == console.BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and len(error) < 1000, error
    assert error.startswith(f"run.py: error: {named}")
    assert not list(tmp_path.iterdir()) and sorted(photos.rglob("*")) == before


def test_another_configuration_in_an_existing_run_is_refused(finished, photos, capsys):
    before = sorted(p.name for p in finished.iterdir())
    line = f"--dataset=folder:{photos}/labelled --model_dir={finished} {TINY} --temperature=0.7"
    assert run.main(line.split()) == console.BAD_INPUT
    assert "temperature=0.1 there, 0.7 here" in capsys.readouterr().err
    assert sorted(p.name for p in finished.iterdir()) == before


def test_a_truncated_image_is_named_or_left_out_and_unlabelled_images_pretrain(
    photos, tmp_path, capsys
):
    """Two commands of a folder without labels; what else is left out: tests/test_experiment.py."""
    line = f"--mode=train_then_eval --dataset=folder:{photos}/broken --model_dir={tmp_path}/r"
    words = [*line.split(), *TINY.split()]
    assert run.main(words) == console.BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "broken/07.jpg must be a readable" in error
    assert run.main([*words, "--skip_bad_images"]) == 0
    out = capsys.readouterr().out
    assert "1 undecodable image is left out" in out and "no labels in" in out
    assert (tmp_path / "r" / "saved_model" / "3").is_dir()


def test_a_finished_run_has_the_references_files(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"checkpoint", "ckpt-3.index", "result.json", "result_3.json", "flags.json",
            "config.json", "curves.png", "views.png", "saved_model"} <= names  # fmt: skip
    assert any(name.startswith("events.out.tfevents") for name in names)
    reading = {"value_range": None, "antialias": True}  # of a folder
    record = finished / "saved_model" / "3" / "assets.extra" / "simclr_tf.json"
    for place in (finished / "config.json", record):
        assert json.loads(place.read_text())["reading"] == reading
    result = json.loads((finished / "result.json").read_text())
    assert result["global_step"] == 3
    for key in ("eval/label_top_1_accuracy", "eval/label_top_5_accuracy",
                "eval/regularization_loss", "eval/knn_20_accuracy"):  # fmt: skip
        assert key in result
    assert json.loads((finished / "flags.json").read_text())["train_steps"] == 3
    module = tf.saved_model.load(str(finished / "saved_model" / "3"))
    outputs = module(tf.zeros([2, 20, 30, 3]), trainable=False)
    assert outputs["final_avg_pool"].shape == (2, 32)


def test_resuming_a_finished_run_changes_nothing(finished, photos, capsys):
    checkpoint = finished / "ckpt-3.index"
    written = checkpoint.stat().st_mtime_ns
    line = f"--mode=train --dataset=folder:{photos}/labelled --model_dir={finished} {TINY}"
    assert run.main(line.split()) == 0
    assert "resuming at step 3" in capsys.readouterr().out
    assert checkpoint.stat().st_mtime_ns == written


def test_eval_mode_needs_only_the_run(finished, capsys):
    assert run.main(["--mode=eval", f"--model_dir={finished}", "--eval_name=again"]) == 0
    assert "evaluated step 3" in capsys.readouterr().out
    again = json.loads((finished / "again" / "result.json").read_text())
    first = json.loads((finished / "result.json").read_text())
    same = {key: first[key] for key in again}
    assert again == pytest.approx(same, abs=1e-6)


def test_fine_tuning_starts_from_a_run(finished, photos, tmp_path, capsys):
    line = (
        f"--mode=train_then_eval --train_mode=finetune --dataset=folder:{photos}/labelled {TINY} "
        f"--model_dir={tmp_path}/tuned --checkpoint={finished} --fine_tune_after_block=4 "
        "--optimizer=momentum --zero_init_logits_layer"
    )
    assert run.main(line.split()) == 0
    out = capsys.readouterr().out
    assert "restored" in out and "not used: projection_head" in out
    assert "the linear head starts at zero" in out
    assert "Linear head, top-1" in out


def test_an_interrupt_saves_and_says_how_to_go_on(photos, tmp_path):
    """That the same command goes on from there: tests/training/test_interruption.py."""
    folder = tmp_path / "run"
    words = (
        f"--mode=train --dataset=folder:{photos}/labelled --model_dir={folder} {TINY} "
        "--train_steps=100000 --checkpoint_steps=50000"
    ).split()
    # Interrupted by its own progress, not by a timer: a busy machine may need minutes to start.
    program = (
        "import _thread, sys, run\n"
        "from simclr_tf.progress import Progress\n"
        "update, calls = Progress.update, []\n"
        "def counted(self, *args):\n"
        "    update(self, *args)\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3:\n"
        "        _thread.interrupt_main()\n"
        "Progress.update = counted\n"
        "sys.exit(run.main(sys.argv[1:]))"
    )
    done = warm.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == console.INTERRUPTED, done.stderr
    assert f"--model_dir={folder} resumes" in done.stderr
    step = int(next(folder.glob("ckpt-*.index")).name.split("-")[1].split(".")[0])
    assert step >= 3


def test_first_line_comes_before_tensorflow_is_loaded(tmp_path):
    program = (
        "import sys\n"
        "from simclr_tf.flags import program\n"
        "def first(*args, **kwargs):\n"
        "    sys.stdout.write(f\"{'tensorflow' in sys.modules} {args[0]}\")\n"
        "    sys.exit(0)\n"
        "program.say = first\n"
        "program.main(['--model_dir=' + sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "r")], cwd=ROOT, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("False simclr_tf: train in")


def test_two_replicas_need_a_batch_that_divides(photos, tmp_path):
    words = (
        f"--mode=train_then_eval --dataset=folder:{photos}/labelled --model_dir={tmp_path}/run "
        f"{TINY} --num_logical_cpus=2 --train_batch_size=15"
    ).split()
    done = warm.run(
        [sys.executable, "run.py", *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == console.BAD_INPUT, done.stderr
    assert "--train_batch_size must be a multiple of the 2 replicas" in done.stderr


def test_help_for_a_reader_that_stops_early():
    program = [sys.executable, run.__file__, "--help"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_help_is_grouped(capsys):
    assert run.main(["--help=all"]) == 0
    out = capsys.readouterr().out
    assert out.index("\nData:") < out.index("\n  --dataset") < out.index("\nHardware:")
    assert run.main(["--mode=embed", "--help"]) == 0
    assert "--mode=embed --checkpoint=" in capsys.readouterr().out
    assert run.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("simclr_tf ")


def test_images_of_the_training_are_no_test(finished, photos, tmp_path, capsys):
    line = f"--mode=eval --dataset=folder:{photos}/labelled/train --checkpoint={finished} {TINY}"
    same = ["--eval_split=train", f"--model_dir={tmp_path}/run"]
    assert run.main([*line.split(), *same]) == 0
    out = capsys.readouterr().out
    assert "holds training images" in out and "kNN, k" not in out


def test_a_random_head_is_neither_scored_nor_exported(finished, tmp_path, capsys):
    write_images(tmp_path / "three" / "train" / "a", 3)
    for name in ("b", "c"):
        write_images(tmp_path / "three" / "train" / name, 3, seed=ord(name))
        write_images(tmp_path / "three" / "test" / name, 3, seed=ord(name) + 9)
    line = (
        f"--mode=eval --dataset=folder:{tmp_path}/three --model_dir={tmp_path}/run "
        f"--checkpoint={finished} {TINY} --train_batch_size=4"
    )
    assert run.main(line.split()) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "eval/knn_20_accuracy" in result and "eval/label_top_1_accuracy" not in result
    assert "SavedModel" not in capsys.readouterr().out


class _ReaderGone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_a_training_that_nobody_hears_ends_as_any_other(photos, tmp_path, monkeypatch):
    """`python run.py | head -7`, or a log on a full disk."""
    line = f"--mode=train --dataset=folder:{photos}/labelled --model_dir={tmp_path} {TINY}"
    monkeypatch.setattr(sys, "stdout", _ReaderGone())
    monkeypatch.setattr(sys, "stderr", _ReaderGone())
    assert run.main(line.split()) == 0
    assert (tmp_path / "ckpt-3.index").exists() and (tmp_path / "saved_model" / "3").is_dir()
    (events,) = tmp_path.glob("*tfevents*")
    notes = [
        value.tensor.string_val[0].decode()
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag == "note"
    ]
    assert notes == ["the output could not be written (Broken pipe): lines are lost"]
