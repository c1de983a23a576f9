"""Every command of the README and of the pages in docs/ can be read, and every capability runs.

Commands are shortened by flags, and run with an encoder of four residual blocks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from simclr_tf.export.__main__ import main as export_main

import run
import simclr_tf
from benchmarks import workers
from simclr_tf import cluster
from simclr_tf.config import RunConfig
from simclr_tf.flags import parsing
from simclr_tf.report.__main__ import main as report_main
from simclr_tf.settings import by_name, commands
from simclr_tf.studies import catalogue, study
from simclr_tf.studies.grid import Study
from tests import shallow, warm
from tests.conftest import shared_folder
from tests.weights import foreign_checkpoints, graphs, oracle

ROOT = pathlib.Path(run.__file__).resolve().parent
README, MAKEFILE = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
DOCS, FIXTURES = ROOT / "docs", ROOT / "tests" / "fixtures"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
SHORT = ["--train_steps=2", "--width_multiplier=0.0625", "--resnet_depth=18",
         "--train_batch_size=8", "--eval_steps=1", "--eval_batch_size=16", "--knn_bank_size=32",
         "--report=False"]  # fmt: skip
NO_IMAGENET = ["--dataset=patterns", "--image_size=32", "--train_split=train[:64]",
               "--eval_split=test[:32]"]  # fmt: skip
SHORT_BOARD = ["--logreg_values=2", "--linear_epochs=0.1", "--linear_batch_size=64",
               "--knn_neighbors=1,5", "--map_points=20"]  # fmt: skip

PUBLISHED = ("published", "weights/r50")  # these come with a depth of their own

ELSEWHERE = {  # commands with a test of their own, or none, and the reason
    "TF_CONFIG=": "test_two_workers_by_hand",
    "srun ": "test_the_slurm_script",
    "--mode=data_": "test_the_processes_of_a_data_service",
    "--use_tpu --": "test_a_tpu_that_is_not_there",
    "--num_logical_cpus": "test_command_in_a_process_of_its_own",
    "make ": "test_targets_of_make; CI calls them",
    "pip install": "CI installs the requirements; CUDA needs what is not here",
    "simclr ": "tests/test_wheel.py",
    "tensorboard": "test_tensorboard",
    "python -m fuzz": "tests/fuzz/test_session.py",
    "python -m benchmarks.": "test_benchmarks_know_their_flags; they take minutes to hours",
}
RUNTIMES = re.compile(r"onnxruntime|torchvision|huggingface_hub|\.pth")  # export/test_runtimes.py
TINY = "keras.Sequential([keras.layers.Conv2D(8, 3, 2, input_shape=(32, 32, 3))])"
SHELL = re.compile(r"^(cd |status=|case |esac|exit |;;|if |#|\d+ \||[\w./-]+ *\)$)")


def all_commands() -> list[str]:
    """Every line of every block of shell, and every command within a line of text."""
    found = []
    for text in (README, *PAGES.values()):
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
            found += block.replace("\\\n", " ").splitlines()
        plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        found += re.findall(r"`((?:python (?:run\.py|-m)|make|tensorboard|pip) [^`]*)`", plain)
    joined = (" ".join(command.split()) for command in found)
    return list(dict.fromkeys(one for one in joined if one and not SHELL.match(one)))


def has_place(command: str) -> bool:
    return any(part in command for part in ELSEWHERE)


def run_commands() -> list[str]:
    return [one for one in all_commands()
            if one.startswith("python run.py ") and not has_place(one)]  # fmt: skip


def export_commands() -> list[str]:
    found = (one.partition(" #")[0].strip() for one in all_commands())
    return list(dict.fromkeys(one for one in found if one.startswith("python -m export ")))


def imports() -> str:
    """The command that brings in published weights."""
    return next(one for one in export_commands() if "import" in one and "weights/r50" in one)


def report_commands() -> list[str]:
    return [one for one in all_commands() if one.startswith("python -m simclr_tf.report ")]


def test_every_command_is_run_somewhere():
    known = {*run_commands(), *report_commands()}
    others = (one for one in all_commands() if one not in known and not has_place(one))
    assert [one for one in others if not one.startswith("python -m export")] == []


def snippets() -> list[str]:
    """Every block of Python, and every call within a line of text."""
    found = []
    for text in (README, *PAGES.values()):
        found += re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        calls = re.findall(r"`(simclr_tf\.\w+\([^`]*\))`", plain)
        found += [f"import simclr_tf\n{' '.join(call.split())}\n" for call in calls]
    return [one for one in dict.fromkeys(found) if not RUNTIMES.search(one)]


@pytest.fixture(autouse=True)
def two_cells(monkeypatch):
    """The first two cells of a study show that its command runs; tests/studies has whole ones."""
    whole = catalogue.study

    def shortened(name: str) -> Study:
        study = whole(name)
        return dataclasses.replace(study, grid=lambda base, grid: study.grid(base, grid)[:2])

    monkeypatch.setattr(catalogue, "study", shortened)


@contextlib.contextmanager
def depth_of(command: str):
    """The true depth, where a command reads a published checkpoint."""
    published = any(name in command for name in PUBLISHED)
    shallow.install(shallow.WHOLE if published else shallow.FOUR)
    try:
        yield
    finally:
        shallow.install()


@pytest.fixture
def workplace(tmp_path_factory):
    """The folder that the commands run in, with the photos that they mention."""
    with shared_folder(tmp_path_factory, "readme") as folder:
        if not (folder / "DIR").exists():
            fill(folder)
        yield folder


def fill(folder: pathlib.Path) -> None:
    (folder / "DIR").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 30, 3), np.uint8)
    for index, image in enumerate(pixels):
        split, label = ("test" if index < 8 else "train"), ("cat" if index % 2 else "dog")
        path = folder / "photos" / split / label / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_jpeg(image).numpy())
    listing = json.loads((FIXTURES / "foreign" / "tf1_variables_r18.json").read_text())
    narrow = {name: [n if n <= 10 else n // 8 for n in shape] for name, shape in listing.items()}
    arrays = foreign_checkpoints.random_arrays(narrow, seed=0)
    prefix = str(folder / "published" / "model.ckpt-20")
    graphs.write_tf1_graph(prefix, arrays, oracle.Architecture(18))


def test_readme_shows_the_commands_that_matter():
    commands = run_commands()
    assert len(commands) >= 8
    assert re.search(r"```sh\nmake demo[^\n]*\nmake test[^\n]*\n", README)
    assert "run.py --mode=train_then_eval" in MAKEFILE


def values(command: str, *flags: str) -> list[str]:
    return [word.partition("=")[2] for word in shlex.split(command) if word.split("=")[0] in flags]


def needs(command: str) -> list[str]:
    """What a command reads that another one has to leave behind."""
    read = values(command, "--checkpoint", "--teacher", "--embeddings", "--compare_with")
    only_reads = "--checkpoint" not in command and (
        "--mode=eval " in command or "--mode=evaluate --model_dir" in command
    )
    return read + (values(command, "--model_dir") if only_reads else [])


def leaves(command: str) -> list[str]:
    return [] if "--mode=eval " in command else values(command, "--model_dir", "--output")


def shorter(words: list[str]) -> list[str]:
    """Flags that make a command short, of those that it reads: it would refuse the others."""
    given: dict = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    given |= {name: False for name, text in given.items() if text == "False"}
    mode = given.get("mode", "train")
    idle = commands.idle(mode, {**by_name.flatten(RunConfig("x")), **given})
    names = commands.reads(mode) - idle.keys()
    flags = [*SHORT, *(SHORT_BOARD if mode == "evaluate" else [])]
    return [flag for flag in flags if flag[2:].partition("=")[0] in names]


def run_command(command: str, request) -> None:
    """Runs a command of the README, after those that make what it reads (in any order of tests)."""
    for name in needs(command):
        if name == "weights/r50" and not os.path.exists(name):
            with depth_of(name):
                assert export_main(shlex.split(imports())[3:]) == 0
        elif not os.path.exists(name):
            maker = next(c for c in run_commands() if name in leaves(c) and name not in needs(c))
            run_command(maker, request)
    words = shlex.split(command)[2:]
    extra = shorter(words)
    if "--recipe=evaluate_cpu" in words:  # all of it runs in tests/modes/test_scoreboard.py
        extra.append("--protocols=knn")
    if "--mode=study" in words:
        extra.append("--study_budget=2")
    if "cifar" in command and "folder" not in command:
        shared = request.getfixturevalue("shared_dir")
        extra.append(f"--data_dir={shared / 'data' / 'tfds'}")
    if "--checkpoint=runs/cifar" in words:
        extra += ["--train_split=train[:500]", "--eval_split=test[:100]"]
    if "imagenet" in command:
        extra += NO_IMAGENET
    if "--gradient_cache_chunk" in command:
        extra.append("--gradient_cache_chunk=4")
    if "published" in command or "weights/r50" in command:
        extra.append("--width_multiplier=0.125")
    if "--model_dir=/tmp" in command:
        extra.append("--model_dir=runs/reference")
    with depth_of(command):
        assert run.main([*words, *extra]) == 0, command


def have_a_run(request) -> None:
    if not os.path.exists("runs/a"):
        run_command(next(c for c in run_commands() if "runs/a" in leaves(c)), request)


def capabilities(command: str) -> set[tuple[str, ...]]:
    """What a command of run.py shows to work: its mode, and where its weights come from.

    That each flag does what it says is shown where it is at home, other ways to train among them
    (tests/modes/test_training.py), and that the lines can be read in `test_command_can_be_read`.
    """
    given = dict(word.lstrip("-").partition("=")[::2] for word in shlex.split(command)[2:])
    mode, trains = given.get("mode", "train"), given.get("train_mode", "pretrain")
    trains = "finetune" if trains == "finetune" else "pretrain"
    weights = given.get("checkpoint", "")
    origin = "of others" if weights.startswith(PUBLISHED) else weights and "run"
    return {("mode", "train" if mode == "train_then_eval" else mode, trains),
            ("weights", origin), ("compared", "compare_with" in given)}  # fmt: skip


def commands_that_run() -> list[str]:
    """The fewest, or nearly so, that have all capabilities of all commands."""
    commands, chosen = run_commands(), []
    left = set().union(*map(capabilities, commands))
    while left:
        chosen.append(max(commands, key=lambda one: (len(capabilities(one) & left), -len(one))))
        left -= capabilities(chosen[-1])
    return chosen


@pytest.mark.parametrize("command", run_commands())
def test_command_can_be_read(command, tmp_path, monkeypatch):
    """Beside empty runs of the names that it reads."""
    monkeypatch.setattr("simclr_tf.automatic.recipe.settle", lambda *given: {})
    monkeypatch.chdir(tmp_path)
    for name in needs(command):
        pathlib.Path(name).mkdir(parents=True)
        pathlib.Path(name, "flags.json").write_text('{"dataset": "patterns"}')
    words = shlex.split(command)[2:]
    if "--help" not in words:
        parsing.parse_command_line(words)


@pytest.mark.parametrize("command", commands_that_run())
def test_command(command, workplace, monkeypatch, request):
    monkeypatch.chdir(workplace)
    if "--help" in command:
        assert run.main(shlex.split(command)[2:]) == 0
        return
    run_command(command, request)


@pytest.mark.parametrize("command", export_commands())
def test_export_command(command, workplace, monkeypatch, request):
    monkeypatch.chdir(workplace)
    have_a_run(request)
    output = values(command, "--output")
    if output and os.path.exists(output[0]):
        return  # what starts from it has run this command before
    if "--format=reference" in command:  # runs here are narrower than its flags can say
        monkeypatch.setattr("simclr_tf.export.reference.check_possible", lambda config, path: None)
    with depth_of(command):
        assert export_main(shlex.split(command)[3:]) == 0


@pytest.mark.parametrize("command", report_commands())
def test_report_command(command, workplace, monkeypatch, request):
    monkeypatch.chdir(workplace)
    words = shlex.split(command)[3:]
    have_a_run(request)
    for folder in (word for word in words if not word.startswith("--")):
        if not os.path.exists(folder):
            shutil.copytree("runs/a", folder)
    assert report_main(words) == 0


def small(command: str, folder: pathlib.Path) -> list[str]:
    """The words of a command of run.py for a process of its own, without ImageNet."""
    words = shlex.split(command)
    after = words[words.index("run.py") + 1 :]
    after = [word for word in after if not word.startswith("--data_dir=")]  # nobody has it
    return [sys.executable, str(ROOT / "run.py"), *after, *SHORT, *NO_IMAGENET,
            f"--model_dir={folder}"]  # fmt: skip


def commands_with(part: str) -> list[str]:
    return [command for command in all_commands() if part in command]


@pytest.mark.parametrize("command", commands_with("--num_logical_cpus="))
def test_command_in_a_process_of_its_own(command, tmp_path):
    done = warm.run(small(command, tmp_path / "run"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").is_file()


def test_two_workers_by_hand():
    """They name one job, each its own place in it; tests/test_multi_worker.py runs such a job."""
    jobs = []
    for index, command in enumerate(commands_with("TF_CONFIG=")):
        setting = re.search(r"TF_CONFIG='([^']*)'", command)[1]
        assert cluster.num_tasks({"TF_CONFIG": setting}) == 2
        named = json.loads(setting)
        assert named["task"]["index"] == index
        jobs.append((named["cluster"], command.partition("python run.py ")[2]))
        assert parsing.parse_command_line(shlex.split(jobs[-1][1])).mode.startswith("train")
    assert jobs[0] == jobs[1]


@pytest.mark.parametrize("status, requeued", [(0, False), (1, False), (143, True)])
def test_the_slurm_script(tmp_path, status, requeued):
    """With stand-ins for Slurm's programs: what is started, and what follows from its status."""
    (script,) = re.findall(r"```sh\n(#!/bin/bash.*?)```", PAGES["scale.md"], flags=re.DOTALL)
    (tmp_path / "job.sh").write_text(script.replace("/shared/simclr_tf", str(tmp_path)))
    for name, body in (("srun", f'echo "$@" > srun.txt; exit {status}'),
                       ("scontrol", 'echo "$@" > scontrol.txt')):  # fmt: skip
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
                   "SLURM_CPUS_PER_TASK": "64"}  # fmt: skip
    done = subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=environment)
    assert done.returncode == status
    started = (tmp_path / "srun.txt").read_text()
    assert started.startswith("--cpus-per-task=64 .venv/bin/python run.py --mode=train_then_eval")
    parsing.parse_command_line(shlex.split(started)[3:])
    asked = tmp_path / "scontrol.txt"
    assert asked.exists() == requeued
    assert not requeued or asked.read_text() == "requeue 7\n"


