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
from .setting import Outcome, Setting
from .table import CHECKS


def metamorphic_checks(
    subject: Subject, traces: Sequence[Trace], depth: Depth, rerun: str | None = None
) -> tuple[tuple[Check, ...], tuple[Finding, ...]]:
    """Run the metamorphic checks whose codes count; return them, and the findings of those that failed.

    All are skipped, with the reason, where the subject cannot even be walked plainly at the probe's values.
    """
    rows = [row for row in CHECKS if any(map(depth.counting.includes, (row.code, *row.also)))]
    setting = drawn_setting(subject, traces, compiled=compiled_asked(subject.adapter, depth.paths))
    blocked = "no trace has a parameter with an element" if setting is None else _blocked(setting)
    checks, findings = [], []
    for row in rows:
        outcomes = [Outcome("skipped", blocked)] if blocked or setting is None else list(attempted(row.run(setting)))
        for outcome in outcomes:
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
    return tuple(checks), tuple(findings)


def _blocked(setting: Setting) -> str:
    """Return why nothing can be run in this setting; empty where the plain walk can."""
    try:
        _ = setting.plain
    except (BuildFailed, MissingDevice, NotSupported, StepFailed, UnknownOption) as error:
        return f"no walk to compare with: {error}"
    return ""
