"""A run as one HTML file that opens without a network: what was run, a matrix of all targets, a section for each.

Jinja2 escapes whatever a template shows. Pictures of a target are drawn in the browser, when they come into sight,
from compact data (`html_data`) by the page's own scripts and Plotly, which the file holds once, compressed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ...adapters.errors import MissingExtra
from ...adapters.extras import EXTRAS
from ...adapters.frameworks import missing_imports
from ...adapters.text import escape_control
from ..outcomes import gravest_first
from . import html_section, wording
from .document import Document, State
from .html_data import evidence_of, safe_json
from .html_marks import SEVERITIES, STATES
from .html_matrix import matrix_of
from .html_overview import overview_of

if TYPE_CHECKING:
    import jinja2

_EXTRA = next(extra for extra in EXTRAS if extra.name == "report")


def require_packages() -> None:
    """Raise `MissingExtra` where what the report is made with is not installed; nothing is imported."""
    missing = missing_imports(_EXTRA)
    if missing:
        raise MissingExtra(
            f"the HTML report needs {' and '.join(missing)}, not installed here: {_EXTRA.install_command}; "
            "or write --format json now, and make HTML of it elsewhere with `optconform report RESULT.json`"
        )


def html_of(document: Document) -> str:
    """Return the run as one HTML document. Raises `MissingExtra` where Jinja2 or Plotly is not installed."""
    require_packages()
    columns, rows = matrix_of(document)
    values: dict[str, Any] = {
        "document": document,
        "columns": columns,
        "rows": rows,
        "groups": sorted({entry.group for entry in document.entries}),
        "states": [state for state in State if document.count(state)],
        "state_marks": STATES,
        "severity_marks": SEVERITIES,
        "rules": html_section.rules_found(document),
        "section": html_section,
        "gravest_first": gravest_first,
        "wording": wording,
        "evidence_of": evidence_of,
        "overview": overview_of(document),
        "plotly": _plotly(),
        "nonce": _nonce(document),
    }
    return f"{_environment().get_template('report.html').render(values)}\n"


@cache
def _plotly() -> str:
    """Return Plotly's script, compressed: 4.8 MB become 1.9, and are read by the browser only to draw something."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _nonce(document: Document) -> str:
    """Return the word without which the browser runs no script: no text of the document can hold what it hashes to."""
    return hashlib.sha256(repr(document).encode(errors="backslashreplace")).hexdigest()[:32]


def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        # Text that a file may hold, and HTML or UTF-8 may not.
        return escape_control(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def breakable(text: str) -> Markup:
        # Names of cases and targets are long, and made of parts.
        return Markup("<wbr>").join(re.split(r"(?<=[/:_])|(?<=\.)(?=[^\W\d])", escape_control(text)))

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        finalize=shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    environment.filters["data"] = lambda data: Markup(safe_json(data))
    return environment


def _source(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text("utf-8")
