"""Small changes of a module, one at a time, that its tests ought to notice."""

from __future__ import annotations

import ast
import collections
import copy
import dataclasses
from collections.abc import Callable, Iterator

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.MatMult: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_NAMES = {
    "reduce_mean": "reduce_max", "reduce_sum": "reduce_mean", "reduce_max": "reduce_mean",
    "maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max", "all": "any",
    "any": "all", "tile": "repeat", "greater": "greater_equal", "less": "less_equal",
    "sorted": "list", "floor": "ceil", "ceil": "floor",
}  # fmt: skip
# What speaks, names or types: its wording is no behaviour that a test should pin down.
_SPOKEN = ("say", "print", "warn", "require", "require_choice", "require_valid", "InputError",
           "RunError", "ValueError", "TypeError", "TypeVar", "append_note")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One change.

    Attributes:
        line: Of the module, from 1.
        kind: Such as `comparison`.
        before: The expression or statement as it is.
        after: What it becomes; empty where it goes.
        source: The whole module, changed.
        number: 1 for the first change of this name in the module.
    """

    line: int
    kind: str
    before: str
    after: str
    source: str
    number: int = 1

    @property
    def name(self) -> str:
        """Names it across versions of a module: without the line."""
        text = f"{self.kind}: {self.before} -> {self.after or 'nothing'}"
        return text if self.number == 1 else f"{text} ({self.number})"


def mutations(source: str) -> list[Mutation]:
    """All changes of a module, in the order of its lines."""
    tree = ast.parse(source)
    found: list[Mutation] = []
    for node, kind, change in _places(tree):
        before = ast.unparse(node)
        kept = copy.copy(node.__dict__)
        change()
        after = "" if kind == "statement" else ast.unparse(node)
        changed = ast.unparse(tree)
        node.__dict__.clear()
        node.__dict__.update(kept)
        if after != before:
            line = getattr(node, "lineno", 0)
            found.append(Mutation(line, kind, _short(before), _short(after), changed))
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    numbered = []
    for one in sorted(found, key=lambda one: one.line):
        counts[one.kind, one.before, one.after] += 1
        number = counts[one.kind, one.before, one.after]
        numbered.append(dataclasses.replace(one, number=number))
    return numbered


def _short(text: str) -> str:
    return " ".join(text.split())[:100]


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, Callable[[], None]]]:
    for node in _walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
            yield (
                node,
                "comparison",
                _setting(node, ops=[_COMPARISONS[type(node.ops[0])](), *node.ops[1:]]),
            )
        elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            if not _is_text(node.left) and not _is_text(node.right):
                yield node, "arithmetic", _setting(node, op=_ARITHMETIC[type(node.op)]())
        elif isinstance(node, ast.BoolOp):
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, "logic", _setting(node, op=other)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, "logic", _setting(node, operand=ast.UnaryOp(ast.Not(), node.operand))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield node, "sign", _setting(node, op=ast.UAdd())
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            yield node, "constant", _setting(node, value=_other(node.value))
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node, "condition", _setting(node, test=ast.UnaryOp(ast.Not(), node.test))
        elif isinstance(node, ast.Call):
            yield from _of_a_call(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node, "statement", _setting(node, value=ast.Constant(None))


def _of_a_call(node: ast.Call) -> Iterator[tuple[ast.AST, str, Callable[[], None]]]:
    name = _name_of(node.func)
    if name in _NAMES:
        other = copy.copy(node.func)
        setattr(other, "attr" if isinstance(other, ast.Attribute) else "id", _NAMES[name])
        yield node, "function", _setting(node, func=other)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None and not name.endswith(("Config", "Error")):
            rest = node.keywords[:index] + node.keywords[index + 1 :]
            yield node, f"argument {keyword.arg}", _setting(node, keywords=rest)


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that compute: no docstrings, types, messages, or code that only types read."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_left_out(child):
                continue
            yield child
            yield from _walk(child)


def _is_left_out(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    call = node.value if isinstance(node, ast.Expr) else node
    return isinstance(call, ast.Call) and _name_of(call.func) in _SPOKEN


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _other(value: bool | int | float) -> bool | int | float:
    if isinstance(value, bool):
        return not value
    return value + 1 if value != 1 else 2 if isinstance(value, int) else 0.5


def _setting(node: ast.AST, **fields: object) -> Callable[[], None]:
    return lambda: node.__dict__.update(fields)
