"""Results as text: one table over all targets, findings beneath, and last what was checked and what was not.

Everything reads the same without colour; names from outside are escaped, never interpreted as markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..check_report import CheckReport
from ..outcomes import gravest_first
from ..result import SCHEDULE_WORDS, Match, ParameterResult, Result
from .findings_text import (
    MARKS,
    OUTCOME_STYLES,
    print_checks,
    print_failures,
    print_finding,
    print_output,
    print_shared_findings,
    unexplained,
)
from .layout import Column, Row, print_command, print_prose, print_table
from .scope import checked, not_checked
from .wording import axes_of, followed_by, number, settings_of, traces_of, versions_of

_OPEN_SHOWN = 3
"""Rivals that cannot be told apart which are named; `-v` lists all."""
_NOTHING = "-"
_LABEL = 17
"""Columns of the labels of an audit."""


def print_check(console: Console, report: CheckReport, titles: Sequence[str], *, verbose: bool) -> None:
    """Print the table over all results, the findings that matter (all with `verbose`), and what was checked."""
    pairs = list(zip(titles, report.results, strict=True))
    if pairs:
        _print_overview(console, pairs)
    print_failures(console, pairs, verbose=verbose)
    print_shared_findings(console, pairs, verbose=verbose)
    console.print()
    for sentence in report.unmatched:
        print_prose(console, sentence, label="error: ", label_style="bold red", hang=2)
    _print_scope(console, report.results, report.skipped_frameworks, uses=False)
    for sentence in report.left_out:
        print_prose(console, sentence, label="NOT CHECKED: ", hang=2)


def print_audit(console: Console, result: Result, title: str, *, verbose: bool) -> None:
    """Print one result in full: verdict, decay, match, rivals, checks and findings; with `verbose` the evidence too."""
    mark = MARKS[result.exit_status]
    ending = f"expected {result.expected}: {mark}"
    print_prose(
        console,
        ending,
        label=f"{title}: {result.verdict}, ",
        label_style="bold",
        style=str(mark.style),
        hang=2,
    )
    print_prose(console, result.reason, indent=2)
    console.print()
    for label, value in _facts(result):
        print_prose(console, value, indent=2, label=f"{label:<{_LABEL}}", label_style="dim")
    if result.checks:
        console.print()
        _print_audit_checks(console, result, verbose=verbose)
    if verbose:
        console.print()
        _print_parameters(console, result)
        console.print()
        _print_rivals(console, result)
        if result.output:
            console.print()
            print_output(console, result)
    if result.findings:
        console.print()
    for finding in gravest_first(result.findings):
        print_finding(console, finding, rerun=result.rerun, verbose=verbose)
    console.print()
    _print_scope(console, [result], (), uses=True)
    if result.rerun:
        print_command(console, "rerun: ", result.rerun)


def _print_audit_checks(console: Console, result: Result, *, verbose: bool) -> None:
    """Print what failed unexplained with its message, the rest by name; with `verbose` all with their messages."""
    if verbose:
        print_checks(console, result.checks)
        return
    alone = unexplained(result.checks, result.findings)
    print_checks(console, alone)
    for outcome, more in (("failed", ""), ("passed", ""), ("skipped", " (-v says why)")):
        names = ", ".join(check.name for check in result.checks if check.outcome == outcome and check not in alone)
        if names:
            style = OUTCOME_STYLES[outcome]
            print_prose(console, names + more, indent=2, label=f"{outcome:<8}", label_style=style)


def _print_scope(console: Console, results: Sequence[Result], missing: Sequence[str], *, uses: bool) -> None:
    print_prose(console, checked(results), hang=2)
    print_prose(console, not_checked(results, missing, uses=uses), hang=2)


def _print_overview(console: Console, pairs: Sequence[tuple[str, Result]]) -> None:
    columns = (
        *(Column(heading) for heading in ("verdict", "law", "order", "epsilon")),
        *(Column(heading, right=True) for heading in ("own", "rival")),
        Column("expected"),
        Column("nearest rival", extra=True),
    )
    rows = [
        Row(
            _short(title),
            (
                Text(str(result.verdict), "bold"),
                result.decay.law or _NOTHING,
                result.decay.applied_to or _NOTHING,
                result.match.epsilon or _NOTHING,
                number(result.separation.own_ratio),
                number(result.separation.rival_ratio),
                MARKS[result.exit_status],
                _rival(result),
            ),
        )
        for title, result in pairs
    ]
    print_table(console, "optimizer", columns, rows)
    dtypes = ", ".join(sorted({result.dtype for _, result in pairs}))
    caption = (
        "own: distance from the rule it follows, at most 1; rival: distance from the nearest other rule; both in units "
        f"of what {dtypes} rounding explains"
    )
    console.print()
    print_prose(console, caption, style="dim")


def _short(title: str) -> str:
    """Return the title without the package's own prefix, which says nothing in a table of its own targets."""
    return title.removeprefix("optconform.adapters.")


