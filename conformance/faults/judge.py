"""Run a row of the collection, and say where the tool misjudged it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..api import make_subject
from ..audit import audit
from ..expectation import parse_expectation
from ..planned import Depth, PlannedAudit
from ..result import Counting, ExitStatus, Result, Severity
from ..workers.limits import Limits
from ..workers.pool import run_isolated
from .planted import Planted
from .sound import Sound
from .trace import TRACES, fault_trace


def run_planted(row: Planted) -> Result:
    """Return the audit of a planted fault.

    Besides the decay it looks for those of the row's codes that metamorphic checks find, and for no others.
    """
    return _run(row, row.options, row.documented_rule)


def run_without_fault(row: Planted) -> Result:
    """Return the audit of the same target at `row.sound_options`, which must be as expected.

    It is judged on the collection's trace in this process, whatever the fault needs. Raises `ValueError` for a row
    that has no sound form.
    """
    if row.sound_options is None:
        raise ValueError(f"{row.name} has no sound form: {row.target} shows this fault at all options.")
    return _run(replace(row, trace=fault_trace().name, timeout=None), row.sound_options, None)


def run_sound(row: Sound) -> Result:
    """Return the audit of a sound optimizer on the collection's trace, with every metamorphic check if it has any."""
    depth = Depth() if row.metamorphic else None
    subject = make_subject(
        row.target, framework=row.framework, dtype=row.dtype, path=row.path, hyperparameters=row.options
    )
    return audit(subject, [fault_trace()], parse_expectation(row.expectation), trace_arguments=None, depth=depth)


def _run(row: Planted, options: Mapping[str, Any], documented_rule: str | None) -> Result:
    expectation, depth = parse_expectation(row.expectation), Depth(Counting(select=(row.code, *row.also)))
    if row.timeout is not None:
        plan = [PlannedAudit(row.target, expectation, options, row.framework, dtype=row.dtype, depth=depth)]
        ((_, result),) = run_isolated(plan, [row.trace], limits=Limits(timeout=row.timeout))
        return result
    subject = make_subject(row.target, framework=row.framework, dtype=row.dtype, hyperparameters=options)
    if documented_rule is not None:
        subject = replace(subject, documented_rule=documented_rule)
    return audit(subject, [TRACES[row.trace]()], expectation, trace_arguments=None, depth=depth)


def is_sound_form(row: Sound, fault: Planted) -> bool:
    """Return whether `row` is what `fault` is planted in: the audit of one is that of the other without its fault."""
    if row.path is not None:
        return False
    of_row = (row.target, row.options, row.expectation, row.dtype)
    return of_row == (fault.target, fault.sound_options, fault.expectation, fault.dtype)


def misjudged_fault(row: Planted, result: Result) -> list[str]:
    """Return what is wrong with `result` as a judgement of `row`, one sentence each; none where it is right.

    Right is: the row's code fires with its severity, the errors besides are those of `row.also` and no others,
    and the exit status is the row's.
    """
    shown = _shown(result)
    wrong = []
    if (row.code, row.severity) not in {(finding.rule, finding.severity) for finding in result.findings}:
        wrong.append(f"{row.name}: {row.code} did not fire as {row.severity}; {shown}")
    besides = _errors(result) - {row.code}
    if extra := besides - row.also:
        wrong.append(f"{row.name}: {', '.join(sorted(extra))} fired as error besides {row.code}; {shown}")
    if absent := row.also - besides:
        wrong.append(f"{row.name}: {', '.join(sorted(absent))} did not fire as error besides {row.code}; {shown}")
    return [*wrong, *_wrong_status(row.name, result, row.exit_status)]


def false_alarms(name: str, result: Result) -> list[str]:
    """Return what is wrong with `result` as a judgement of a sound optimizer: any error, or an exit status but 0."""
    errors = _errors(result)
    alarms = [f"{name}: {', '.join(sorted(errors))} fired on a sound optimizer; {_shown(result)}"] if errors else []
    return [*alarms, *_wrong_status(name, result, ExitStatus.AS_EXPECTED)]


def _errors(result: Result) -> set[str]:
    return {finding.rule for finding in result.findings if finding.severity is Severity.ERROR}


def _wrong_status(name: str, result: Result, wanted: ExitStatus) -> list[str]:
    if result.exit_status is wanted:
        return []
    return [f"{name}: exit status {int(result.exit_status)}, expected {int(wanted)}; {_shown(result)}"]


def _shown(result: Result) -> str:
    """Return verdict, findings and failed checks in one line."""
    findings = "; ".join(f"{finding.rule} ({finding.severity}) {finding.message}" for finding in result.findings)
    failed = "; ".join(f"{check.name}: {check.message}" for check in result.checks if check.outcome == "failed")
    return f"verdict {result.verdict} ({result.reason}), findings [{findings}], failed checks [{failed}]"
