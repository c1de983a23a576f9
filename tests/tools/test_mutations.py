import ast

import pytest

from tools.mutations import mutations

MODULE = '''"""Doc 1."""
from x import y

LIMIT: int = 7

def f(a, b=False, *, key=None):
    """Doc 2 < 3."""
    if a < 3 and not b:
        say("at most 3")
        raise ValueError(f"{a + 1}")
    move(a)
    return reduce_mean(a * b, axis=1) if key is None else -a
'''


def names(source):
    return [one.name for one in mutations(source)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a < b", "comparison: a < b -> a <= b"),
        ("a is None", "comparison: a is None -> a is not None"),
        ("a + b", "arithmetic: a + b -> a - b"),
        ("a and b", "logic: a and b -> a or b"),
        ("not a", "logic: not a -> not not a"),
        ("x = -a", "sign: -a -> +a"),
        ("x = 0.25", "constant: 0.25 -> 1.25"),
        ("x = True", "constant: True -> False"),
        ("x = 1 if a else b", "condition: 1 if a else b -> 1 if not a else b"),
        ("x = max(a, b)", "function: max(a, b) -> min(a, b)"),
        ("x = layer(a, training=t)", "argument training: layer(a, training=t) -> layer(a)"),
        ("os.fsync(d)", "statement: os.fsync(d) -> nothing"),
    ],
)
def test_kinds(code, expected):
    assert expected in names(code)


@pytest.mark.parametrize(
    "code",
    ['"""a < b"""', "import a", "raise E(a + 1)", "x = f'{a + 1}'", "assert a < b", 'x = a + "b"',
     "say(a + 1)", "def f(a: 1) -> 2: ...", "@f(1)\ndef g(): ..."],
)  # fmt: skip
def test_what_is_said_or_typed_stays(code):
    assert names(code) == []


def test_every_change_is_one_and_can_be_compiled():
    found = mutations(MODULE)
    plain = ast.unparse(ast.parse(MODULE))
    assert len({one.name for one in found}) == len(found) > 10
    for one in found:
        compile(one.source, "module", "exec")
        assert one.source != plain
        assert MODULE.splitlines()[one.line - 1].strip()
    assert ast.unparse(ast.parse(MODULE)) == plain


def test_the_same_change_twice_has_two_names():
    assert names("x = 5\ny = 5") == ["constant: 5 -> 6", "constant: 5 -> 6 (2)"]
