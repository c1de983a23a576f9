"""Templates escape, refuse what they are not given, and hold our own files."""

import json

import jinja2
import pytest

from simclr_tf.report import page


def test_json_cannot_end_its_script():
    text = str(page.json_in_page({"a": "</script><b>"}))
    assert "</" not in text and json.loads(text) == {"a": "</script><b>"}


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        page.render("run.html.j2")
