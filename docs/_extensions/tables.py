"""Tables that are made from the package's own: codes, platforms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from optconform.conformance.codes import CODES
from optconform.reference.platforms import PLATFORMS


class _Table(Directive):
    """A table of plain text: `headings` above `rows()`."""

    headings: Sequence[str]

    def rows(self) -> Iterable[Sequence[str]]:
        """Return the cells, row by row."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return the table as a node."""
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in self.headings), cols=len(self.headings))
        group += nodes.thead("", _row(self.headings))
        group += nodes.tbody("", *(_row(row) for row in self.rows()))
        return [nodes.table("", group)]


def _row(cells: Iterable[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


class RuleTable(_Table):
    """Every code."""

    headings = ("code", "name", "severity", "fires when")

    def rows(self) -> Iterable[Sequence[str]]:
        """One row a code."""
        return [(row.code, row.name, str(row.severity), row.fires_when) for row in CODES.values()]


class PlatformTable(_Table):
    """Every platform that a bound can be for."""

    headings = ("platform", "square root, u", "division, u", "underflow", "source")

    def rows(self) -> Iterable[Sequence[str]]:
        """One row a platform."""
        return [
            (
                row.name,
                f"{row.sqrt_error:g}",
                f"{row.division_error:g}",
                f"flushed to zero in {', '.join(row.flushes)}" if row.flushes else "gradual",
                row.source,
            )
            for row in PLATFORMS.values()
        ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("rule-table", RuleTable)
    app.add_directive("platform-table", PlatformTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
