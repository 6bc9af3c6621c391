"""A card for each trace that ships: what it is, and where it comes from, as its own index says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from optconform.conformance.traces import open_trace
from optconform.conformance.traces.catalog import SHIPPED, SHIPPED_FOLDER
from optconform.conformance.traces.summary import counts_of


class TraceCards(Directive):
    """One card a trace: its line in the catalog, its measures, its provenance."""

    def run(self) -> list[nodes.Node]:
        """Return the cards, one after the other."""
        found: list[nodes.Node] = []
        for name, line in SHIPPED.items():
            trace = open_trace(SHIPPED_FOLDER / name)
            measures = {"holds": counts_of(trace), "sha256": trace.sha256}
            found += [
                nodes.rubric("", name),
                nodes.paragraph("", f"{line}."),
                _fields(measures | dict(trace.provenance)),
            ]
        return found


def _fields(entries: Mapping[str, Any]) -> nodes.field_list:
    fields = nodes.field_list()
    for name, value in entries.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        fields += nodes.field("", nodes.field_name("", name), nodes.field_body("", nodes.paragraph("", shown)))
    return fields


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("trace-cards", TraceCards)
    return {"parallel_read_safe": True}
