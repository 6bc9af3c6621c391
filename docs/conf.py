"""Sphinx configuration. The reference pages are made from the docstrings of the installed package."""

import sys
from pathlib import Path

import optconform

sys.path.append(str(Path(__file__).with_name("_extensions")))

project = "optconform"
author = copyright = "The optconform developers"
version = release = optconform.__version__

extensions = [
    "docstrings",
    "cards",
    "rule_sections",
    "tables",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_extensions"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_heading_slug_func = "rule_sections.slug"  # rules.md#oc101

autodoc_member_order = "bysource"
# Aliases are shown by name and not as the nested generics that they stand for.
autodoc_type_aliases = {name: name for name in ("Array", "Float64Array", "Options", "Schedule", "State")}
python_maximum_signature_line_length = 100
smartquotes = False  # lambda' is a prime, not a quotation

html_theme = "furo"
html_title = f"optconform {release}"
