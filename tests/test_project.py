"""Checks of the project as a whole: layering, sizes, mirrored tests, requirements, set-up."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("simclr_tf", "flags", "export")
MAX_FILE_BYTES = 1_000_000
MAX_FUNCTION_LINES = 80
MAX_FILE_LINES = 500

# Modules without a test file of their own, with the reason.
WITHOUT_TEST_FILE: dict[str, str] = {
    "simclr_tf/__init__.py": "only names; test_importing_everything_changes_no_global_state",
    "simclr_tf/config.py": "only names",
    **{
        f"simclr_tf/settings/{area}.py": "tests/settings/test_run.py has one table for all of them"
        for area in ("data", "model", "objective", "optimizer", "training", "evaluation")
    },
    "simclr_tf/settings/devices.py": "tests/test_cluster.py",
    "simclr_tf/__main__.py": "tests/test_wheel.py",
    "simclr_tf/export/__init__.py": "a folder; tests/test_wheel.py",
    "simclr_tf/flags/__init__.py": "a folder; tests/test_wheel.py",
    "flags/program.py": "tests/test_run.py",
    "simclr_tf/run_folder.py": "names, and two calls of json_files",
    "simclr_tf/data/samples.py": "tests/test_experiment.py, which has a run at hand",
    "simclr_tf/training/teachers.py": "tests/test_experiment.py",
    "simclr_tf/training/tasks.py": "tests/training/test_losses.py has the losses themselves",
    **{
        f"simclr_tf/{module}.py": "tests/api/test_training.py, which has a run at hand"
        for module in ("api/run", "api/looks", "weights/load_keras")
    },
    "simclr_tf/weights/report.py": "one dataclass; tests/weights/test_restore.py",
    "simclr_tf/training/fit.py": "tests/modes/test_training.py, tests/protocols/test_fitting.py",
}
# The library's packages and modules from the ground up: what stands in a line imports from lines
# above it and from its own package, never from another of its line or below.
STOREYS = (
    ("text", "units"),
    ("errors", "console"),
    ("startup", "files", "array_files", "progress"),
    ("watch", "gpus"),
    ("json_files", "removal"),
    ("run_folder",),
    ("cluster",),
    ("absent_workers",),
    ("settings",),
    ("config", "views", "augment", "distribution", "objectives", "optimizers", "addons"),
    ("job", "precision"),
    ("models",),
    ("capacity",),
    ("data",),
    ("weights",),
    ("encoder",),
    ("evaluation",),
    ("report", "retrieval"),
    ("training", "doctor", "exploration"),
    ("experiment", "protocols"),
    ("modes",),
    ("studies", "automatic"),
    ("export",),
    ("api",),
    ("flags",),
    ("__main__",),
)


def _repository_files() -> list[pathlib.Path]:
    """Tracked files and those that would be: paths relative to the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    names = listing.stdout.decode().split("\0")
    return [pathlib.Path(name) for name in names if name and (REPOSITORY / name).is_file()]


