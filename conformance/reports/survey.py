"""A survey as text or as Markdown: one table for each library, and a last line that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from ...adapters.text import counted, escape_control
from ..result import Verdict
from ..survey import Surveyed, SurveyReport
from ..survey_exports import Library
from .layout import Column, Row, print_prose, print_table
from .markdown_text import escape_markdown, table_line

HEADINGS = ("optimizer", "verdict", "law", "order, form", "epsilon", "findings", "remarks")
_NOTHING = "-"
_REMARK_LENGTH = 160
"""Characters of a remark that are shown; the JSON holds all."""
_EXPLAINED = (Verdict.MIXED, Verdict.OTHER, Verdict.INCONCLUSIVE, Verdict.ERROR)
"""Verdicts that say too little by themselves."""
_LEFT_OUT = ("OC201", "OC302", "OC304")
"""Findings that say again what the columns say."""


def row_of(surveyed: Surveyed) -> tuple[str, ...]:
    """Return the cells of one optimizer, as `HEADINGS` name them."""
    result = surveyed.result
    export = surveyed.entry.export
    decay: Mapping[str, Any] = result["decay"]
    form = ", ".join(str(part) for part in (decay["applied_to"], decay["form"]) if part)
    law = decay["law"]
    if law == "other" and decay["factor"] is not None:
        law = f"{decay['factor']:.3g} lr^{decay['lr_exponent']:.3g} wd^{decay['wd_exponent']:.3g}"
    codes = dict.fromkeys(finding["rule"] for finding in result["findings"] if finding["rule"] not in _LEFT_OUT)
    cells = (
        export.name,
        result["verdict"],
        law or _NOTHING,
        form or _NOTHING,
        result["match"]["epsilon"] or _NOTHING,
        " ".join(codes) or _NOTHING,
        _remark(surveyed),
    )
    return tuple(escape_control(cell) for cell in cells)


def _remark(surveyed: Surveyed) -> str:
    export, result = surveyed.entry.export, surveyed.result
    parts = [f"also {', '.join(export.aliases)}"] if export.aliases else []
    if result["dtype"] != "float64":
        parts.append(f"in {result['dtype']}")
    explained = result["verdict"] in _EXPLAINED
    if explained:
        parts.append(result["reason"].removeprefix(f"{result['target']}: "))
    if export.recipe and result["verdict"] != Verdict.NONE and export.recipe not in "; ".join(parts):
        parts.append(export.recipe)
    remark = "; ".join(parts)
    return remark if len(remark) <= _REMARK_LENGTH else f"{remark[: _REMARK_LENGTH - 1]}…"


def title_of(library: Library) -> str:
    """Return the library with the versions it was surveyed in, its own distribution's first."""
    root = library.name.partition(".")[0].replace("_", "")
    names = sorted(library.versions, key=lambda name: root not in name.replace("-", "").replace("_", ""))
    shown = ((name, library.versions[name]) for name in names if not library.versions[name].startswith("sha256:"))
    return f"{library.name} ({', '.join(f'{name} {version}' for name, version in shown)})"


def summary_of(report: SurveyReport) -> str:
    """Return how many optimizers there were and what they do."""
    counts = Counter(str(each.result["verdict"]) for each in report.surveyed)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    optimizers = counted(counts.total(), "optimizer")
    libraries = f"{sum(library.problem is None for library in report.libraries)} of {len(report.libraries)} libraries"
    return f"{optimizers} of {libraries}: {verdicts or 'nothing was audited'}."


def problems_of(report: SurveyReport) -> list[str]:
    """Return a sentence for every library that was not surveyed, and for every name left out of one that was."""
    libraries = [f"{each.name}: not surveyed; {each.problem}" for each in report.libraries if each.problem]
    names = [
        f"{library.name}:{name}: not audited; {why}"
        for library in report.libraries
        for name, why in library.left_out.items()
    ]
    empty = [f"{each.name}: exports no optimizer" for each in report.libraries if not each.problem and not each.exports]
    return [escape_control(line) for line in (*libraries, *names, *empty)]


def print_survey(console: Console, report: SurveyReport) -> None:
    """Print one table for each library, what was not surveyed, and the counts."""
    columns = [Column(heading) for heading in HEADINGS[1:5]]
    for library in report.libraries:
        surveyed = report.of(library)
        if surveyed:
            print_prose(console, title_of(library), style="bold")
            print_table(console, HEADINGS[0], columns, [_row(row_of(each)) for each in surveyed])
            console.print()
    print_prose(console, f"{summary_of(report)} Taken on {report.date}.", hang=2)
    problems = problems_of(report)
    for line in problems or [_EVERYTHING]:
        print_prose(console, line, style="yellow" if problems else "", hang=2)


_EVERYTHING = "Every library named was surveyed, and no export of them left out."


def _row(cells: Sequence[str]) -> Row:
    """Return a row with what is said of an optimizer, which has no room beside it, beneath."""
    name, *columns, findings, remarks = cells
    return Row(name, tuple(columns), "; ".join(each for each in (findings, remarks) if each not in ("", _NOTHING)))


def markdown_of(report: SurveyReport, heading: str = "##") -> str:
    """Return the survey as Markdown: the counts, then one section with one table for each library."""
    lines = [f"{summary_of(report)} Taken on {report.date}.", ""]
    for library in report.libraries:
        surveyed = report.of(library)
        if not surveyed:
            continue
        lines += [f"{heading} {escape_markdown(title_of(library))}", ""]
        lines += [table_line(HEADINGS), table_line(["---"] * len(HEADINGS))]
        lines += [table_line(map(escape_markdown, row_of(each))) for each in surveyed]
        lines.append("")
    problems = problems_of(report)
    if problems:
        lines += [f"{heading} Not surveyed", "", *(f"- {escape_markdown(problem)}" for problem in problems), ""]
    return "\n".join(lines)
