"""What an audit returns: verdict, decay, match, parameters, findings and counts, and its JSON form.

The JSON document is `optconform/audit/1`; `schema/audit-1.schema.json` describes it. The parts of a result are defined
in `verdicts` and `outcomes`, and are all to be had here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from .json_form import plain_fields, revive
from .outcomes import Check, Counting, ExitStatus, Finding, Severity, worst
from .series import Series
from .verdicts import SCHEDULE_WORDS, Decay, Decision, Match, ParameterResult, Separation, Verdict

SCHEMA = "optconform/audit/1"

__all__ = [
    "SCHEDULE_WORDS",
    "SCHEMA",
    "Check",
    "Counting",
    "Decay",
    "Decision",
    "ExitStatus",
    "Finding",
    "Match",
    "ParameterResult",
    "Result",
    "Separation",
    "Severity",
    "Verdict",
    "worst",
]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything one audit of one target found."""

    target: str
    framework: str | None
    verdict: Verdict
    expected: str
    reason: str
    device: str = "cpu"
    dtype: str = "float64"
    path: str | None = None
    remark: str = ""
    """What the target was handed besides parameters and numbers, or was spared, and why; empty for most."""
    title: str = ""
    """The target as reports name it: with the options, path and dtype that were asked for; empty where none were."""
    versions: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)
    decay: Decay = field(default_factory=Decay)
    match: Match = field(default_factory=Match)
    """At the user's own hyperparameters."""
    probe_match: Match | None = None
    """At the probe's, where it was walked: below float64 it helps to decide the kind."""
    separation: Separation = field(default_factory=Separation)
    cannot_tell: tuple[str, ...] = ()
    """What these runs leave open, a sentence each: other hypotheses that fit as well."""
    parameters: tuple[ParameterResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    traces: tuple[Mapping[str, str], ...] = ()
    series: Series = field(default_factory=Series)
    """Points for the pictures of a report."""
    counting: Counting = field(default_factory=Counting)
    """Which codes counted: the findings of the others are left out."""
    rerun: str = ""
    seconds: float = 0.0
    output: str = ""
    """The last of what the target printed, where it ran in a worker process; empty where it was not captured."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the result of which `document` is the JSON form.

        Values without a type of their own, such as hyperparameters and evidence, stay as JSON has them. Raises
        `TypeError`, `ValueError` or `KeyError` for a document of another shape.
        """
        result: Self = revive(cls, {**document, "checks": document["checks"]["details"]})
        return result

    @property
    def elements(self) -> int:
        """Element comparisons made: in the paired runs, and along the trajectory."""
        paired = sum(parameter.steps * math.prod(parameter.shape) for parameter in self.parameters)
        return paired + self.match.elements

    @property
    def as_expected(self) -> bool:
        """Whether something that counts was checked and passed, and no check failed with more than a warning."""
        return any(
            check.outcome == "passed" and (check.code is None or self.counting.includes(check.code))
            for check in self.checks
        ) and not any(check.counts_against for check in self.checks)

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status that this result alone calls for."""
        if self.verdict is Verdict.ERROR:
            return ExitStatus.COULD_NOT_RUN
        if any(finding.counts_against for finding in self.findings):
            return ExitStatus.NOT_AS_EXPECTED
        if any(check.counts_against for check in self.checks):
            return ExitStatus.NOT_AS_EXPECTED
        if self.verdict is Verdict.INCONCLUSIVE or not self.as_expected:
            return ExitStatus.UNDECIDED
        return ExitStatus.AS_EXPECTED

    def counting_only(self, counting: Counting) -> Result:
        """Return the result with the findings of codes that do not count left out, and such checks skipped.

        The rerun commands leave out the same.
        """
        codes = {check.code for check in self.checks if check.code is not None}
        ignored = {code: "ignored" for code in codes if not counting.includes(code)}
        return dataclasses.replace(
            self,
            findings=tuple(
                dataclasses.replace(finding, rerun=counting.added_to(finding.rerun))
                for finding in self.findings
                if counting.includes(finding.rule)
            ),
            checks=tuple(check.without(ignored) for check in self.checks),
            counting=counting,
            rerun=counting.added_to(self.rerun) or "",
        )

    def accepting(self, reasons: Mapping[str, str]) -> Result:
        """Return the result with its findings of the codes in `reasons` accepted, and the checks they explain skipped.

        They stay, and do not count. What only informs needs no accepting, and is left as it is; so is a check that
        failed under a code of which there is no finding here: nobody would see what was accepted.
        """
        findings = tuple(
            dataclasses.replace(finding, accepted=reasons[finding.rule])
            if finding.rule in reasons and finding.severity is not Severity.INFO
            else finding
            for finding in self.findings
        )
        explained = {finding.rule: f"accepted: {finding.accepted}" for finding in findings if finding.accepted}
        return dataclasses.replace(
            self, findings=findings, checks=tuple(check.without(explained) for check in self.checks)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/audit/1` document: plain dicts, lists, strings, finite numbers and None."""
        document = {"schema": SCHEMA, **plain_fields(self)}
        counts = {outcome: sum(check.outcome == outcome for check in self.checks) for outcome in _OUTCOMES}
        document["checks"] = {"planned": len(self.checks), **counts, "details": document["checks"]}
        document |= {"elements": self.elements, "as_expected": self.as_expected, "exit_status": int(self.exit_status)}
        return document


_OUTCOMES = ("passed", "failed", "skipped")
