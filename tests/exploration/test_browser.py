"""The page in a real browser, see tests/chromium.py."""

from __future__ import annotations

import csv
import io
import time

import numpy as np
import pytest
from PIL import Image

from simclr_tf.retrieval.embeddings import EmbeddingWriter
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
from tests.modes.asked import explore

pytestmark = MARK


@pytest.fixture(scope="module")
def page(planted, tmp_path_factory):
    """Photographs of plain colours, a colour for each kind."""
    root = tmp_path_factory.mktemp("explore")
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200),
              (200, 30, 200), (90, 90, 90)]  # fmt: skip
    for name, kind in zip(planted.ids, planted.kind, strict=True):
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60), colors[kind]).save(path)
    labels = planted.kind.copy()
    labels[[5, 200]] = 3, 1
    labels[::10] = -1
    metadata = {"dataset": f"folder:{root / 'images'}"}
    with EmbeddingWriter(root / "photos.npz", metadata, list("abcdef")) as writer:
        writer.append(planted.ids, planted.vectors, labels)
    return explore(str(root / "photos.npz"), say=[].append)


@pytest.fixture(scope="module")
def browser():
    yield from start()


@pytest.fixture(autouse=True)
def forgotten(browser, page):
    """Marks of other tests."""
    open_page(browser, page, 1280)
    browser.execute_script("localStorage.clear()")


def table(browser):
    text = browser.execute_script("return markTable()")
    return {row["id"]: (row["mark"], row["group"]) for row in csv.DictReader(io.StringIO(text))}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", list(WIDTHS))
def test_the_page_fits_and_complains_of_nothing(browser, page, device, scheme):
    open_page(browser, page, WIDTHS[device], scheme)
    browser.execute_script("select(0); setMarks([0, 5], 'keep'); setMarks([240], 'drop')")
    screenshot(browser, f"explore-{device}-{scheme}")
    assert browser.get_log("browser") == []
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= WIDTHS[device]
    small = browser.execute_script(
        "return [...document.querySelectorAll('p, dd, li, button, span')]"
        ".filter(e => e.offsetParent && parseFloat(getComputedStyle(e).fontSize) < 12)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser, page, scheme):
    open_page(browser, page, 1280, scheme)
    browser.execute_script("select(0); setMarks([0, 5], 'keep'); setMarks([240], 'drop')")
    pairs = browser.execute_script(COLORS_OF_TEXT)
    assert len(pairs) > 50
    weak = {text: contrast(front, back) for text, front, back in pairs
            if contrast(front, back) < 4.5}  # fmt: skip
    assert not weak


def test_a_click_on_the_map_shows_the_nearest_images(browser, page, planted):
    from selenium.webdriver.common.action_chains import ActionChains

    open_page(browser, page, 1280)
    canvas = find(browser, "#map")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    time.sleep(0.3)
    ActionChains(browser).move_to_element(canvas).perform()
    for angle in np.linspace(0, 6, 40):  # until a picture is under the pointer
        x, y = int(20 * angle * np.cos(angle)), int(20 * angle * np.sin(angle))
        ActionChains(browser).move_to_element_with_offset(canvas, x, y).perform()
        if find(browser, ".tip").is_displayed():
            break
    name = find(browser, ".tip").text.strip()
    assert name in planted.ids and find(browser, ".tip .thumb").size["width"] > 60
    ActionChains(browser).click().perform()
    assert find(browser, "#chosen-title").text == name
    units = planted.units.astype(np.float64)
    row = planted.ids.index(name)
    similar = units @ units[row]
    similar[row] = -2
    listed = [int(one.get_attribute("data-image"))
              for one in browser.find_elements("css selector", "#chosen .tile")]  # fmt: skip
    assert len(listed) == 12 and similar[listed].min() == pytest.approx(np.sort(similar)[-12])


def test_the_map_by_keyboard(browser, page, planted):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page, 1280)
    canvas = find(browser, "#map")
    browser.execute_script("arguments[0].focus()", canvas)
    said = set()
    for _ in range(4):
        canvas.send_keys(Keys.ARROW_RIGHT)
        said.add(find(browser, "#map-says").get_property("textContent"))
    assert len(said) > 1
    canvas.send_keys("+")
    canvas.send_keys("d")
    (dropped,) = table(browser)
    assert table(browser)[dropped] == ("drop", "")
    canvas.send_keys(Keys.ENTER)
    assert find(browser, "#chosen-title").text == dropped
    canvas.send_keys("0")
    canvas.send_keys(Keys.ESCAPE)
    assert find(browser, "#chosen-title").text == "No image is selected"
    assert not find(browser, ".tip").is_displayed()


def test_marks_of_images_groups_and_copies(browser, page, planted):
    open_page(browser, page, 390)
    find(browser, "#drop-copies").click()
    expected = {planted.ids[row]: ("keep" if row == 0 else "drop", "") for row in planted.copies}
    assert table(browser) == expected
    field = find(browser, "#groups .group:nth-child(2) input")
    field.send_keys('=a, "b"\t')
    rows = table(browser)
    named = {name for name, (_, group) in rows.items() if group}
    assert named == {planted.ids[row] for row in np.flatnonzero(planted.kind == 1)}
    assert {rows[name][1] for name in named} == {'\'=a, "b"'}
    assert "1 kept, 3 dropped" in find(browser, "#marks-say").text
    first = find(browser, "#outliers .tile")
    first.find_element("css selector", ".keep").click()
    assert table(browser)[planted.ids[planted.outlier]][0] == "keep"
    assert "keep" in first.get_attribute("class").split()


def test_marks_are_remembered(browser, page, planted):
    open_page(browser, page, 1280)
    browser.execute_script("setMarks([3], 'drop'); setName('name', 3, 'rubbish')")
    open_page(browser, page, 1280)
    assert table(browser) == {planted.ids[3]: ("drop", "rubbish")}


def test_lists_lead_to_the_nearest_images_and_back(browser, page, planted):
    open_page(browser, page, 1280)
    button = find(browser, "#suspects .tile .pick")
    browser.execute_script("arguments[0].click()", button)
    assert find(browser, "#chosen-title") == browser.switch_to.active_element
    back = find(browser, "#chosen .actions button")
    assert back.text == "Back to the list"
    back.click()
    assert browser.switch_to.active_element == button


def test_a_part_of_a_name_finds_images(browser, page, planted):
    open_page(browser, page, 1280)
    find(browser, "#find").send_keys("24\t")
    found = [one.get_attribute("title")
             for one in browser.find_elements("css selector", "#chosen .name")]  # fmt: skip
    assert found == [name for name in planted.ids if "24" in name]


def test_one_group_is_picked_out(browser, page):
    open_page(browser, page, 1280)
    browser.find_elements("css selector", "#legend button")[1].click()
    pressed = [one.get_attribute("aria-pressed")
               for one in browser.find_elements("css selector", "#legend button")]  # fmt: skip
    assert pressed == ["false", "true", *["false"] * (len(pressed) - 2)]