def _sources(*folders: str) -> list[pathlib.Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def _parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _relative(path: pathlib.Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def _imported_modules(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all imports, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imports_any(tree: ast.AST, *modules: str) -> list[str]:
    return [
        name
        for name in _imported_modules(tree)
        if any(name == module or name.startswith(f"{module}.") for module in modules)
    ]


def _is_command_line(tree: ast.Module) -> bool:
    """Whether the module ends in `if __name__ == "__main__":`."""
    return any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in tree.body)


# Layering.


def test_the_library_knows_no_flags():
    found = {
        _relative(path): names
        for path in _sources("simclr_tf")
        if (names := _imports_any(_parse(path), "absl.flags", "absl.app", "simclr_tf.flags", "run"))
    }
    assert list(found) == ["simclr_tf/__main__.py"]


def test_exports_and_flags_have_one_name():
    """That of the wheel, so that nothing is loaded twice."""
    folders = ("simclr_tf", "flags", "export", "tests", "benchmarks", "fuzz", "tools")
    found = {_relative(path): names for path in _sources(*folders)
             if (names := _imports_any(_parse(path), "flags", "export"))}  # fmt: skip
    assert not found


def test_nothing_imports_from_above():
    storey = {name: level for level, names in enumerate(STOREYS) for name in names}
    upwards = []
    for path in _sources("simclr_tf"):
        here = path.relative_to(REPOSITORY / "simclr_tf").with_suffix("").parts[0]
        if here == "__init__":
            continue
        for name in _imported_modules(_parse(path)):
            parts = name.split(".")
            there = parts[1] if parts[0] == "simclr_tf" and len(parts) > 1 else here
            if there in storey and there != here and storey[there] >= storey[here]:
                upwards.append(f"{_relative(path)} imports {name}")
    assert not upwards


def test_flags_stop_at_the_door():
    found = {}
    for path in _sources("export"):
        tree = _parse(path)
        names = _imports_any(tree, "absl.flags", "absl.app", "simclr_tf.flags", "run")
        if names and not _is_command_line(tree):
            found[_relative(path)] = names
    assert not found, f"only command lines under export/ may import flags: {found}"


def _uses_other_keras(tree: ast.AST) -> bool:
    if _imports_any(tree, "keras", "tensorflow.keras"):
        return True
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "keras"
        and isinstance(node.value, ast.Name)
        and node.value.id in ("tf", "tensorflow")
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import tf_keras as keras\nkeras.Model()", False),
        ("import tensorflow as tf\ntf.keras.Model()", True),
        ("from tensorflow import keras", True),
        ("from tensorflow.keras import layers", True),
        ("import keras", True),
        ("def f():\n    import keras.layers", True),
    ],
)
def test_the_scan_recognises_other_keras(source, expected):
    assert _uses_other_keras(ast.parse(source)) == expected


def test_there_is_one_keras():
    paths = [*_sources(*PACKAGES), REPOSITORY / "run.py"]
    found = {_relative(path) for path in paths if _uses_other_keras(_parse(path))}
    found -= {"simclr_tf/addons.py"}  # TensorFlow Addons go by tf.keras, so it has to look
    assert not found, "write `import tf_keras as keras`"


# Importing.


def _run_python(program: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_importing_the_package_loads_nothing_heavy():
    loaded = json.loads(
        _run_python("import json, sys, simclr_tf; print(json.dumps(sorted(sys.modules)))")
    )
    heavy = {"absl", "matplotlib", "numpy", "sklearn", "tensorflow", "tf_keras"}
    assert "simclr_tf" in loaded
    assert not heavy & set(loaded)


# Dependencies load first: what they do to the process is not the package's doing.
_STATE_PROGRAM = """
import importlib, json, os, pkgutil, random, sys, warnings
import absl.flags, matplotlib, matplotlib.pyplot, numpy, sklearn.datasets, sklearn.linear_model
import tensorflow as tf, tensorflow_datasets, tensorflow_hub, tf_keras
from tensorflow.python.eager import context

def state():
    return {
        "environment": dict(os.environ),
        "flags": sorted(absl.flags.FLAGS),
        "precision": tf_keras.mixed_precision.global_policy().name,
        "float type": tf_keras.backend.floatx(),
        "image format": tf_keras.backend.image_data_format(),
        "TensorFlow seed": context.global_seed(),
        "NumPy seed": str(numpy.random.get_state()),
        "Python seed": hash(random.getstate()),
        "devices started": context.context()._initialized,
        "eager": tf.executing_eagerly(),
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "soft placement": tf.config.get_soft_device_placement(),
        "matplotlib": matplotlib.get_backend(auto_select=False),
        "warnings": len(warnings.filters),
        "path": sys.path[:],
    }

before = state()
import simclr_tf
for name in simclr_tf.__all__:
    getattr(simclr_tf, name)
for module in pkgutil.walk_packages(simclr_tf.__path__, "simclr_tf."):
    importlib.import_module(module.name)
after = state()
print(json.dumps([key for key in before if before[key] != after[key]]))
"""


def test_importing_everything_changes_no_global_state():
    assert json.loads(_run_python(_STATE_PROGRAM)) == []


# Files.


def test_asserts_decide_nothing():
    """`python -O` leaves them out: they may tell a type, and neither check input nor act."""
    allowed = (ast.Compare, ast.BoolOp)
    strange = [
        f"{_relative(path)}:{node.lineno}"
        for path in _sources(*PACKAGES)
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.Assert)
        and not isinstance(node.test, allowed)
        and not ast.unparse(node.test).startswith("isinstance(")
    ]
    assert not strange


