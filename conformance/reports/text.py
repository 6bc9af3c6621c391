"""Results as text: one table over all targets, findings beneath, and a last line that says what was checked.

Everything reads the same without colour; names from outside are escaped, never interpreted as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...adapters.text import escape_control
from ..check_report import CheckReport
from ..result import SCHEDULE_WORDS, Check, ExitStatus, Finding, Match, ParameterResult, Result, Severity

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
MARKS = {
    ExitStatus.AS_EXPECTED: Text("yes", "green"),
    ExitStatus.NOT_AS_EXPECTED: Text("NO", "bold red"),
    ExitStatus.COULD_NOT_RUN: Text("ERROR", "bold red"),
    ExitStatus.UNDECIDED: Text("unknown", "bold yellow"),
}
_OPEN_SHOWN = 3
"""Rivals that cannot be told apart which are named; `-v` lists all."""
_NOTHING = "-"
_RIVAL_WIDTH = 24
_WIDE = 100
"""Characters from which the table has room for the rivals' names."""


def print_check(console: Console, report: CheckReport, titles: Sequence[str], *, verbose: bool) -> None:
    """Print the table over all results, the findings that matter (all with `verbose`), and what was checked."""
    if report.results:
        console.print(_table(report, titles, console.width))
    pairs = list(zip(titles, report.results, strict=True))
    sound = [pair for pair in pairs if pair[1].exit_status is ExitStatus.AS_EXPECTED]
    for title, result in pairs:
        if result.exit_status is not ExitStatus.AS_EXPECTED:
            print_failure(console, title, result)
            if verbose:
                print_output(console, result)
    print_shared_findings(console, sound, verbose=verbose)
    console.print(_last_line(report), soft_wrap=True)


def print_audit(console: Console, result: Result, title: str, *, verbose: bool) -> None:
    """Print one result in full: verdict, decay, match, rivals, checks and findings."""
    verdict = (f"{escape_control(title)}: {result.verdict}", "bold")
    console.print(Text.assemble(verdict, f", expected {result.expected}: ", MARKS[result.exit_status]), soft_wrap=True)
    console.print(Text(f"  {escape_control(result.reason)}"), soft_wrap=True)
    for label, value in _facts(result):
        console.print(Text(f"  {label:<16} {escape_control(value)}"), soft_wrap=True)
    _print_checks(console, result.checks)
    for finding in result.findings:
        console.print(_finding(finding), soft_wrap=True)
    if verbose:
        console.print(_parameter_table(result))
        console.print(_rival_table(result))
        print_output(console, result)
    console.print(Text(f"rerun: {escape_control(result.rerun)}", "dim"), soft_wrap=True)


def _table(report: CheckReport, titles: Sequence[str], width: int) -> Table:
    wide = width >= _WIDE
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0) if wide else 0,
        caption="own: distance from the rule it follows, at most 1; rival: distance from the nearest other rule; "
        f"both in units of what {_dtypes(report)} rounding explains",
        caption_justify="left",
    )
    table.add_column("optimizer", overflow="fold")
    for heading in ("verdict", "law", "order", "epsilon"):
        table.add_column(heading, no_wrap=True)
    table.add_column("own", justify="right", no_wrap=True)
    table.add_column("rival", overflow="fold", max_width=_RIVAL_WIDTH)
    table.add_column("as\nexpected", no_wrap=True)
    for title, result in zip(titles, report.results, strict=True):
        separation = result.separation
        table.add_row(
            Text(escape_control(_short(title))),
            Text(str(result.verdict), "bold"),
            result.decay.law or _NOTHING,
            result.decay.applied_to or _NOTHING,
            result.match.epsilon or _NOTHING,
            _number(separation.own_ratio),
            Text(_rival(result) if wide else _number(separation.rival_ratio)),
            MARKS[result.exit_status],
        )
    return table


def _short(title: str) -> str:
    """Return the title without the package's own prefix, which says nothing in a table of its own targets."""
    return title.removeprefix("optconform.adapters.")


def _rival(result: Result) -> str:
    """Return the nearest rival and its distance; of a rival under the same rule only what differs."""
    separation = result.separation
    if separation.nearest_rival is None:
        return _NOTHING
    name = separation.nearest_rival
    if result.match.rule and name.startswith(f"{result.match.rule}["):
        name = name[len(result.match.rule) + 1 : -1]
    return f"{_number(separation.rival_ratio)} {name}"


