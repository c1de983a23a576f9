"""The pages in a real browser: Debian's packages chromium and chromium-driver.

Set SCREENSHOTS to a folder to look at what the tests see.
"""

from __future__ import annotations

import base64
import os
import pathlib
import shutil

import numpy as np
import pytest

from simclr_tf.report import comparison, run_page
from simclr_tf.settings import recipes
from simclr_tf.studies import catalogue, output, plan
from simclr_tf.studies.grid import ENTROPY, PROBE, PROBE_Z
from tests.studies import made_up

from .conftest import made_up_examples, write_run

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]
WIDTHS = {"desktop": 1280, "phone": 390}


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
    """Chromium without a window and without a network."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
                 "--host-resolver-rules=MAP * ~NOTFOUND"):  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(params=["run", "comparison", "study-augmentation", "study-losses"])
def name(request):
    return request.param


def _open(browser, page, width, scheme="light"):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})  # fmt: skip
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": scheme}]})  # fmt: skip
    browser.get(pathlib.Path(page).as_uri())


def _screenshot(browser, name):
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    size = browser.execute_script(
        "const e = document.documentElement; return [e.clientWidth, e.scrollHeight]"
    )
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {
        "captureBeyondViewport": True,
        "clip": {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}})  # fmt: skip
    pathlib.Path(folder, f"{name}.png").write_bytes(base64.b64decode(picture["data"]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", list(WIDTHS))
def test_pages_fit_and_complain_of_nothing(browser, pages, name, device, scheme):
    _open(browser, pages[name], WIDTHS[device], scheme)
    _screenshot(browser, f"{name}-{device}-{scheme}")
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
    _open(browser, pages[name], 1280, scheme)
    pairs = browser.execute_script(_COLORS_OF_TEXT)
    assert len(pairs) > 20
    weak = {text: _contrast(front, back) for text, front, back in pairs
            if _contrast(front, back) < 4.5}  # fmt: skip
    assert not weak


def test_pointing_at_the_map_shows_the_image(browser, pages):
    from selenium.webdriver.common.action_chains import ActionChains

    _open(browser, pages["run"], 1280)
    map_, tip = _find(browser, ".map"), _find(browser, ".tip")
    assert not tip.is_displayed()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", map_)
    circle = browser.find_elements("css selector", ".map circle")[1]
    ActionChains(browser).move_to_element(circle).perform()
    assert tip.is_displayed() and tip.text
    assert tip.find_element("css selector", ".thumb").size["width"] >= 60
    if folder := os.environ.get("SCREENSHOTS"):  # as it is, since scrolling ends the pointing
        browser.save_screenshot(os.path.join(folder, "map.png"))
    ActionChains(browser).move_to_element(_find(browser, "h1")).perform()
    assert not tip.is_displayed()


def test_the_map_by_keyboard(browser, pages):
    from selenium.webdriver.common.keys import Keys

    _open(browser, pages["run"], 1280)
    map_, says = _find(browser, ".map"), _find(browser, "#map-says")
    browser.execute_script("arguments[0].focus()", map_)
    heard, places = set(), []
    for _ in range(6):
        browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        heard.add(says.text)
        places.append(float(_find(browser, ".map circle.current").get_attribute("cx")))
    assert len(heard) > 1 and places == sorted(places)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not _find(browser, ".tip").is_displayed()


def test_one_class_is_picked_out(browser, pages):
    _open(browser, pages["run"], 1280)
    button = browser.find_elements("css selector", ".legend button")[1]
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.map circle.on')].map(c => c.dataset.label)"
    )
    assert len(shown) == 100 and set(shown) == {"1"}
    button.click()
    assert "some" not in _find(browser, ".map").get_attribute("class")


def test_everything_is_reached_by_the_tab_key(browser, pages):
    from selenium.webdriver.common.keys import Keys

    _open(browser, pages["run"], 1280)
    reached = []
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.execute_script(
            "return document.activeElement.className.baseVal ?? document.activeElement.className"
        ))  # fmt: skip
    assert reached[0] == "skip" and "map" in reached


def _find(browser, selector):
    return browser.find_element("css selector", selector)


def _contrast(front, back):
    """WCAG 2.1, of two colours in [0, 255]."""

    def luminance(color):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                  for c in np.array(color) / 255]  # fmt: skip
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    bright, dark = sorted((luminance(front), luminance(back)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


# Text of every visible leaf with its colour and the nearest colour behind it.
_COLORS_OF_TEXT = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgb = color => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
return [...document.querySelectorAll('body *')]
  .filter(e => e.offsetParent && !e.children.length && e.textContent.trim())
  .map(e => {
    let behind = e;
    const opaque = node => rgb(getComputedStyle(node).backgroundColor)[3] === 255;
    while (behind && !opaque(behind)) behind = behind.parentElement;
    return [e.textContent.trim().slice(0, 40), rgb(getComputedStyle(e).color).slice(0, 3),
            rgb(getComputedStyle(behind ?? document.body).backgroundColor).slice(0, 3)];
  });
"""