def test_no_large_files():
    sizes = {str(path): (REPOSITORY / path).stat().st_size for path in _repository_files()}
    assert not {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES}


def _test_file_of(module: pathlib.Path) -> pathlib.Path:
    """`simclr_tf/data/splits.py` -> `tests/data/test_splits.py`; other packages keep their name."""
    parts = module.relative_to(REPOSITORY).parts
    folders = parts[1:-1] if parts[0] == "simclr_tf" else parts[:-1]
    return REPOSITORY.joinpath("tests", *folders, f"test_{module.name}")


def test_every_module_has_its_test_file():
    modules = [*_sources(*PACKAGES), REPOSITORY / "run.py"]
    missing = {
        _relative(module): _relative(_test_file_of(module))
        for module in modules
        if not _test_file_of(module).is_file()
        and _relative(module) not in WITHOUT_TEST_FILE
        and not _is_only_a_docstring(module)
    }
    assert not missing


def _is_only_a_docstring(module: pathlib.Path) -> bool:
    """A package's `__init__.py` that holds nothing to test."""
    return module.name == "__init__.py" and len(_parse(module).body) <= 1


def test_exemptions_from_testing_are_needed():
    for name in WITHOUT_TEST_FILE:
        assert (REPOSITORY / name).is_file(), name
        assert not _test_file_of(REPOSITORY / name).is_file(), name


def _function_lengths(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield length, f"{path}:{node.lineno} {node.name}"


def test_functions_and_files_are_short():
    paths = [REPOSITORY / path for path in _repository_files() if path.suffix == ".py"]
    lengths = sorted((item for path in paths for item in _function_lengths(path)), reverse=True)
    long_functions = [item for item in lengths if item[0] > MAX_FUNCTION_LINES]
    lines = {str(path): len(path.read_text().splitlines()) for path in paths}
    long_files = {name: count for name, count in lines.items() if count > MAX_FILE_LINES}
    print("longest functions:", *lengths[:10], sep="\n")
    assert not long_functions
    assert not long_files


# Requirements and packaging.


_EXTRAS = ("cuda", "dev", "docs", "heic", "huggingface", "mlflow", "onnx", "safetensors", "torch",
           "wandb")  # fmt: skip


def _requirements(name: str) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in (REPOSITORY / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt",
        *(f"requirements/{one}.txt" for one in _EXTRAS),
    ],
)
def test_requirements_are_pinned_from_both_sides(name):
    for requirement in _requirements(name):
        operators = {specifier.operator for specifier in requirement.specifier}
        both_sides = operators & {"==", "~="} or {">=", "<"} <= operators
        assert both_sides, f"{requirement} needs a compatible range"


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_required():
    required = {_normalised(item.name) for item in _requirements("requirements.txt")}
    renamed = {"absl": "absl-py", "sklearn": "scikit-learn", "PIL": "pillow",
               "grpc": "grpcio", "google": "google-cloud-storage"}  # fmt: skip
    # Asked for by name before they are imported.
    extras = {"mlflow", "wandb", "onnx", "onnxruntime", "safetensors", "tf2onnx", "torch"}
    ours = {*PACKAGES, "run", *sys.stdlib_module_names, *extras}
    missing = {}
    for path in [*_sources(*PACKAGES), REPOSITORY / "run.py"]:
        roots = {name.split(".")[0] for name in _imported_modules(_parse(path))} - ours
        distributions = {_normalised(renamed.get(root, root)) for root in roots}
        if not distributions <= required:
            missing[_relative(path)] = distributions - required
    assert not missing


