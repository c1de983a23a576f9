"""Lists of operations as texts: what is read, what is refused and where."""

from __future__ import annotations

import subprocess
import sys

import pytest

from simclr_tf.errors import InputError
from simclr_tf.settings import operations as ops
from simclr_tf.settings.view_text import LONGEST, Views, as_views, parse_views


def stain(image):
    return image


STAIN = f"{__name__}:stain"
EVERY = [
    *(kind() for kind in ops.OPERATIONS.values() if kind not in (ops.random_apply, ops.one_of)),
    ops.crop((0.2, 1)),
    ops.crop((0.2, 0.9), (0.5, 2)),
    ops.crop(aspect=(1, 1 + 1e-9)),
    ops.flip(vertical=True),
    ops.flip(horizontal=False, vertical=True),
    ops.color(0.5),
    ops.color(p=1),
    ops.color(0.1, 0.3, "additive"),
    ops.color(brightness="additive"),
    ops.grayscale(0),
    ops.blur(0.3),
    ops.blur(0.3, (1, 1.5)),
    ops.blur(sigma=(0.1, 5)),
    ops.tone(1e-5, 1 / 3),
    ops.rotate(180),
    ops.noise(0.01),
    ops.cutout(0.25),
    ops.solarize(0.9),
    ops.random_apply(ops.rot90()),
    ops.random_apply(ops.crop((0.2, 1)), 0.3),
    ops.one_of(ops.blur(), ops.solarize(0.2), ops.random_apply(ops.one_of(stain), 0)),
    ops.own(stain),
]


@pytest.mark.parametrize("operation", EVERY, ids=lambda one: one.text)
def test_a_text_is_read_as_what_it_was_written_for(operation):
    views = Views([operation, ops.rot90()], [operation])
    assert parse_views(views.text) == views
    assert parse_views(views.text).text == views.text


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("crop(0.2,1) flip(vertical) rot90 color(0.5)",
         [ops.crop((0.2, 1)), ops.flip(False, True), ops.rot90(), ops.color(0.5)], None),
        (" flip( horizontal  vertical ) ", [ops.flip(True, True)], None),
        ("crop|rot90", [ops.crop()], [ops.rot90()]),
        ("crop() crop(area=(.1 , 1e0), aspect=(1,1))",
         [ops.crop(), ops.crop((0.1, 1), (1, 1))], None),
        ("random_apply(rot90, p=0.3)", [ops.random_apply(ops.rot90(), 0.3)], None),
        (f"{STAIN} one_of(blur, {STAIN})", [stain, ops.one_of(ops.blur(), stain)], None),
    ],
)  # fmt: skip
def test_texts_as_people_write_them(text, first, second):
    assert parse_views(text) == Views(first, second)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("crop flop", 6, "there is no operation 'flop' (did you mean flip?)"),
        ("crop qqq", 6, "only crop, flip"),
        ("crop(0.2", 9, "area needs a second number, low and high"),
        ("crop(2,1)", 1, "crop.area must be greater than 0 and at most 1, not 2.0"),
        ("rot90 crop(0.2,1", 17, "the bracket of crop is not closed"),
        ("crop flip)", 10, "')' can't stand there"),
        ("color(strenth=1)", 7, "color has no 'strenth' (did you mean strength?)"),
        ("color(strength)", 15, "strength needs a value"),
        ("color(p=1 p=0)", 11, "p is given twice"),
        ("color(p=high)", 9, "p needs a number, not 'high'"),
        ("color(brightness=3)", 18, "brightness needs a word"),
        ("blur color(brightness=addtive)", 6, "did you mean additive?"),
        ("crop(area=0.1)", 11, "area needs two numbers: area=(low,high)"),
        ("flip(vertical=1)", 14, "'=' in the brackets of flip"),
        ("flip(sideways)", 6, "flip has no 'sideways'"),
        ("rot90(3)", 7, "'3' is one value too many for rot90"),
        ("solarize(0.5;0.3)", 13, "';' can't stand there"),
        ("random_apply", 1, "random_apply needs an operation in brackets"),
        ("random_apply(0.3)", 14, "'0.3' is no operation"),
        ("random_apply(crop, q)", 20, "p needs a number, not 'q'"),
        ("one_of()", 8, "')' is no operation"),
        ("one_of(crop flip)", 13, "'flip' in the brackets of one_of"),
        ("0.5", 1, "'0.5' is no operation"),
        ("", 1, "an operation is missing"),
        ("crop |", 7, "an operation is missing"),
        ("crop | flip | blur", 13, "at most two lists"),
        ("blur no_such_module:f", 6, "ModuleNotFoundError: No module named 'no_such_module'"),
        (f"{__name__}:stein", 1, "has no attribute 'stein'"),
        ("a:b:c", 4, "':' can't stand there"),
        ("1a:b", 1, "not of the form package.module:function"),
        ("m:f.<locals>.g", 1, "no text can name"),
        ("one_of(" * 9 + "blur" + ")" * 9, 57, "more than 8 operations inside each other"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(text, place, says):
    with pytest.raises(InputError) as caught:
        parse_views(text)
    assert caught.value.name == "views" and "\n" not in str(caught.value)
    assert f"character {place}: " in caught.value.constraint
    assert says in caught.value.constraint


def test_long_texts_are_refused():
    with pytest.raises(InputError, match="at most 4000 characters"):
        parse_views("crop " * LONGEST)


def test_local_functions_have_a_text_that_says_so():
    def local(image):
        return image

    for function in (local, lambda image: image):
        text = Views([function]).text
        assert text.startswith(f"{__name__}:") and "<locals>" in text
        with pytest.raises(InputError, match="no text can name; define it at the top of a module"):
            parse_views(text)


def test_one_list_or_two():
    one, two = Views([ops.crop()]), Views([ops.crop()], [ops.rot90()])
    assert Views([ops.crop()], [ops.crop()]) == one
    assert one.lists == ((ops.crop(),),)
    assert [two.of_view(i) for i in range(2)] == [(ops.crop(),), (ops.rot90(),)]
    assert one.of_view(1) == (ops.crop(),)
    assert hash(two) == hash(Views((ops.crop(),), (ops.rot90(),)))
    assert as_views(two) is two
    assert as_views("crop") == as_views([ops.crop()]) == one
    for wrong in ([], [3], [ops.crop], 7):
        with pytest.raises(InputError, match="views must"):
            as_views(wrong)


def test_reading_a_text_imports_nothing_unless_asked():
    program = (
        "import sys; from simclr_tf.settings.augment import AugmentConfig;"
        "AugmentConfig(views='crop this:d').own_views;"
        "assert 'this' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
