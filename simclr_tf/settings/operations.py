"""Operations on images as they are written down: names and numbers, without TensorFlow.

What each of them does to pixels is in `simclr_tf.augment.operations`. Every operation can be
compared, hashed, and written as the `text` that `simclr_tf.settings.view_text` reads.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from simclr_tf.errors import InputError, one_line, require, require_choice
from simclr_tf.settings.checks import POSITIVE_SHARE, SHARE, Range, limited, limits_of

BRIGHTNESS_MODES = ("multiplicative", "additive")
Pair: TypeAlias = tuple[float, float]
OWN_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_STRENGTH = Range(0, 10)  # the paper's s: 0 to 1; hues are through at 2.5
_ASPECT = Range(0.01, 100)
_SIGMA = Range(0.01, 100)  # px
_ANGLE = Range(0, 180, above=True)  # degrees


@dataclasses.dataclass(frozen=True)
class Operation:
    """One step on the way from an image to a view.

    Images on this way are float32 (H, W, C) in [0, 1]; C is any number unless an operation says
    otherwise.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, name = getattr(self, field.name), f"{self.name}.{field.name}"
            limits = limits_of(self, field.name)
            if str(field.type) == "bool":
                require(isinstance(value, bool), name, "must be true or false", value)
            elif str(field.type) == "Pair":
                object.__setattr__(self, field.name, _pair(name, value, limits))
            elif limits is not None:
                object.__setattr__(self, field.name, _number(name, value, limits))

    @property
    def name(self) -> str:
        """The word for it, `crop`."""
        return type(self).__name__

    @property
    def text(self) -> str:
        """As `parse_views` reads it: `crop(0.2,1)`; values that are the default are left out."""
        words: list[str] = []
        in_order = True  # so far every value stands, so that no name is needed
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                in_order = False
                continue
            pair = isinstance(value, tuple)
            shown = ",".join(map(_plain, value)) if pair else _plain(value)
            if in_order and not isinstance(value, str):
                words.append(shown)
            else:
                words.append(f"{field.name}=({shown})" if pair else f"{field.name}={shown}")
        return f"{self.name}({','.join(words)})" if words else self.name


@dataclasses.dataclass(frozen=True)
class crop(Operation):
    """A random crop, resized bicubically to the size of the view and clipped (Appendix A).

    Attributes:
        area: Smallest and largest share of the image's area, in (0, 1]; uniform.
        aspect: Smallest and largest ratio of width to height, relative to that of the image; from
            at most 1 to at least 1.
    """

    area: Pair = limited((0.08, 1.0), POSITIVE_SHARE)
    aspect: Pair = limited((3 / 4, 4 / 3), _ASPECT)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.aspect[0] <= 1 <= self.aspect[1], "crop.aspect",
                "must reach from at most 1 to at least 1", self.aspect)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class flip(Operation):
    """Mirrors the image with probability 0.5 along each direction.

    Attributes:
        horizontal: Left to right.
        vertical: Top to bottom.
    """

    horizontal: bool = True
    vertical: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.horizontal or self.vertical, "flip", "must be horizontal or vertical",
                (self.horizontal, self.vertical))  # fmt: skip

    @property
    def text(self) -> str:
        """The directions by their names."""
        if self == flip():
            return self.name
        return f"flip({'horizontal,' if self.horizontal else ''}vertical)"


@dataclasses.dataclass(frozen=True)
class color(Operation):
    """Brightness, contrast, saturation and hue in a random order (Appendix A); three channels.

    Attributes:
        strength: The paper's s, 0 to 10: factors lie in [1 - 0.8s, 1 + 0.8s], the hue turns by up
            to 0.2s of the circle.
        p: Probability of being applied.
        brightness: `multiplicative` (the released code) or `additive` (the paper's text).
    """

    strength: float = limited(1.0, _STRENGTH)
    p: float = limited(0.8, SHARE)
    brightness: str = "multiplicative"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("color.brightness", self.brightness, BRIGHTNESS_MODES)


@dataclasses.dataclass(frozen=True)
class grayscale(Operation):
    """The luma in all channels; three channels.

    Attributes:
        p: Probability of being applied.
    """

    p: float = limited(0.2, SHARE)