def _rival(result: Result) -> str:
    """Return the nearest rival; of one under the same rule only what differs."""
    name = result.separation.nearest_rival or _NOTHING
    if result.match.rule and name.startswith(f"{result.match.rule}["):
        return name[len(result.match.rule) + 1 : -1]
    return name


def _facts(result: Result) -> list[tuple[str, str]]:
    decay, match, separation = result.decay, result.match, result.separation
    path = f", path {result.path}" if result.path else ""
    facts = [
        ("framework", f"{result.framework or 'not known'}, {result.dtype} on {result.device}{path}"),
        ("versions", versions_of(result.versions)),
        ("probe", settings_of(result.probe) or "defaults"),
        ("hyperparameters", settings_of(result.hyperparameters) or "defaults"),
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
    axes = axes_of(match) if match.rule else ""
    follows = ", ".join(each for each in (followed_by(match), axes) if each)
    if follows:
        facts.append(("follows", follows))
    if match.decision is not None:
        judged = f"{match.decision}{_open(match)}; {match.mode}, computed in {match.computed_in} on {match.platform}"
        facts.append(("decision", judged))
    if result.probe_match is not None and result.probe_match.decision is not None:
        facts.append(("at the probe", _decided(result.probe_match)))
    if separation.own_ratio is not None:
        facts.append(("own distance", f"{number(separation.own_ratio)} of the bound"))
        facts.append(("nearest rival", f"{number(separation.rival_ratio)} {_rival(result)}"))
    facts += [("cannot tell", sentence) for sentence in result.cannot_tell]
    facts.append(("elements", f"{result.elements:,} compared, {match.undecidable} undecidable"))
    if result.traces:
        facts.append(("traces", traces_of(result.traces)))
    return facts


def _decided(match: Match) -> str:
    """Return what the trajectory said, with what it could not tell."""
    follows = f": {match.rule}, {number(match.bound_ratio)} of the bound" if match.rule else ""
    return f"{match.decision}{follows}{_open(match)}"


def _open(match: Match) -> str:
    """Return the rivals that cannot be told apart, the first few by name."""
    if not match.cannot_tell:
        return ""
    more = f" and {len(match.cannot_tell) - _OPEN_SHOWN} more" if len(match.cannot_tell) > _OPEN_SHOWN else ""
    return f"; not told from {', '.join(match.cannot_tell[:_OPEN_SHOWN])}{more}"


def _print_parameters(console: Console, result: Result) -> None:
    console.print(Text("parameters, distances in what rounding explains", "bold"), soft_wrap=True)
    columns = (
        *(Column(heading) for heading in ("shape", "verdict", "coefficient")),
        *(Column(heading, right=True) for heading in ("from decoupled", "from L2")),
    )
    rows = []
    for trace in dict.fromkeys(parameter.trace for parameter in result.parameters):
        rows.append(Row(trace))
        rows += [_parameter_row(parameter) for parameter in result.parameters if parameter.trace == trace]
    print_table(console, "parameter", columns, rows)


def _parameter_row(parameter: ParameterResult) -> Row:
    return Row(
        f"  {parameter.name}",
        (
            "x".join(map(str, parameter.shape)) or "scalar",
            str(parameter.verdict),
            _first_coefficient(parameter),
            number(parameter.decoupling_ratio),
            number(parameter.substitution_ratio),
        ),
    )


def _print_rivals(console: Console, result: Result) -> None:
    console.print(Text("rivals, distances in bounds", "bold"), soft_wrap=True)
    rows = [
        Row(name, (number(ratio), "cannot be told apart here" if ratio <= 1.0 else ""))
        for name, ratio in sorted(result.match.rivals.items(), key=lambda item: item[1])
    ]
    print_table(console, "rival", (Column("distance", right=True), Column("")), rows)


def _first_coefficient(parameter: ParameterResult) -> str:
    if not parameter.coefficient:
        return _NOTHING
    return _measured(parameter.coefficient[0], next(iter(parameter.coefficient_uncertainty), None))


def _measured(value: float | None, uncertainty: float | None) -> str:
    """Return a figure with what rounding can have moved it by, where that is more than 1e-6 of it."""
    if value is None or uncertainty is None or uncertainty <= max(1e-6 * abs(value), 1e-9):
        return number(value)
    return f"{number(value)}+-{uncertainty:.1g}"
