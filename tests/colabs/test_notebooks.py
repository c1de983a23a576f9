"""The notebooks in colabs/ are clean, start with the same install cell, and run end to end."""

from __future__ import annotations

import ast
import base64
import io
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import matplotlib.image
import nbclient
import nbformat
import pytest

import simclr_tf
import simclr_tf.views
from tests.conftest import shared_folder

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "colabs").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
LIMIT_SECONDS = 600  # of a cell: far more than it takes, so that a hang ends
PICTURES = {
    "quickstart": 4, "load_encoder": 3, "finetune": 1, "import_published": 1, "photographs": 3,
    "cells": 2,
}  # fmt: skip
MOST_LINES = 70  # of code, comments and docstrings apart
# Packages that a reader knows; of the project there are `simclr_tf` and its `views` alone.
KNOWN = {"json", "os", "pathlib", "shutil", "tempfile", "numpy", "matplotlib", "IPython", "PIL",
         "sklearn", "tensorflow", "tensorflow_hub", "tf_keras"}  # fmt: skip


def read(path: pathlib.Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: pathlib.Path) -> list[str]:
    return [cell.source for cell in read(path).cells if cell.cell_type == "code"]


def test_the_six_notebooks_are_there():
    assert set(NAMES) == set(PICTURES)


# What is in git.


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_nothing_is_left_of_a_run(path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not cell.metadata
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata.language_info) == {"name"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_the_first_cells_install_and_choose_the_size(path):
    first, second = code_cells(path)[:2]
    assert first == code_cells(NOTEBOOKS[0])[0]
    assert first.startswith("# Install")
    assert second.startswith("SMALL = True")


def _project_names(tree: ast.Module) -> set[str]:
    """The names of `simclr_tf` that code uses, `views.crop` for those of its views."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "simclr_tf":
                found.add(node.attr)
            elif node.value.id == "views":
                found.add(f"views.{node.attr}")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_only_the_public_interface_is_used(path):
    tree = ast.parse("\n".join(code_cells(path)[1:]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                assert one.name == "simclr_tf" or one.name.partition(".")[0] in KNOWN, one.name
        if isinstance(node, ast.ImportFrom):
            of_views = (node.module, [one.name for one in node.names]) == ("simclr_tf", ["views"])
            assert of_views or str(node.module).partition(".")[0] in KNOWN, node.module
    public = {*simclr_tf.__all__, *(f"views.{name}" for name in simclr_tf.views.__all__)}
    used = _project_names(tree)
    assert used and used <= public, used - public


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_short(path):
    code = "\n".join(code_cells(path)[1:])
    lines = [line.strip() for line in code.splitlines()]
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    docstrings = sum(len((ast.get_docstring(node) or "").splitlines()) for node in functions)
    written = sum(1 for line in lines if line and not line.startswith("#"))
    assert written - docstrings <= MOST_LINES


def test_what_is_shortened_is_there():
    sources = "\n".join(cell for path in NOTEBOOKS for cell in code_cells(path))
    assert [whole for whole in SHORTER if whole not in sources] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_no_path_of_somebody_is_in_it(path):
    folders = "home|root|tmp|work|Users|mnt|content|usr|var|opt|data"
    for cell in read(path).cells:
        assert not re.search(rf"(?<![\w.:/*])(/({folders})/|~/)", cell.source), cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_every_picture_is_announced(path):
    """Before a cell that shows something stands a text that says what to see in it."""
    cells = read(path).cells
    for before, cell in itertools.pairwise(cells):
        if cell.cell_type == "code" and re.search(r"plt\.show|display\(Image", cell.source):
            assert before.cell_type == "markdown"
            assert "**See**" in before.source


# The install cell. TensorFlow is not needed for this.

_STAND_INS = """
import subprocess, sys, types
sys.modules["simclr_tf.startup"] = types.SimpleNamespace(load_tensorflow=lambda: None)
commands = []
subprocess.run = lambda words, check: commands.append(words)
"""
_REPORT = """
import json
print(json.dumps({"path": sys.path[0], "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"],
                  "commands": commands}))
