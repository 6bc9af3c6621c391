"""Run a row of the collection, and say where the tool misjudged it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..api import make_subject
from ..audit import audit
from ..expectation import parse_expectation
from ..result import ExitStatus, Result, Severity
from .sound import Sound
from .table import Planted
from .trace import fault_trace


def run_planted(row: Planted) -> Result:
    """Return the audit of a planted fault on the collection's trace."""
    return _audited(
        row.target,
        row.expectation,
        row.framework,
        row.options,
        documented_rule=row.documented_rule,
        dtype=row.dtype,
    )


def run_without_fault(row: Planted) -> Result:
    """Return the audit of the same target at `row.sound_options`, which must be as expected.

    Raises `ValueError` for a row that has no sound form.
    """
    if row.sound_options is None:
        raise ValueError(f"{row.name} has no sound form: {row.target} shows this fault at all options.")
    return _audited(row.target, row.expectation, row.framework, row.sound_options, dtype=row.dtype)


def run_sound(row: Sound) -> Result:
    """Return the audit of a sound optimizer on the collection's trace."""
    return _audited(row.target, row.expectation, row.framework, row.options, path=row.path)


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


def _audited(
    target: str,
    expectation: str,
    framework: str,
    options: Mapping[str, Any],
    *,
    path: str | None = None,
    documented_rule: str | None = None,
    dtype: str = "float64",
) -> Result:
    subject = make_subject(target, framework=framework, dtype=dtype, path=path, hyperparameters=options)
    if documented_rule is not None:
        subject = replace(subject, documented_rule=documented_rule)
    return audit(subject, [fault_trace()], parse_expectation(expectation), trace_arguments=None)


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