def _pyproject() -> dict:
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_the_wheel_holds_every_package():
    listed = set(_pyproject()["tool"]["setuptools"]["packages"])
    folders = {path.parent for path in _sources("simclr_tf")}
    expected = {_relative(folder).replace("/", ".") for folder in folders}
    assert listed == expected


def test_versions_are_written_once():
    project = _pyproject()["project"]
    assert {"version", "dependencies"} <= set(project["dynamic"])
    assert "optional-dependencies" not in project


# The Makefile, with a stand-in for Python that only notes what it was asked to do.

_STAND_IN = """#!/bin/sh
case "$*" in
  "-m pip install"*) echo "$*" >> installs; exit "${INSTALL_STATUS:-0}" ;;
  *run.py*) echo "$*" >> runs ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the Makefile, requirements, and a virtual environment of stand-ins."""
    if shutil.which("make") is None:
        pytest.skip("make is absent")
    (tmp_path / "requirements").mkdir()
    for name in ("Makefile", "requirements.txt", "requirements/dev.txt", "requirements/docs.txt"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
        os.utime(tmp_path / name, (1e9, 1e9))
    stand_in = tmp_path / ".venv" / "bin" / "python"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text(_STAND_IN)
    stand_in.chmod(0o755)
    return tmp_path


def _make(folder: pathlib.Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    # A make that runs this test must not hand its own flags down.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    inherited = {key: value for key, value in inherited.items() if key not in ("ARGS", "MFLAGS")}
    return subprocess.run(
        ["make", *words],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _installs(folder: pathlib.Path) -> list[str]:
    return (folder / "installs").read_text().splitlines()


def test_make_demo_installs_once_and_passes_arguments(checkout):
    for _ in range(2):
        assert _make(checkout, "demo", "ARGS=--train_steps=20").returncode == 0
    assert _installs(checkout) == ["-m pip install -r requirements.txt"]
    runs = (checkout / "runs").read_text().splitlines()
    assert runs == ["run.py --mode=train_then_eval --train_steps=20"] * 2


def test_changed_requirements_are_installed_again(checkout):
    _make(checkout, "test")
    assert len(_installs(checkout)) == 2
    installed = max(path.stat().st_mtime for path in checkout.glob(".venv/.*.stamp"))
    os.utime(checkout / "requirements.txt", (installed + 1, installed + 1))  # clocks may be coarse
    _make(checkout, "test")
    assert len(_installs(checkout)) == 4


def test_a_failed_installation_leaves_no_stamp(checkout):
    failed = _make(checkout, "demo", INSTALL_STATUS="1")
    assert failed.returncode != 0
    assert not list(checkout.glob(".venv/.*.stamp"))
    assert not (checkout / "runs").exists()
    assert _make(checkout, "demo").returncode == 0
    assert len(_installs(checkout)) == 2


def test_an_unsuitable_python_is_named_in_one_line(checkout):
    shutil.rmtree(checkout / ".venv")
    done = _make(checkout, "demo", "PYTHON=/bin/false")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert "Python 3.10 to 3.13" in lines[0]
    assert not (checkout / ".venv").exists()


def test_make_help_lists_the_targets(checkout):
    listed = re.findall(r"^make (\S+)", _make(checkout, "help").stdout, flags=re.MULTILINE)
    assert listed == ["help", "demo", "test", "test-fast", "lint", "bench", "fuzz", "docs",
                      "format", "clean"]  # fmt: skip
