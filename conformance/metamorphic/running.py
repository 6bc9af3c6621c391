"""Run the metamorphic checks of one subject, and turn their outcomes into checks and findings."""

from __future__ import annotations

from collections.abc import Sequence

from ...adapters.errors import BuildFailed, MissingDevice, NotSupported, StepFailed, UnknownOption
from ..codes import CODES
from ..observations import make_finding
from ..planned import Depth
from ..result import Check, Finding
from ..subject import Subject
from ..traces import Trace
from .attempts import attempted
from .drawing import drawn_setting
from .paths import compiled_asked
from .setting import MetamorphicCheck, Outcome, Setting
from .table import CHECKS


def metamorphic_checks(
    subject: Subject, traces: Sequence[Trace], depth: Depth, rerun: str | None = None
) -> tuple[tuple[Check, ...], tuple[Finding, ...]]:
    """Run the metamorphic checks whose codes count; return them, and the findings of those that failed.

    All are skipped, with the reason, where the subject cannot even be walked plainly at the probe's values.
    """
    rows = [row for row in CHECKS if any(map(depth.counting.includes, (row.code, *row.also)))]
    setting = drawn_setting(subject, traces, compiled=compiled_asked(subject.adapter, depth.paths))
    blocked = blocked_by(setting)
    checks, findings = [], []
    for row in rows:
        of_row, found = run_row(row, setting, blocked, rerun)
        checks += of_row
        findings += found
    return tuple(checks), tuple(findings)


def run_row(
    row: MetamorphicCheck, setting: Setting | None, blocked: str = "", rerun: str | None = None
) -> tuple[list[Check], list[Finding]]:
    """Run one row of the table in `setting`; return its checks, one for each variant, and their findings.

    It is skipped where it is `blocked`, for that reason.
    """
    skipped = [Outcome("skipped", blocked)]
    checks, findings = [], []
    for outcome in skipped if blocked or setting is None else attempted(row.run(setting)):
        code = outcome.code or row.code
        failed = outcome.outcome == "failed"
        severity = (outcome.severity or CODES[code].severity) if failed else None
        name = row.name if outcome.variant is None else f"{row.name}[{outcome.variant}]"
        checks.append(Check(name, outcome.outcome, outcome.message, code, severity))
        if failed:
            findings.append(
                make_finding(
                    code,
                    outcome.message,
                    rerun=rerun,
                    severity=severity,
                    parameter=outcome.parameter,
                    **outcome.evidence,
                )
            )
    return checks, findings


def blocked_by(setting: Setting | None) -> str:
    """Return why nothing can be run in this setting; empty where the plain walk can."""
    if setting is None:
        return "no trace has a parameter with an element"
    try:
        _ = setting.plain
    except (BuildFailed, MissingDevice, NotSupported, StepFailed, UnknownOption) as error:
        return f"no walk to compare with: {error}"
    return ""
