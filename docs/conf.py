"""Settings of Sphinx, which makes a site of these pages: `make docs`."""

import os
import pathlib
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
# As run.py sets them before TensorFlow loads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import simclr_tf  # noqa: E402

project = "simclr_tf"
author = "the simclr_tf authors"
version = release = simclr_tf.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = "simclr_tf"
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
# Nothing is fetched by a reader's browser.
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"  # docstrings name code between single backticks
napoleon_use_ivar = True  # fields are documented in their class's docstring, once
