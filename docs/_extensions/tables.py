"""Tables that are made from the package's own: codes, platforms, metamorphic checks, cases of the gate, keys."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from optconform.conformance.codes import CODES
from optconform.conformance.configuration.keys import ACCEPT_KEYS, KEYS, TARGET_KEYS
from optconform.conformance.metamorphic.table import CHECKS
from optconform.gpu_ci.case_list import GPU_ONLY, SWEEPS
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
    """Every code, each a link to its section on the same page (`rule_sections`)."""

    headings = ("code", "name", "severity", "fires when")

    def rows(self) -> Iterable[Sequence[str]]:
        """One row a code."""
        return [(row.code, row.name, str(row.severity), row.fires_when) for row in CODES.values()]

    def run(self) -> list[nodes.Node]:
        """Return the table, its codes linked."""
        table = super().run()
        for text in [each for each in table[0].findall(nodes.Text) if each in CODES]:
            text.parent.replace(text, nodes.reference("", text, refid=text.lower(), internal=True))
        return table


class GateCases(_Table):
    """What the gate runs: one row a target and its hyperparameters."""

    headings = ("runtime", "target", "hyperparameters", "executions", "dtypes", "traces")

    def rows(self) -> Iterable[Sequence[str]]:
        """One row a sweep; executions that need a GPU, or time, are marked."""
        for sweep in SWEEPS:
            marks = {"GPU": GPU_ONLY.get(sweep.runtime, frozenset()), "--all": frozenset(sweep.slow)}
            executions = [
                f"{name} ({', '.join(told)})"
                if (told := [mark for mark, names in marks.items() if name in names])
                else name
                for name in (*sweep.executions, *sweep.slow)
            ]
            yield (
                sweep.runtime,
                sweep.spec.rpartition(":")[2],
                ", ".join(f"{name} {value:g}" for name, value in sweep.options.items()),
                ", ".join(executions),
                ", ".join(sweep.dtypes),
                ", ".join(sweep.traces),
            )


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


class MetamorphicTable(_Table):
    """Every metamorphic check, as the first line of its file says what must hold."""

    headings = ("check", "what must hold", "code", "walks")

    def rows(self) -> Iterable[Sequence[str]]:
        """One row a check."""
        return [
            (row.name, _first_line(row.run).partition(" (OC")[0], ", ".join((row.code, *row.also)), str(row.cost))
            for row in CHECKS
        ]


class ConfigurationKeys(_Table):
    """The keys of one table of a configuration: of the whole, of a target or of an accepted finding."""

    required_arguments = 1
    headings = ("key", "value", "meaning", "without it")
    tables = {"configuration": KEYS, "target": TARGET_KEYS, "accept": ACCEPT_KEYS}  # noqa: RUF012

    def rows(self) -> Iterable[Sequence[str]]:
        """One row a key."""
        return [
            (key.name, key.kind.expected, key.help, "an error" if key.required else key.default or "-")
            for key in self.tables[self.arguments[0]]
        ]


def _first_line(function: Any) -> str:
    return (inspect.getdoc(inspect.getmodule(function)) or "").splitlines()[0].rstrip(".")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("rule-table", RuleTable)
    app.add_directive("platform-table", PlatformTable)
    app.add_directive("metamorphic-table", MetamorphicTable)
    app.add_directive("gate-cases", GateCases)
    app.add_directive("configuration-keys", ConfigurationKeys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
