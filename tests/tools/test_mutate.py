import importlib.util
import inspect
import json
import subprocess
import sys

from tools import mutate

ARITHMETIC = "def half(x):\n    return x / 2\n\n\ndef twice(x):\n    return x + x\n"
TESTS = "from simclr_tf.odd import half\n\n\ndef test_half():\n    assert half(6) == 3\n"


def test_every_listed_module_has_tests():
    names = mutate.modules()
    assert len(names) > 40
    assert [name for name in names if not mutate.tests_of(name)] == []


def test_a_seed_draws_the_same_mutants():
    names = mutate.modules(["simclr_tf/objectives"])
    keys = [[one.key for one in mutate.draw(names, 20, seed)] for seed in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2] and len(set(keys[0])) == 20


def test_what_is_argued_away_still_exists():
    argued = json.loads(mutate.EQUIVALENT.read_text())
    names = sorted({key.partition(":")[0] for key in argued})
    assert set(argued) <= {one.key for one in mutate.draw(names, None, 0)}


def test_who_reads_a_function_again_reads_the_change(tmp_path, monkeypatch):
    """As AutoGraph does, which would run the code as it was."""
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    (tmp_path / "odd.py").write_text("# Said at the top.\n\n" + ARITHMETIC)
    (mutant,) = [one for one in mutate.draw(["odd.py"], None, 0) if "x * 2" in one.mutation.after]
    spec = mutate._Changed(mutant).find_spec("odd")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.half(6) == 12
    assert inspect.getsource(module.half) == "def half(x):\n    return x * 2\n"


def test_survivors_are_what_no_test_notices(tmp_path):
    """On a project of one module and one test."""
    for path, text in {
        "simclr_tf/__init__.py": "", "simclr_tf/odd.py": ARITHMETIC, "tests/test_odd.py": TESTS,
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    code = (
        "import pathlib, sys; from tools import mutate; mutate.ROOT = pathlib.Path(sys.argv[1]);"
        "sys.path.insert(0, sys.argv[1]); mutate.load_once = lambda: None;"
        "sys.exit(mutate.main(['simclr_tf/odd.py', '--output', sys.argv[1] + '/found.json']))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True,
                          text=True, cwd=mutate.ROOT)  # fmt: skip
    assert done.returncode == 1, done.stderr
    ends = json.loads((tmp_path / "found.json").read_text())["mutants"]
    assert {key.partition(": ")[2]: end for key, end in ends.items()} == {
        "arithmetic: x / 2 -> x * 2": "killed",
        "constant: 2 -> 3": "killed",
        "arithmetic: x + x -> x - x": "survived",
    }
    assert "66.7 % of 3 noticed" in done.stdout
