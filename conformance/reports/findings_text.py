"""What is wrong with a target, and what was found besides, as text: message, place, what to do, and the command.

Everything reads the same without colour; names from outside are escaped, never interpreted as markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ..codes import CODES
from ..outcomes import SEVEREST_FIRST, gravest_first
from ..result import Check, ExitStatus, Finding, Result, Severity
from .layout import as_shown, print_command, print_prose
from .wording import where_first

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
MARKS = {
    ExitStatus.AS_EXPECTED: Text("yes", "green"),
    ExitStatus.NOT_AS_EXPECTED: Text("NO", "bold red"),
    ExitStatus.COULD_NOT_RUN: Text("ERROR", "bold red"),
    ExitStatus.UNDECIDED: Text("unknown", "bold yellow"),
}
"""How a result ended, in a word: state is never told by colour alone."""
OUTCOME_STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}
_LONGEST_VALUE = 400
"""Characters of a value of the evidence that are shown; the JSON holds all."""


def print_failures(console: Console, pairs: Iterable[tuple[str, Result]], *, verbose: bool) -> None:
    """Print every result that is not as expected under its title, the gravest first."""
    failed = [pair for pair in pairs if pair[1].exit_status is not ExitStatus.AS_EXPECTED]
    for title, result in sorted(failed, key=lambda pair: SEVEREST_FIRST.index(pair[1].exit_status)):
        print_failure(console, title, result, verbose=verbose)


def print_failure(console: Console, title: str, result: Result, *, verbose: bool) -> None:
    """Print why one result is not as expected, its findings, and the command that shows it again.

    `verbose` adds what only informs, the evidence, the checks that say the same as a finding, and what was printed.
    """
    console.print()
    console.print(Text.assemble((as_shown(console, title), "bold"), ": ", MARKS[result.exit_status]), soft_wrap=True)
    print_prose(console, f"{result.verdict}, expected {result.expected}: {result.reason}", indent=2)
    findings = _shown(result.findings, verbose=verbose)
    alone = unexplained(result.checks, findings)
    print_checks(console, [check for check in result.checks if check.outcome != "passed"] if verbose else alone)
    for finding in findings:
        print_finding(console, finding, rerun=result.rerun, verbose=verbose)
    if verbose:
        print_output(console, result)
    if result.rerun:
        print_command(console, "rerun: ", result.rerun, indent=2)


def print_shared_findings(console: Console, pairs: Iterable[tuple[str, Result]], *, verbose: bool) -> None:
    """Print what was found in results that are as expected; targets with the same findings are named together."""
    sound = [pair for pair in pairs if pair[1].exit_status is ExitStatus.AS_EXPECTED]
    shared: dict[tuple[tuple[str, ...], ...], list[tuple[str, Result]]] = {}
    for title, result in sound:
        findings = _shown(result.findings, verbose=verbose)
        if findings:
            key = tuple((finding.rule, finding.severity, finding.message, finding.accepted) for finding in findings)
            shared.setdefault(key, []).append((title, result))
    for targets in shared.values():
        console.print()
        print_prose(console, ", ".join(title for title, _ in targets), style="bold")
        first = targets[0][1]
        for finding in _shown(first.findings, verbose=verbose):
            print_finding(console, finding, rerun=first.rerun, verbose=verbose)


def print_finding(console: Console, finding: Finding, *, rerun: str, verbose: bool) -> None:
    """Print a finding: message, where it shows first, what to do and, unless it is `rerun`, its own command.

    `verbose` adds the evidence.
    """
    label = f"{finding.rule} {finding.severity} {finding.name}: "
    print_prose(console, finding.message, indent=2, label=label, label_style=_STYLES[finding.severity], hang=4)
    place = where_first(finding)
    if place:
        print_prose(console, place, indent=4)
    elif finding.parameter is not None and finding.parameter not in finding.message:
        print_prose(console, finding.parameter, indent=4, label="parameter: ")
    if finding.accepted:
        print_prose(console, finding.accepted, indent=4, label="accepted: ")
    if verbose:
        for name, value in finding.evidence.items():
            if value is not None:
                print_prose(console, _value(value), indent=4, label=f"{name}: ", style="dim")
    if finding.severity is not Severity.INFO and finding.rule in CODES and not finding.accepted:
        print_prose(console, CODES[finding.rule].remedy, indent=4, label="what to do: ")
    if finding.rerun and finding.rerun != rerun:
        print_command(console, "rerun: ", finding.rerun, indent=4)


def print_checks(console: Console, checks: Iterable[Check]) -> None:
    """Print checks, each with how it ended and why."""
    for check in checks:
        style = OUTCOME_STYLES.get(check.outcome, "")
        text = f"{check.name}: {check.message}"
        print_prose(console, text, indent=2, label=f"{check.outcome:<8}", label_style=style)


def print_output(console: Console, result: Result) -> None:
    """Print what the target itself has printed, escaped line by line."""
    if result.output:
        console.print(Text("  printed:", "dim"))
        for line in result.output.splitlines():
            console.print(Text(f"    {as_shown(console, line)}", "dim"), soft_wrap=True)


def _shown(findings: Sequence[Finding], *, verbose: bool) -> list[Finding]:
    return gravest_first(each for each in findings if verbose or each.accepted or each.severity is not Severity.INFO)


def unexplained(checks: Iterable[Check], findings: Iterable[Finding]) -> list[Check]:
    """Return the checks that have failed without a finding that says why."""
    told = {finding.rule for finding in findings}
    return [check for check in checks if check.outcome == "failed" and check.code not in told]


def _value(value: Any) -> str:
    """Return a value of the evidence on one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(text)} characters)"
