"""Lists of operations as a text, and back: `crop(0.2,1) flip(vertical) rot90 color(0.5)`.

Without TensorFlow, so that a setting can be checked before anything is loaded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from simclr_tf.errors import InputError, did_you_mean, require
from simclr_tf.settings.operations import (
    OPERATIONS,
    OWN_NAME,
    Operation,
    Step,
    as_operations,
    one_of,
    own,
    random_apply,
)

LONGEST = 4000  # characters
_DEEPEST = 8  # operations inside each other
_TOKEN = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.:]))"
    r"|(?P<word>[\w.<][\w.<>]*(?::[\w.<>]*)?)|(?P<sign>[(),=|])|(?P<blank>\s+)"
)


@dataclasses.dataclass(frozen=True)
class Views:
    """How the views of an image are made.

    Example:
        `Views([views.crop((0.2, 1)), views.rot90(), views.color(0.5)])`

    Attributes:
        first: Operations (`simclr_tf.views`) and functions, in their order, that make `view_0`, and
            all views where there is no other list.
        second: Those that make `view_1`; None: the same as `first`, which an equal list becomes.

    Raises:
        InputError: A list is empty or holds something else.
    """

    first: Sequence[Step]
    second: Sequence[Step] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", as_operations(self.first))
        if self.second is not None:
            second = as_operations(self.second)
            object.__setattr__(self, "second", None if second == self.first else second)

    @property
    def lists(self) -> tuple[tuple[Operation, ...], ...]:
        """One list of operations, or two that differ."""
        given = (self.first,) if self.second is None else (self.first, self.second)
        return tuple(map(as_operations, given))

    def of_view(self, index: int) -> tuple[Operation, ...]:
        """The operations of a view."""
        return self.lists[index % len(self.lists)]

    @property
    def text(self) -> str:
        """What `parse_views` reads, with the modules and names of functions."""
        return " | ".join(" ".join(one.text for one in steps) for steps in self.lists)


def as_views(given: Views | Sequence[Step] | str) -> Views:
    """Views as they are, from one list of operations and functions, or from a text.

    Raises:
        InputError: It is something else; see `parse_views`.
    """
    if isinstance(given, Views):
        return given
    return parse_views(given) if isinstance(given, str) else Views(given)


def parse_views(text: str, load: bool = True) -> Views:
    """Reads lists of operations.

    Example:
        `parse_views("crop(0.2,1) flip(vertical) random_apply(rot90, 0.3) mine.views:stain")`

    Args:
        text: Operations with blanks between them; their values in order or by name, with commas;
            `|` between the list of the first view and that of the second. Functions are
            `package.module:function`.
        load: Whether functions are imported; otherwise that is left to the first image, so that
            reading a text runs no code.

    Raises:
        InputError: The text can't be read, with the place; a function can't be imported.
    """
    require(isinstance(text, str), "views", "must be a text", text)
    require(len(text) <= LONGEST, "views", f"must have at most {LONGEST} characters", len(text))
    parser = _Parser(text, load)
    first = parser.steps()
    second = parser.steps() if parser.take("|") else None
    if parser.token.text:
        more = ": there are at most two lists" if parser.token.text == "|" else ""
        parser.refuse(f"{parser.token.text!r} can't stand there{more}")
    return Views(first, second)


class _Token(NamedTuple):
    kind: str  # a group of `_TOKEN`; "end"
    text: str
    place: int  # of its first character, from 1


class _Parser:
    def __init__(self, text: str, load: bool):
        self._text, self._load, self._depth = text, load, 0
        self._tokens, at = [], 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                self.refuse(f"{text[at]!r} can't stand there", at + 1)
            if match.lastgroup != "blank":
                self._tokens.append(_Token(str(match.lastgroup), match.group(), at + 1))
            at = match.end()
        self._next = 0

    @property
    def token(self) -> _Token:
        """The one that is looked at."""
        if self._next < len(self._tokens):
            return self._tokens[self._next]
        return _Token("end", "", len(self._text) + 1)

    def refuse(self, reason: str, place: int | None = None) -> NoReturn:
        """Raises `InputError` with the place."""
        at = self.token.place if place is None else place
        raise InputError("views", f"can't be read at character {at}: {reason}", self._text)

    def take(self, sign: str) -> bool:
        """Passes over this sign if it comes next."""
        if self.token.kind != "sign" or self.token.text != sign:
            return False
        self._next += 1
        return True

    def steps(self) -> list[Operation]:
        """A list of operations, up to `|` or the end."""
        found = []
        while self.token.kind == "word":
            found.append(self.operation())
        if not found or self.token.kind == "number":
            self.refuse(f"{self.token.text!r} is no operation" if self.token.text
                        else "an operation is missing")  # fmt: skip
        return found

    def operation(self) -> Operation:
        """An operation with what stands in its brackets."""
        token = self.token
        if token.kind != "word":
            self.refuse("an operation is missing" if not token.text
                        else f"{token.text!r} is no operation")  # fmt: skip
        self._next += 1
        if ":" in token.text:
            return self._function(token)
        if token.text not in OPERATIONS:
            known = did_you_mean(token.text, OPERATIONS) or f", only {', '.join(OPERATIONS)}"
            self.refuse(f"there is no operation {token.text!r}{known}", token.place)
        kind = OPERATIONS[token.text]
        self._depth += 1
        if self._depth > _DEEPEST:
            self.refuse(f"more than {_DEEPEST} operations inside each other", token.place)
        try:
            if issubclass(kind, random_apply | one_of):
                return self._chooser(kind, token)
            values = self._values(kind) if self.take("(") else {}
            return kind(**values)
        except InputError as error:
            if error.name == "views":
                raise
            constraint = f"{error.name} {error.constraint}, not {error.received!r}"
            self.refuse(constraint, token.place)
        finally:
            self._depth -= 1

    def _function(self, token: _Token) -> Operation:
        if "<" in token.text:
            self.refuse(f"{token.text} is a local function or an object, which no text can name; "
                        "define it at the top of a module", token.place)  # fmt: skip
        if not OWN_NAME.fullmatch(token.text):
            self.refuse(f"{token.text!r} is not of the form package.module:function", token.place)
        function = own(token.text)
        try:
            return function.loaded() if self._load else function
        except InputError as error:
            self.refuse(f"{token.text} {error.constraint} ({error.received})", token.place)

    def _chooser(self, kind: type[random_apply] | type[one_of], token: _Token) -> Operation:
        if not self.take("("):
            self.refuse(f"{token.text} needs an operation in brackets", token.place)
        if kind is one_of:
            found = [self.operation()]
            while self.take(","):
                found.append(self.operation())
            self._close(token.text)
            return one_of(*found)
        operation, p = self.operation(), {}
        if self.take(","):
            if self.token.text == "p":
                self._next += 1
                if not self.take("="):
                    self.refuse("p needs a value, p=0.5")
            p = {"p": self._number("p")}
        self._close(token.text)
        return random_apply(operation, **p)

    def _close(self, name: str) -> None:
        if not self.take(")"):
            self.refuse(f"{self.token.text!r} in the brackets of {name}" if self.token.text
                        else f"the bracket of {name} is not closed")  # fmt: skip

    def _number(self, name: str) -> float:
        token = self.token
        if token.kind != "number":
            self.refuse(f"{name} needs a number" + (f", not {token.text!r}" if token.text else ""))
        self._next += 1
        return float(token.text)

    def _values(self, kind: type[Operation]) -> dict[str, Any]:
        """What stands in the brackets, by the names of the fields."""
        fields = {field.name: field for field in dataclasses.fields(kind)}
        flags = [name for name, field in fields.items() if str(field.type) == "bool"]
        free = list(fields)
        values: dict[str, Any] = {}
        while not self.take(")"):
            token = self.token
            if token.text in flags:
                self._next += 1
                values = {**dict.fromkeys(flags, False), **values, token.text: True}
            elif token.kind == "number":
                if not free:
                    self.refuse(f"{token.text!r} is one value too many for {kind.__name__}")
                name = free[0]
                values[name] = self._value(fields[name], closed=False)
                free.remove(name)
            elif token.kind == "word":
                self._next += 1
                if token.text not in fields:
                    known = did_you_mean(token.text, fields) or (
                        f", only {', '.join(fields)}" if fields else ""
                    )
                    self.refuse(f"{kind.__name__} has no {token.text!r}{known}", token.place)
                if token.text in values:
                    self.refuse(f"{token.text} is given twice", token.place)
                if not self.take("="):
                    self.refuse(f"{token.text} needs a value: {token.text}=...")
                values[token.text] = self._value(fields[token.text], closed=True)
                free = []
            else:
                self._close(kind.__name__)
            separated = self.take(",") or self.token.text == ")"
            if not separated and self.token.kind not in ("word", "number"):
                self._close(kind.__name__)
        return values

    def _value(self, field: dataclasses.Field, closed: bool) -> Any:
        """A value of a field; of a pair both numbers, in brackets of their own if `closed`."""
        if str(field.type) == "str":
            token = self.token
            if token.kind != "word":
                self.refuse(f"{field.name} needs a word")
            self._next += 1
            return token.text
        if str(field.type) != "Pair":
            return self._number(field.name)
        if closed and not self.take("("):
            self.refuse(f"{field.name} needs two numbers: {field.name}=(low,high)")
        low = self._number(field.name)
        self.take(",")
        if self.token.kind != "number":
            self.refuse(f"{field.name} needs a second number, low and high")
        high = self._number(field.name)
        if closed:
            self._close(field.name)
        return low, high
