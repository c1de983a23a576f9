"""What operations may be, how they compare, and what a user's function may look like."""

from __future__ import annotations

import dataclasses

import pytest

from simclr_tf.errors import InputError
from simclr_tf.settings import operations as ops


def of_image(image):
    return image


def of_image_and_seed(image, seed):
    return image


class Holder:
    @staticmethod
    def inner(image):
        return image

    def __call__(self, image, seed):
        return image


def test_operations_are_values():
    assert ops.crop((0.2, 1)) == ops.crop(area=(0.2, 1.0)) != ops.crop((0.3, 1))
    assert len({ops.crop([0.2, 1]), ops.crop((0.2, 1.0)), ops.rot90(), ops.rot90()}) == 2
    assert ops.random_apply(of_image, 0.5) == ops.random_apply(ops.own(of_image))
    assert repr(ops.color(0.5)) == "color(strength=0.5, p=0.8, brightness='multiplicative')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        ops.color().p = 1


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ops.crop((0, 1)), "crop.area"),
        (lambda: ops.crop((0.5, 0.2)), "crop.area"),
        (lambda: ops.crop(0.5), "crop.area"),
        (lambda: ops.crop(aspect=(1.5, 2)), "crop.aspect"),
        (lambda: ops.flip(horizontal=False), "flip"),
        (lambda: ops.flip(vertical=1), "flip.vertical"),
        (lambda: ops.color(-1), "color.strength"),
        (lambda: ops.color(True), "color.strength"),
        (lambda: ops.color(p=1.5), "color.p"),
        (lambda: ops.color(brightness="both"), "color.brightness"),
        (lambda: ops.blur(sigma=(0, 1)), "blur.sigma"),
        (lambda: ops.rotate(0), "rotate.degrees"),
        (lambda: ops.noise(float("nan")), "noise.stddev"),
        (lambda: ops.cutout(0), "cutout.side"),
        (lambda: ops.solarize(2), "solarize.threshold"),
        (lambda: ops.random_apply(ops.rot90(), 2), "random_apply.p"),
        (lambda: ops.random_apply(ops.rot90), "views"),
        (lambda: ops.one_of(), "one_of"),
        (lambda: ops.one_of("rot90"), "views"),
        (lambda: ops.as_operations([]), "views"),
        (lambda: ops.as_operations(ops.rot90()), "views"),
        (lambda: ops.own("no name"), "views"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, name):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.name == name
    assert "\n" not in str(caught.value)


def test_the_papers_policy_as_a_list():
    assert ops.paper() == [ops.crop(), ops.flip(), ops.color(), ops.grayscale(), ops.blur()]
    assert ops.paper(0, blur=False, area=(0.3, 1)) == [ops.crop((0.3, 1)), ops.flip()]
    assert ops.paper(0.5, brightness="additive")[2] == ops.color(0.5, 0.8, "additive")


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (of_image, False),
        (of_image_and_seed, True),
        (lambda image, seed=None: image, False),
        (lambda image, *rest: image, False),
        (lambda *both: both[0], False),
        (Holder(), True),
        (abs, False),
    ],
)
def test_a_second_parameter_without_default_is_a_seed(function, wanted):
    assert ops.own(function).takes_seed is wanted


@pytest.mark.parametrize(
    "function", [lambda: 1, lambda image, seed, more: 1, lambda image, *, more: 1]
)
def test_functions_of_something_else_are_refused(function):
    with pytest.raises(InputError, match="must be a function of an image, or of an image and a"):
        _ = ops.own(function).takes_seed


def test_functions_are_found_by_their_names():
    name = f"{__name__}:of_image"
    assert ops.own(of_image).text == name
    assert ops.own(name).loaded() == ops.own(of_image)
    assert ops.own(f"{__name__}:Holder.inner").loaded().function is Holder.inner
    assert ops.own(Holder()).text == f"{__name__}:<Holder>"
    for wrong in (f"{__name__}:nothing", "no_such_module:f", f"{__name__}:__name__"):
        with pytest.raises(InputError, match="must be a function") as caught:
            ops.own(wrong).loaded()
        assert caught.value.name == wrong


def test_parts_are_what_may_be_applied():
    nested = ops.random_apply(ops.one_of(ops.blur(), ops.random_apply(ops.crop())))
    assert ops.parts(nested) == (ops.blur(), ops.crop())
