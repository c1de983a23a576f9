"""Pages from templates: one file each, which needs nothing beside itself."""

from __future__ import annotations

import functools
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

_HERE = "simclr_tf.report"
MARK = b"simclr_tf</title>"  # of every page, among the first words


def render(template: str, package: str = _HERE, **values: Any) -> str:
    """The HTML of a page.

    Args:
        template: Name of a file in `templates/` of the package.
        package: Whose templates these are; those of this one are there too.
        values: What it shows; text is escaped.
    """
    text = _environment(package).get_template(template).render(**values)
    return text.encode("utf-8", "replace").decode("utf-8")  # names of files may be anything


def json_in_page(value: Any) -> Markup:
    """JSON to stand in a `script` element, whose end no text can contain."""
    return htmlsafe_json_dumps(value)


@functools.cache
def _environment(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(one) for one in (package, _HERE)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["source"] = functools.partial(_source, environment)
    return environment


def _source(environment: jinja2.Environment, name: str) -> Markup:
    """The text of a style sheet or script of ours, to stand in the page itself."""
    loader = environment.loader
    assert loader is not None
    return Markup(loader.get_source(environment, name)[0])