"""


def _install(folder: pathlib.Path, source: str) -> subprocess.CompletedProcess:
    """Runs the install cell in a folder, in a process that has no simclr_tf of its own."""
    program = _STAND_INS + source + _REPORT
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "TF_"))}
    return subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("folder", [REPOSITORY, REPOSITORY / "colabs"], ids=["root", "colabs"])
def test_inside_a_checkout_nothing_is_installed(folder):
    done = _install(folder, code_cells(NOTEBOOKS[0])[0])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {"path": str(REPOSITORY), "onednn": "1", "commands": []}


def test_elsewhere_the_address_is_asked_for_in_one_sentence(tmp_path):
    done = _install(tmp_path, code_cells(NOTEBOOKS[0])[0])
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert re.fullmatch(r"RuntimeError: .*set REPOSITORY above.*\.", last)


def test_elsewhere_the_repository_is_cloned_and_its_requirements_installed(tmp_path):
    address = "https://git.example.org/simclr.git"
    source = code_cells(NOTEBOOKS[0])[0].replace('REPOSITORY = ""', f'REPOSITORY = "{address}"')
    done = _install(tmp_path, source)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    checkout = pathlib.Path(found["path"])
    clone, install = found["commands"]
    assert checkout.parent == tmp_path
    assert clone[:2] == ["git", "clone"]
    assert clone[-2:] == [address, str(checkout)]
    assert install[1:3] == ["-m", "pip"]
    assert install[-2:] == ["-r", str(checkout / "requirements.txt")]


# End to end.


def check_quickstart(found):
    for measure in ("kNN", "logistic regression"):
        assert found[f"trained {measure}"] > found[f"untrained {measure}"] + 0.2
        assert found[f"trained {measure}"] > found["chance"] + 0.3


def check_load_encoder(found):
    assert found["linear probe"] > found["chance"] + 0.3
    assert found["largest relative difference"] < 1e-5


def check_finetune(found):
    assert len(found) == 3  # chance, and what SHORTER left of it
    assert found["pretrained, then fine-tuned, 1%"] > found["from scratch, 1%"] + 0.2


def check_import_published(found):
    assert found["deviation of the import"] < 1e-5
    # The shallow ResNet-18 has 9 convolutions and 4 shortcuts, with a batch norm of 4 variables
    # each; the projection layers have 5 and 4 variables (the last one no beta), the linear head 2.
    assert found["variables restored"] == (9 + 4) * (1 + 4) + 5 + 4 + 2
    assert found["fine-tuned"] > found["published linear head"] + 0.1
    assert found["fine-tuned"] > found["frozen features, kNN"]


def check_photographs(found):
    assert found["copies found"] == 1
    # Of about 60 images that were held out, so that one is 1.6 %.
    assert found["trained retrieval"] > 1.3 * found["untrained retrieval"]
    assert found["trained rank_share"] > 1.5 * found["untrained rank_share"]


def check_cells(found):
    for images in ("X-rays", "cells"):
        assert found[f"trained, {images}"] > found[f"untrained, {images}"] + 0.08
        assert found[f"trained, {images}"] > 0.7  # chance is 0.25
    assert found["loaded, cells"] == found["trained, cells"]


# What takes most time, and how much of it shows that a notebook works.
SHORTER = {
    '{"1%": 40, "10%": 80, "100%": 150} if': '{"1%": 30} if',
    "epochs = 12 if": "epochs = 8 if",
}
CHECKS = {
    "quickstart": check_quickstart,
    "load_encoder": check_load_encoder,
    "finetune": check_finetune,
    "import_published": check_import_published,
    "photographs": check_photographs,
    "cells": check_cells,
}


@pytest.fixture
def outputs(tmp_path_factory):
    """The folder that the notebooks share, so that one pretraining serves all of them."""
    with shared_folder(tmp_path_factory, "notebooks") as folder:
        yield folder


def _shortened(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """With a network of half the blocks, and fewer and shorter trainings."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source += "\nfrom tests import shallow\n\nshallow.install()"
    for cell in notebook.cells:
        for whole, part in SHORTER.items():
            cell.source = cell.source.replace(whole, part)
    return notebook


def _pictures(notebook: nbformat.NotebookNode) -> list:
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                encoded = base64.b64decode(output["data"]["image/png"])
                found.append(matplotlib.image.imread(io.BytesIO(encoded), format="png"))
    return found


@pytest.mark.parametrize("name", list(PICTURES))
def test_notebook_runs(name, outputs, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMCLR_TF_NOTEBOOK_DIR", str(outputs))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody answers: no network
    notebook = _shortened(read(REPOSITORY / "colabs" / f"{name}.ipynb"))
    started = time.monotonic()
    nbclient.NotebookClient(
        notebook,
        timeout=LIMIT_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    found = json.loads((outputs / f"{name}.json").read_text())
    print(f"{name}: {time.monotonic() - started:.0f} s, {found}")
    pictures = _pictures(notebook)
    assert len(pictures) == PICTURES[name]
    for picture in pictures:
        assert min(picture.shape[:2]) >= 250
        assert picture[..., :3].std() > 0.05  # not an empty page
    CHECKS[name](found)
    assert not list(tmp_path.iterdir()), "outputs belong into SIMCLR_TF_NOTEBOOK_DIR"