def _facts(result: Result) -> list[tuple[str, str]]:
    decay, match, separation = result.decay, result.match, result.separation
    facts = [
        ("framework", f"{result.framework}, {result.dtype} on {result.device}, path {result.path}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in result.versions.items())),
        ("probe", _settings(result.probe)),
        ("hyperparameters", _settings(result.hyperparameters)),
    ]
    if result.remark:
        facts.append(("known of it", result.remark))
    if decay.law:
        factor, lr, wd = (
            _measured(value, uncertainty)
            for value, uncertainty in (
                (decay.factor, decay.factor_uncertainty),
                (decay.lr_exponent, decay.lr_exponent_uncertainty),
                (decay.wd_exponent, decay.wd_exponent_uncertainty),
            )
        )
        exponents = f"c = {factor} * lr^{lr} * wd^{wd}"
        schedule = SCHEDULE_WORDS[decay.follows_schedule]
        applied = f"on {decay.applied_to} theta, {decay.form}" if decay.applied_to else "on which theta cannot be told"
        facts.append(("decay", f"law {decay.law} ({exponents}), {schedule}; {applied}"))
    if decay.effective_note:
        facts.append(("effective decay", decay.effective_note))
    if match.rule:
        correction = None if match.bias_correction is None else "on" if match.bias_correction else "off"
        axes = {"epsilon": match.epsilon, "bias correction": correction, "momentum": match.momentum}
        shown = "".join(f", {axis} {value}" for axis, value in axes.items() if value is not None)
        facts.append(("follows", f"{match.rule}{shown}"))
    elif match.nearest:
        facts.append(("follows", f"no rule of the reference; nearest {match.nearest}"))
    if match.decision is not None:
        judged = f"{match.decision}{_open(match)}; {match.mode}, computed in {match.computed_in} on {match.platform}"
        facts.append(("decision", judged))
    if result.probe_match is not None and result.probe_match.decision is not None:
        facts.append(("at the probe", _decided(result.probe_match)))
    if separation.own_ratio is not None:
        facts.append(("own distance", f"{_number(separation.own_ratio)} of the bound"))
        facts.append(("nearest rival", _rival(result)))
    facts += [("cannot tell", sentence) for sentence in result.cannot_tell]
    facts.append(("elements", f"{result.elements:,} compared, {match.undecidable} undecidable"))
    facts.append(("traces", ", ".join(f"{trace['name']} ({trace['sha256'][:12]})" for trace in result.traces)))
    return facts


def _decided(match: Match) -> str:
    """Return what the trajectory said, with what it could not tell."""
    follows = f": {match.rule}, {_number(match.bound_ratio)} of the bound" if match.rule else ""
    return f"{match.decision}{follows}{_open(match)}"


def _open(match: Match) -> str:
    """Return the rivals that cannot be told apart, the first few by name."""
    if not match.cannot_tell:
        return ""
    more = f" and {len(match.cannot_tell) - _OPEN_SHOWN} more" if len(match.cannot_tell) > _OPEN_SHOWN else ""
    return f"; not told from {', '.join(match.cannot_tell[:_OPEN_SHOWN])}{more}"


def _print_checks(console: Console, checks: Iterable[Check]) -> None:
    styles = {"passed": "green", "failed": "bold red", "skipped": "yellow"}
    for check in checks:
        mark = Text(f"  {check.outcome:<8}", styles[check.outcome])
        console.print(Text.assemble(mark, escape_control(f"{check.name}: {check.message}")), soft_wrap=True)


def print_failure(console: Console, title: str, result: Result) -> None:
    """Print why one result is not as expected, and the command that shows it again."""
    console.print(Text(escape_control(title), "bold"), soft_wrap=True)
    verdict = f"  {result.verdict}, expected {result.expected}: {result.reason}"
    console.print(Text(escape_control(verdict)), soft_wrap=True)
    _print_checks(console, [check for check in result.checks if check.outcome != "passed"])
    for finding in result.findings:
        console.print(_finding(finding), soft_wrap=True)
    if result.rerun:
        console.print(Text(f"  rerun: {escape_control(result.rerun)}", "dim"), soft_wrap=True)


def print_output(console: Console, result: Result) -> None:
    """Print what the target itself has printed, escaped line by line."""
    if result.output:
        console.print(Text("  printed:", "dim"))
        for line in result.output.splitlines():
            console.print(Text(f"    {escape_control(line)}", "dim"), soft_wrap=True)


def print_shared_findings(console: Console, sound: Sequence[tuple[str, Result]], *, verbose: bool) -> None:
    """Print what was found in results that are as expected, each finding once with all targets that share it."""
    shared: dict[tuple[str, str], list[str]] = {}
    findings: dict[tuple[str, str], Finding] = {}
    for title, result in sound:
        for finding in result.findings:
            if verbose or finding.severity is not Severity.INFO:
                key = (finding.rule, finding.message)
                shared.setdefault(key, []).append(title)
                findings.setdefault(key, finding)
    for key, titles in shared.items():
        console.print(_finding(findings[key]), soft_wrap=True)
        console.print(Text(f"    {escape_control(', '.join(titles))}", "dim"), soft_wrap=True)


def _finding(finding: Finding) -> Text:
    head = Text(f"  {finding.rule} {finding.severity}", _STYLES[finding.severity])
    return Text.assemble(head, f" {finding.name}: {escape_control(finding.message)}")


def _parameter_table(result: Result) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title="parameters, distances in what rounding explains",
        title_justify="left",
    )
    for heading in ("trace", "parameter", "shape", "verdict", "coefficient", "from decoupled", "from L2"):
        table.add_column(heading, overflow="fold")
    for parameter in result.parameters:
        table.add_row(
            Text(escape_control(parameter.trace)),
            Text(escape_control(parameter.name)),
            "x".join(map(str, parameter.shape)) or "scalar",
            str(parameter.verdict),
            _first_coefficient(parameter),
            _number(parameter.decoupling_ratio),
            _number(parameter.substitution_ratio),
        )
    return table