@pytest.mark.parametrize("command", commands_with("--use_tpu --"))
def test_a_tpu_that_is_not_there(command, tmp_path, capsys):
    words = [*shlex.split(command)[2:], f"--model_dir={tmp_path}/run", *NO_IMAGENET]
    assert run.main(words) != 0
    assert "TPU" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_processes_of_a_data_service(tmp_path):
    """The dispatcher and both kinds of workers start, and stop when they are asked to."""
    commands = commands_with("--mode=data_")
    head, worker = (address.rpartition(":")[2] for address in workers.free_addresses(2))
    processes = []
    try:
        for command in commands:
            words = re.sub("0.0.0.0|head|decode2", "127.0.0.1", command)
            words = words.replace("5050", head).replace("5051", worker)
            processes.append(warm.Program(
                [sys.executable, "run.py", *shlex.split(words)[2:]], cwd=ROOT, text=True,
                stdout=warm.PIPE))  # fmt: skip
            lines = [processes[-1].stdout.readline() for _ in range(2)]
            assert lines[0].startswith("simclr_tf: data_") and lines[1], command
        assert [process.poll() for process in processes] == [None] * 3
    finally:
        for process in processes:
            process.terminate()
    assert [process.wait(60) for process in processes] == [0] * 3


def test_tensorboard(workplace, monkeypatch, request):
    """`--inspect` lists what it finds instead of serving it."""
    monkeypatch.chdir(workplace)
    have_a_run(request)
    asked = {tuple(word for word in shlex.split(command) if "RUN" not in word)
             for command in commands_with("tensorboard --logdir")}  # fmt: skip
    (words,) = {words if len(words) > 2 else (*words, "runs") for words in asked}
    program = pathlib.Path(sys.executable).with_name(words[0])
    done = subprocess.run([program, "--inspect", *words[1:]], capture_output=True, text=True)
    assert done.returncode == 0 and "train/contrast_loss" in done.stdout


