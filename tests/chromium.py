"""Debian's packages chromium and chromium-driver, for tests of pages in a real browser.

Set SCREENSHOTS to a folder to look at what the tests see.
"""

from __future__ import annotations

import base64
import os
import pathlib
import shutil

import numpy as np
import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MARK = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver")
WIDTHS = {"desktop": 1280, "phone": 390}


def start():
    """Chromium without a window and without a network; for `yield from` in a fixture."""
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


def open_page(browser, page, width, scheme="light"):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})  # fmt: skip
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": scheme}]})  # fmt: skip
    browser.get(pathlib.Path(page).as_uri())


def screenshot(browser, name):
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


def find(browser, selector):
    return browser.find_element("css selector", selector)


def contrast(front, back):
    """WCAG 2.1, of two colours in [0, 255]."""

    def luminance(color):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                  for c in np.array(color) / 255]  # fmt: skip
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    bright, dark = sorted((luminance(front), luminance(back)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


# Text of every visible leaf with its colour and the nearest colour behind it.
COLORS_OF_TEXT = """
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
