"""What the pages list, and where their links lead."""

from __future__ import annotations

import doctest
import re

import numpy as np
import pytest
import tensorflow as tf

import simclr_tf
from simclr_tf.settings import recipes
from tests.test_documentation import DOCS, PAGES, README


def test_recipes_are_all_described():
    for name in recipes.recipe_names():
        assert f"`{name}`" in PAGES["recipes.md"], name


def test_the_names_of_the_library_are_all_described():
    for name in simclr_tf.__all__:
        assert name == "__version__" or f"`{name}`" in PAGES["api.md"], name


def test_public_names_have_pages_of_their_own():
    pages = set(re.findall(r"^   simclr_tf\.(\w+)$", PAGES["api.md"], flags=re.MULTILINE))
    assert pages == {*simclr_tf.__all__, "views"} - {"__version__"}


@pytest.mark.parametrize("name", [name for name in simclr_tf.__all__ if name != "__version__"])
def test_each_name_has_an_example_and_those_that_need_nothing_run(name):
    thing = getattr(simclr_tf, name)
    assert "Example:" in thing.__doc__
    known = {"simclr_tf": simclr_tf, "np": np, "tf": tf}
    test = doctest.DocTestParser().get_doctest(thing.__doc__, known, name, None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_pages_are_linked_from_the_first_one():
    tree = re.findall(r"```{toctree}\n(.*?)```", PAGES["index.md"], flags=re.DOTALL)
    listed = {line for block in tree for line in block.split("\n") if line and line[0] != ":"}
    assert {f"{name}.md" for name in listed} == set(PAGES) - {"index.md"}


def test_links_lead_somewhere():
    for name, text in {"../README.md": README, **PAGES}.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        prose = re.sub(r"`[^`\n]*`", "", prose)  # an index and a call are no link
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
            if "://" not in target:
                assert (DOCS / name).parent.joinpath(target).exists(), (name, target)