@dataclasses.dataclass(frozen=True)
class blur(Operation):
    """Gaussian blur (Appendix A).

    The kernel has 10 % of the view's side, as in the paper, so that nothing happens below 20 px.

    Attributes:
        p: Probability of being applied.
        sigma: Smallest and largest standard deviation in pixels, 0.01 to 100; uniform.
    """

    p: float = limited(0.5, SHARE)
    sigma: Pair = limited((0.1, 2.0), _SIGMA)


@dataclasses.dataclass(frozen=True)
class tone(Operation):
    """Brightness (a factor) and contrast in a random order, alike in all channels.

    Attributes:
        strength: As that of `color`, whose two factors these are.
        p: Probability of being applied.
    """

    strength: float = limited(1.0, _STRENGTH)
    p: float = limited(0.8, SHARE)


@dataclasses.dataclass(frozen=True)
class rot90(Operation):
    """Turns by 0, 90, 180 or 270 degrees, each as likely as the others."""


@dataclasses.dataclass(frozen=True)
class rotate(Operation):
    """Turns about the centre by a uniform angle, bilinearly; the image is mirrored at its borders.

    Attributes:
        degrees: Largest angle in either direction, above 0 and at most 180.
    """

    degrees: float = limited(15.0, _ANGLE)


@dataclasses.dataclass(frozen=True)
class noise(Operation):
    """Adds independent normal noise to every value.

    Attributes:
        stddev: Standard deviation, 0 to 1, where images lie in [0, 1].
    """

    stddev: float = limited(0.1, SHARE)


@dataclasses.dataclass(frozen=True)
class cutout(Operation):
    """Blackens a square around a random point; it may reach beyond the image.

    Attributes:
        side: Of the square, as a share of the image's shorter side, in (0, 1].
    """

    side: float = limited(0.5, POSITIVE_SHARE)


@dataclasses.dataclass(frozen=True)
class solarize(Operation):
    """Inverts the values at and above a threshold.

    Attributes:
        threshold: In [0, 1].
    """

    threshold: float = limited(0.5, SHARE)


@dataclasses.dataclass(frozen=True)
class equalize(Operation):
    """Evens out the histogram of every channel, in 256 levels."""


@dataclasses.dataclass(frozen=True)
class sobel(Operation):
    """The strength of edges in every channel."""


@dataclasses.dataclass(frozen=True)
class motion_blur(Operation):
    """Averages along a line of random direction, 10 % of the view long; nothing below 20 px."""


@dataclasses.dataclass(frozen=True)
class own(Operation):
    """A function of the user's; functions in lists become this by themselves.

    It gets an image, float32 (H, W, C) in [0, 1], and, where its second parameter has no default, a
    seed, int64 (2,), for TensorFlow's stateless random operations. It works in a graph and returns
    an image of the same type and shape, finite; what leaves [0, 1] is cut off.

    Attributes:
        function: The function, or its name `package.module:function`, which is imported when views
            are about to be made.
    """

    function: Callable[..., Any] | str

    def __post_init__(self) -> None:
        if isinstance(self.function, str):
            require(OWN_NAME.fullmatch(self.function) is not None, "views",
                    "must name functions as package.module:function", self.function)  # fmt: skip
        else:
            require(callable(self.function), "views", "must hold operations and functions",
                    self.function)  # fmt: skip

    @property
    def text(self) -> str:
        """`package.module:function`; `<` and `>` in it say that no import leads to the function."""
        function = self.function
        if isinstance(function, str):
            return function
        name = getattr(function, "__qualname__", None)
        module = getattr(function, "__module__", None) or "builtins"
        if name is None:
            return f"{type(function).__module__}:<{type(function).__qualname__}>"
        return f"{module}:{name}"

    def loaded(self) -> own:
        """With the function itself.

        Raises:
            InputError: It can't be imported, or is no function.
        """
        if not isinstance(self.function, str):
            return self
        module, _, name = self.function.partition(":")
        try:
            found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        except Exception as error:  # whatever a module does while it is imported
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise InputError(self.function, "must be a function that can be imported",
                             reason) from error  # fmt: skip
        require(callable(found), self.function, "must be a function", found)
        return own(found)

    @property
    def takes_seed(self) -> bool:
        """Whether the function wants a seed beside the image.

        Raises:
            InputError: It needs no argument, or more than two.
        """
        try:
            signature = inspect.signature(cast(Callable[..., Any], self.function))
        except (TypeError, ValueError):  # some of C's
            return False
        for count in (1, 2):
            try:
                signature.bind(*range(count))
            except TypeError:
                continue
            return count == 2
        raise InputError(self.text, "must be a function of an image, or of an image and a seed",
                         str(signature))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class random_apply(Operation):
    """Applies an operation with a probability.

    Attributes:
        operation: An operation or a function.
        p: Its probability.
    """

    operation: Operation
    p: float = limited(0.5, SHARE)

    def __post_init__(self) -> None:
        object.__setattr__(self, "operation", as_operation(self.operation))
        super().__post_init__()

    @property
    def text(self) -> str:
        """The operation's text, and the probability unless it is 0.5."""
        p = "" if self.p == 0.5 else f",{_plain(self.p)}"
        return f"{self.name}({self.operation.text}{p})"


