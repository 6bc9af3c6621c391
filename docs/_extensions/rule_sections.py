"""A section for each code of the rule table, with the text of `optconform explain` and its code as the anchor."""

from __future__ import annotations

import re
from itertools import groupby

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from myst_parser.slugs import github_slugify
from sphinx.application import Sphinx

from optconform.conformance.code_row import Code
from optconform.conformance.codes import CODES

GROUPS = {
    "1": "The decay itself",
    "2": "Its law, and what rounding leaves of it",
    "3": "The update rule",
    "4": "Ways of using it that must agree",
    "5": "The gate",
    "9": "Running it",
}
"""First digit of a code -> heading of the codes that begin with it."""


def slug(title: str) -> str:
    """Return the anchor of a heading: the code alone where it is that of a rule, else as GitHub has it."""
    code = re.match(r"OC\d{3}(?= )", title)
    return code[0].lower() if code else github_slugify(title)


def literal(text: str) -> str:
    """Return prose with what Markdown would take for markup taken literally."""
    return re.sub(r"([\\`*_\[\]<>$|#])", r"\\\1", text)


def section(row: Code) -> str:
    """Return the section of one rule, as Markdown."""
    command = row.example.startswith("optconform ")
    parts = {
        "Fires when": literal(row.fires_when),
        "Why it matters": literal(row.why),
        "Example": f"`{row.example}`" if command else literal(row.example),
        "What to do": literal(row.remedy),
    }
    fields = "\n".join(f"{label}\n: {text}\n" for label, text in parts.items())
    return f"### {row.code} {row.name}\n\n*{row.severity}*\n\n{fields}"


def page() -> str:
    """Return all sections, as Markdown, those of one subject under a heading."""
    found = []
    for digit, rows in groupby(CODES.values(), key=lambda row: row.code[2]):
        found += [f"## {GROUPS[digit]}\n", *(section(row) for row in rows)]
    return "\n".join(found)


class RuleSections(Directive):
    """Every code, in the order of the table."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        container = nodes.Element()
        self.state.nested_parse(StringList(page().splitlines()), self.content_offset, container, match_titles=True)
        return container.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("rule-sections", RuleSections)
    return {"parallel_read_safe": True}