@pytest.mark.parametrize("command", commands_with("make "))
def test_targets_of_make(command):
    words = [*shlex.split(command, comments=True), "--dry-run"]
    assert subprocess.run(words, cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("command", commands_with("python -m benchmarks."))
def test_benchmarks_know_their_flags(command):
    """They take minutes to hours, some of them the reference or PyTorch: only flags are read."""
    words = shlex.split(command.replace("[CASE ...]", ""))
    done = warm.run(
        [sys.executable, *words[1:3], "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for flag in re.findall(r"(--\w+)", command):
        assert flag in done.stdout, flag


def have_exported(folder: str, request) -> None:
    """Runs the first command of `python -m export` that writes to a folder."""
    have_a_run(request)
    if not os.path.exists(folder):
        command = next(c for c in export_commands() if folder in values(c, "--output"))
        assert export_main(shlex.split(command)[3:]) == 0


@pytest.mark.parametrize("snippet", snippets())
def test_snippet(snippet, workplace, monkeypatch, request):
    """With paths and data sets that are here, and what a block takes for given."""
    monkeypatch.chdir(workplace)
    have_exported("encoder", request)
    have_exported("release", request)
    shorter = re.sub(r'(?<=load_encoder\()"simclrv2/[^"]*"|"path"', '"runs/a"', snippet)
    shorter = shorter.replace("encoder.keras", "release/encoder.keras")
    shorter = re.sub(r"saved_model/\d+", f"saved_model/{max(os.listdir('runs/a/saved_model'))}",
                     shorter)  # fmt: skip
    if "simclr_tf.evaluate(" in snippet:  # CIFAR-10 is not here; the embedded set has both splits
        shorter = shorter.replace("image_size=32", "image_size=8").replace("cifar10", "digits")
    if "simclr_tf.study(" in snippet:  # the command beside it runs one
        studied = []
        monkeypatch.setattr(study, "run_study", lambda command, say: studied.append(command))
        exec(shorter, {"simclr_tf": simclr_tf})
        assert studied[0].study.study == "temperature" and studied[0].run.model_dir == "runs/t"
        return
    if "# Keras 3" in snippet:
        done = warm.run([sys.executable, "-c", shorter], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return
    flat = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Flatten()])
    a, b = tf.random.normal((2, 4, 8), seed=0)
    names = {"images": tf.zeros((2, 32, 32, 3)), "path": "runs/a", "FOLDER": "runs/a"}
    if "simclr_tf.finetune(" in snippet:  # the command beside it does so
        monkeypatch.setattr(simclr_tf, "finetune", mock.create_autospec(simclr_tf.finetune))
        names |= {"labels": [0, 1]}
    if "simclr_tf.pretrain(" in snippet:
        shorter = shorter.replace("steps=2000", "steps=2, report=False").replace("=128", "=8")
        shorter = re.sub(r"keras\.applications\.\w+\([^()]*(\([^()]*\))?[^()]*\)", TINY, shorter)
        arrays = np.zeros((40, 32, 32, 3), np.uint8)
        names |= {"images": arrays, "arrays": arrays, "classes": np.arange(40) % 2}
    exec(shorter, names | {"model": flat, "data_dir": None, "hidden_a": a, "hidden_b": b})


def test_the_site_is_made_without_a_warning(tmp_path):
    """All pages and the reference, from what is installed."""
    source = tmp_path / "docs"
    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("_build", "api"))
    sphinx = [sys.executable, "-m", "sphinx", "-q"]
    checked = [*sphinx, "-W", "--keep-going", "-b", "dummy", source, tmp_path / "nothing"]
    done = warm.run(checked, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (source / "api" / "simclr_tf.nt_xent.rst").is_file()
    # Writing the reference's pages takes longer than reading all of it; the others are enough.
    without = ["-D", "exclude_patterns=api.md,api", "-D", "autosummary_generate=0"]
    written = [*sphinx, "-b", "html", *without, source, site := tmp_path / "site"]
    assert warm.run(written, cwd=ROOT, capture_output=True).returncode == 0
    made = {page.relative_to(site).as_posix()[:-5]: page for page in site.rglob("*.html")}
    assert set(made) >= {name[:-3] for name in PAGES} - {"api"}
    for page in made.values():  # nothing comes from elsewhere
        assert not re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="(?:https?:)?//', page.read_text()
        )