@dataclasses.dataclass(frozen=True, init=False)
class one_of(Operation):
    """Applies one of several operations, each as likely as the others.

    Attributes:
        operations: Operations or functions.
    """

    operations: tuple[Operation, ...]

    def __init__(self, *operations: Operation | Callable[..., Any]):
        require(len(operations) > 0, "one_of", "must have an operation to choose", operations)
        object.__setattr__(self, "operations", tuple(map(as_operation, operations)))

    @property
    def text(self) -> str:
        """The operations' texts."""
        return f"{self.name}({', '.join(one.text for one in self.operations)})"


OPERATIONS: dict[str, type[Operation]] = {
    one.__name__: one
    for one in (crop, flip, color, grayscale, blur, tone, rot90, rotate, noise, cutout, solarize,
                equalize, sobel, motion_blur, random_apply, one_of)
}  # fmt: skip
Step: TypeAlias = Operation | Callable[..., Any]


def as_operation(step: Step) -> Operation:
    """An operation as it is; a function as `own`.

    Raises:
        InputError: It is neither.
    """
    if isinstance(step, Operation):
        return step
    known = next((name for name, kind in OPERATIONS.items() if kind is step), None)
    require(known is None, "views", f"must hold operations: write {known}()", step)
    return own(step)


def as_operations(steps: Sequence[Step]) -> tuple[Operation, ...]:
    """A list of operations and functions.

    Raises:
        InputError: It is no list, is empty, or holds something else.
    """
    require(isinstance(steps, list | tuple) and len(steps) > 0, "views",
            "must be a list of at least one operation or function", steps)  # fmt: skip
    return tuple(map(as_operation, steps))


def parts(operation: Operation) -> tuple[Operation, ...]:
    """The operations inside one that chooses, or that one itself."""
    if isinstance(operation, random_apply):
        return parts(operation.operation)
    if isinstance(operation, one_of):
        return tuple(part for one in operation.operations for part in parts(one))
    return (operation,)


def paper(
    strength: float = 1.0,
    blur: bool = True,
    area: Pair = (0.08, 1.0),
    brightness: str = "multiplicative",
) -> list[Operation]:
    """The paper's policy as a list (Appendix A).

    Example:
        `[*views.paper(0.5, blur=False), views.rot90()]`

    Args:
        strength: The paper's s, 0 to 10; 0 leaves out colour distortion and grayscale.
        blur: Whether there is blur.
        area: Of the crops, see `crop`.
        brightness: See `color`.
    """
    colors: list[Operation] = [color(strength, brightness=brightness), grayscale()]
    blurs: list[Operation] = [OPERATIONS["blur"]()] if blur else []
    return [crop(area), flip(), *(colors if strength else []), *blurs]


def _number(name: str, value: Any, limits: Range) -> float:
    sound = isinstance(value, int | float) and not isinstance(value, bool)
    require(sound, name, "must be a number", value)
    require(value in limits, name, str(limits), value)
    return float(value)


def _pair(name: str, value: Any, limits: Range | None) -> Pair:
    assert limits is not None
    require(isinstance(value, list | tuple) and len(value) == 2, name,
            "must be two numbers, low and high", value)  # fmt: skip
    low, high = (_number(name, one, limits) for one in value)
    require(low <= high, name, "must be two numbers, low and high", value)
    return low, high


def _plain(value: Any) -> str:
    """The shortest text that is read as the same value."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
