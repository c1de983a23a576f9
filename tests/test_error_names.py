"""What an error blames is something that a user can change: a flag, a variable, a file."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

import run
from simclr_tf.export import __main__ as export_command
from simclr_tf.flags import definitions

ROOT = pathlib.Path(run.__file__).resolve().parent
# Function -> the position of the name that it blames.
BLAMES = {"InputError": 0, "require": 1, "require_choice": 0, "check_local": 1, "check_length": 1,
          "check_reachable": 1, "check_writable": 1}  # fmt: skip
# Words that are no flag of run.py or of `python -m export`, and say what to change all the same.
KNOWN = {"flagfile", "python", "working directory"}
# Of arrays, records and pages, deeper than any setting; a caller knows them.
ELSEWHERE = {
    "--output": "report/__main__.py", "run": "report/", "export": "export/",
    "image_size, global_step": "weights/network.py", "class_names": "weights/",
    "query_block, bank_block": "evaluation/knn.py", "validation labels": "evaluation/logistic.py",
    "crop.aspect": "settings/operations.py", "flip": "settings/operations.py",
    "color.brightness": "settings/operations.py", "one_of": "settings/operations.py",
    "callbacks": "training/callbacks.py", "test_split": "protocols/library.py",
    "help": "flags/usage.py", "label": "evaluation/features.py", "replicas": "data/pipeline.py",
}  # fmt: skip
# Where settings are read and checked: here a literal name is one of them.
AT_THE_DOOR = ("modes", "studies", "protocols", "training")


def sources() -> list[pathlib.Path]:
    return [
        path for name in ("simclr_tf", "flags", "export") for path in (ROOT / name).rglob("*.py")
    ]


def flag_names() -> set[str]:
    return {*definitions.define_flags(), *export_command._define_export(),
            *export_command._define_import()}  # fmt: skip


def blamed(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every error whose name is written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            at = BLAMES.get(node.func.id)
            if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
                yield node.lineno, node.args[at].value


def passed_names(tree: ast.AST) -> set[str]:
    """Parameters of a module's functions and fields of its classes."""
    names = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return names | {
        node.target.id for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }  # fmt: skip


def is_at_the_door(path: pathlib.Path) -> bool:
    inside = path.relative_to(ROOT).parts
    if inside[0] != "simclr_tf":
        return inside[0] == "flags"
    return len(inside) == 2 or inside[1] in AT_THE_DOOR or inside[1] == "settings"


def test_errors_blame_what_can_be_changed():
    flags, strange = flag_names() | KNOWN, []
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        relative = path.relative_to(ROOT).as_posix()
        passed = set() if is_at_the_door(path) else passed_names(tree)
        for line, name in blamed(tree):
            fine = name in flags or name.isupper() or name in passed
            if not fine and ELSEWHERE.get(name, "?") not in relative:
                strange.append(f"{relative}:{line} blames {name}")
    assert not strange


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("require(x > 0, 'seed', 'must be above 0', x)", ["seed"]),
        ("raise InputError('peak', 'must be finite', x)", ["peak"]),
        ("raise InputError(path, 'must be a file', x)", []),
        ("other(1, 'seed')", []),
    ],
)
def test_the_scan_sees_names(source, expected):
    assert [name for _, name in blamed(ast.parse(source))] == expected
