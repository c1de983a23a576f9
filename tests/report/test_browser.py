"""The pages in a real browser, see tests/chromium.py."""

from __future__ import annotations

import os

import numpy as np
import pytest

from simclr_tf.report import comparison, run_page
from simclr_tf.settings import recipes
from simclr_tf.studies import catalogue, output, plan
from simclr_tf.studies.grid import ENTROPY, PROBE, PROBE_Z
from tests.chromium import (
    COLORS_OF_TEXT,
    MARK,
    WIDTHS,
    contrast,
    find,
    open_page,
    screenshot,
    start,
)
from tests.studies import made_up

from .conftest import made_up_examples, write_run

pytestmark = MARK


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of a run, of two, and of studies, by name."""
    root = tmp_path_factory.mktemp("pages")
    runs = [write_run(root / "first"), write_run(root / "a-second-run-with-a-long-name", seed=1,
                                                 changes={"temperature": 0.5})]  # fmt: skip
    made_up_examples(count=300, size=32).write(str(runs[0]))
    for run in runs:
        run_page.write_report(run)
    comparison.write_comparison(runs, str(root / "comparison.html"))
    studies = {f"study-{name}": _study(root / name, name) for name in ("augmentation", "losses")}
    return {"run": runs[0] / "report.html", "comparison": root / "comparison.html", **studies}


def _study(folder, name):
    """The page of a study that nobody ran, whose cells have pages."""
    study = catalogue.study(name)
    base = recipes.recipe("quickstart", model_dir=str(folder))
    rng = np.random.default_rng(0)
    results = made_up.results(name, lambda cell: {PROBE: rng.random(), PROBE_Z: 0.3, ENTROPY: 4.0})
    settled = plan.Plan(study, base, tuple(results.cells), (0, 1), 10_000)
    for cell in results.cells:
        page = folder / "cells" / plan.run_name(cell, 0) / "report.html"
        page.parent.mkdir(parents=True)
        page.write_text("x")
    verdicts = study.conclude(results)
    pictures = [output.main_picture(settled, results, verdicts)]
    (folder / "report.html").write_text(output.html(settled, results, verdicts, pictures))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    yield from start()


@pytest.fixture(params=["run", "comparison", "study-augmentation", "study-losses"])
def name(request):
    return request.param


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", list(WIDTHS))
def test_pages_fit_and_complain_of_nothing(browser, pages, name, device, scheme):
    open_page(browser, pages[name], WIDTHS[device], scheme)
    screenshot(browser, f"{name}-{device}-{scheme}")
    assert browser.get_log("browser") == []
    widths = browser.execute_script(
        "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    )
    assert widths[0] <= widths[1] == WIDTHS[device] or device == "desktop"
    small = browser.execute_script(
        "return [...document.querySelectorAll('p, td, th, dd, li, button')]"
        ".filter(e => e.offsetParent && parseFloat(getComputedStyle(e).fontSize) < 12)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser, pages, name, scheme):
    """WCAG's contrast of 4.5 between text and what is behind it."""
    open_page(browser, pages[name], 1280, scheme)
    pairs = browser.execute_script(COLORS_OF_TEXT)
    assert len(pairs) > 20
    weak = {text: contrast(front, back) for text, front, back in pairs
            if contrast(front, back) < 4.5}  # fmt: skip
    assert not weak


def test_pointing_at_the_map_shows_the_image(browser, pages):
    from selenium.webdriver.common.action_chains import ActionChains

    open_page(browser, pages["run"], 1280)
    map_, tip = find(browser, ".map"), find(browser, ".tip")
    assert not tip.is_displayed()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", map_)
    circle = browser.find_elements("css selector", ".map circle")[1]
    ActionChains(browser).move_to_element(circle).perform()
    assert tip.is_displayed() and tip.text
    assert tip.find_element("css selector", ".thumb").size["width"] >= 60
    if folder := os.environ.get("SCREENSHOTS"):  # as it is, since scrolling ends the pointing
        browser.savescreenshot(os.path.join(folder, "map.png"))
    ActionChains(browser).move_to_element(find(browser, "h1")).perform()
    assert not tip.is_displayed()


def test_the_map_by_keyboard(browser, pages):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, pages["run"], 1280)
    map_, says = find(browser, ".map"), find(browser, "#map-says")
    browser.execute_script("arguments[0].focus()", map_)
    heard, places = set(), []
    for _ in range(6):
        browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        heard.add(says.text)
        places.append(float(find(browser, ".map circle.current").get_attribute("cx")))
    assert len(heard) > 1 and places == sorted(places)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not find(browser, ".tip").is_displayed()


def test_one_class_is_picked_out(browser, pages):
    open_page(browser, pages["run"], 1280)
    button = browser.find_elements("css selector", ".legend button")[1]
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.map circle.on')].map(c => c.dataset.label)"
    )
    assert len(shown) == 100 and set(shown) == {"1"}
    button.click()
    assert "some" not in find(browser, ".map").get_attribute("class")


def test_everything_is_reached_by_the_tab_key(browser, pages):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, pages["run"], 1280)
    reached = []
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.execute_script(
            "return document.activeElement.className.baseVal ?? document.activeElement.className"
        ))  # fmt: skip
    assert reached[0] == "skip" and "map" in reached
