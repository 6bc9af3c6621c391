"""A run as one HTML file that opens without a network: summary, results, figures, findings, environment.

Jinja2 escapes whatever a template shows; the figures are Plotly's, whose script the file holds once. Another report
adds figures by handing them to `html_of`, or sections by a template that extends `report.html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ...adapters.errors import MissingExtra
from ...adapters.text import escape_control
from . import wording
from .document import Document, State

if TYPE_CHECKING:
    import jinja2

    from .html_figures import Figure

_PACKAGES = {"jinja2": "Jinja2", "plotly": "Plotly"}
"""Module -> the package's own name."""


def require_packages() -> None:
    """Raise `MissingExtra` where what the report is made with is not installed; nothing is imported."""
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f"the HTML report needs {' and '.join(missing)}, not installed here: pip install 'optconform[report]'; "
            "or write --format json now, and make HTML of it elsewhere with `optconform report RESULT.json`"
        )


def html_of(document: Document, figures: Sequence[Figure] | None = None) -> str:
    """Return the run as one HTML document.

    `figures` are shown below the table; those of the bound ratios where it is None. Raises `MissingExtra` where
    Jinja2 or Plotly is not installed.
    """
    require_packages()
    from .html_figures import bound_ratio_figures

    return render("report.html", document, bound_ratio_figures(document) if figures is None else figures)


def render(template: str, document: Document, figures: Sequence[Figure], **more: Any) -> str:
    """Return a template of this package, filled in with the run, the figures and whatever else it shows."""
    from plotly.offline import get_plotlyjs

    plotly_script = get_plotlyjs() if figures else ""
    values: Mapping[str, Any] = {
        "document": document,
        "figures": figures,
        "plotly_script": plotly_script,
        "wording": wording,
        "entries": list(enumerate(document.worst_first, start=1)),
        "states": [state for state in State if document.count(state)],
        "environment": wording.environment_of(document),
    }
    return f"{_environment().get_template(template).render(**values, **more)}\n"


def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        # Text that a file may hold, and HTML or UTF-8 may not.
        return escape_control(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def breakable(text: str) -> Markup:
        # Names of cases are long, and made of parts.
        return Markup("/<wbr>").join(escape_control(text).split("/"))

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        finalize=shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment


def _source(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text("utf-8")