def _rival_table(result: Result) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="rivals, distances in bounds", title_justify="left")
    table.add_column("rival", overflow="fold")
    table.add_column("distance", justify="right")
    table.add_column("")
    for name, ratio in sorted(result.match.rivals.items(), key=lambda item: item[1]):
        table.add_row(Text(name), _number(ratio), "cannot be told apart here" if ratio <= 1.0 else "")
    return table


def _last_line(report: CheckReport) -> str:
    """Return what was checked, how it ended, and what was not checked."""
    statuses = [result.exit_status for result in report.results]
    counts = ", ".join(
        f"{statuses.count(status)} {words}"
        for status, words in (
            (ExitStatus.AS_EXPECTED, "as expected"),
            (ExitStatus.NOT_AS_EXPECTED, "not"),
            (ExitStatus.COULD_NOT_RUN, "could not run"),
            (ExitStatus.UNDECIDED, "undecided"),
        )
        if statuses.count(status) or status in (ExitStatus.AS_EXPECTED, ExitStatus.NOT_AS_EXPECTED)
    )
    checks = [check.outcome for result in report.results for check in result.checks]
    outcomes = ", ".join(f"{checks.count(outcome)} {outcome}" for outcome in ("passed", "failed", "skipped"))
    elements = sum(result.elements for result in report.results)
    parts = [
        f"{len(statuses)} optimizers: {counts}",
        f"{len(checks)} checks: {outcomes}",
        f"{elements:,} elements compared in {_dtypes(report)}",
    ]
    if report.skipped_frameworks:
        parts.append(f"NOT CHECKED, not installed: {', '.join(report.skipped_frameworks)}")
    return "; ".join(parts) + "."


def _dtypes(report: CheckReport) -> str:
    """Return the working precision of the results; float64 where there is none."""
    return ", ".join(sorted({result.dtype for result in report.results})) or "float64"


def _settings(values: object) -> str:
    items = values.items() if hasattr(values, "items") else ()
    return ", ".join(f"{name}={value!r}" for name, value in items if value is not None) or "defaults"


def _first_coefficient(parameter: ParameterResult) -> str:
    if not parameter.coefficient:
        return _NOTHING
    return _measured(parameter.coefficient[0], next(iter(parameter.coefficient_uncertainty), None))


def _measured(value: float | None, uncertainty: float | None) -> str:
    """Return a figure with what rounding can have moved it by, where that is more than 1e-6 of it."""
    if value is None or uncertainty is None or uncertainty <= max(1e-6 * abs(value), 1e-9):
        return _number(value)
    return f"{_number(value)}+-{uncertainty:.1g}"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2g}"
