"""What an audit returns: verdict, decay, match, parameters, findings and counts, and its JSON form.

The JSON document is `optconform/audit/1`; `schema/audit-1.schema.json` describes it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Self

from .json_form import plain_fields, revive

SCHEMA = "optconform/audit/1"


class Verdict(StrEnum):
    """What the optimizer does with weight decay."""

    DECOUPLED = "decoupled"
    L2 = "l2"
    EQUIVALENT = "equivalent"
    PRECONDITIONED = "preconditioned"
    IGNORED = "ignored"
    NONE = "none"
    EXCLUDED = "excluded"
    """Of a single parameter only: it was excluded from decay, and does not decay."""
    MIXED = "mixed"
    OTHER = "other"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Severity(StrEnum):
    """How much a finding weighs; only `error` changes the exit status."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class ExitStatus(IntEnum):
    """Exit status of the command line; the worst of several is the first of `SEVEREST_FIRST` among them."""

    AS_EXPECTED = 0
    NOT_AS_EXPECTED = 1
    USAGE = 2
    COULD_NOT_RUN = 3
    UNDECIDED = 4


SEVEREST_FIRST = (
    ExitStatus.USAGE,
    ExitStatus.COULD_NOT_RUN,
    ExitStatus.NOT_AS_EXPECTED,
    ExitStatus.UNDECIDED,
    ExitStatus.AS_EXPECTED,
)


@dataclass(frozen=True, slots=True)
class Decay:
    """How much decay is applied, to what, and in which form; None where it was not or cannot be found."""

    law: str | None = None
    """`lr*wd`, `schedule*wd`, `wd` or `other`."""
    factor: float | None = None
    """Constant k of x = k * lr**a * wd**b, of which the form makes c."""
    lr_exponent: float | None = None
    wd_exponent: float | None = None
    follows_schedule: bool | None = None
    applied_to: str | None = None
    """`previous`, `updated` or `either`."""
    form: str | None = None
    """`explicit`, `proximal`, `cautious`, `repeated` or `other`."""
    effective_ratio: float | None = None
    """Share of the nominal decay that rounding leaves at the user's own hyperparameters, as `effective_note` says."""
    effective_note: str | None = None
    """On what that share was measured, or why it was not."""
    factor_uncertainty: float | None = None
    """How far rounding can have moved the factor; so below for the exponents."""
    lr_exponent_uncertainty: float | None = None
    wd_exponent_uncertainty: float | None = None


SCHEDULE_WORDS = {
    True: "follows the schedule",
    False: "does not follow the schedule",
    None: "follows the schedule in no power of it",
}
"""`Decay.follows_schedule` in words."""


class Decision(StrEnum):
    """What the bound says about the rules of the reference."""

    ACCEPT = "accept"
    """Every element inside the bound of one rule, and the other kind of decay outside its own."""
    REJECT = "reject"
    """No rule holds every element inside its bound."""
    CANNOT_TELL = "cannot tell"
    """Rules of both kinds of decay hold every element inside their bounds, or are too near each other."""
    UNDECIDABLE = "undecidable"
    """No element has a bound that says anything at this precision."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which rule of the reference the optimizer walks, at the user's hyperparameters."""

    decision: Decision | None = None
    """None where there was nothing to hold against a rule."""
    rule: str | None = None
    law: str | None = None
    order: str | None = None
    epsilon: str | None = None
    bias_correction: bool | None = None
    momentum: str | None = None
    bound_ratio: float | None = None
    """Largest |implementation - reference| / bound of the rule; at most 1 where it matches."""
    rivals: Mapping[str, float] = field(default_factory=dict)
    """The same figure for every rule one axis away, where it lies apart from the match by more than its bound."""
    cannot_tell: tuple[str, ...] = ()
    """Rivals that are not rejected: at most 1 everywhere."""
    elements: int = 0
    """Element comparisons made with the matched (or nearest) rule."""
    undecidable: int = 0
    """Element comparisons of which the bound says nothing: none exists (overflow, 0/0), or it exceeds theta."""
    nearest: str | None = None
    """Where nothing matches: the hypothesis that came nearest."""
    explained_by: str | None = None
    """The one changed constant with which the nearest would match, if there is one."""
    mode: str | None = None
    """What the reference takes over before every step: `theta-resync`, `free-run` or `full-resync`."""
    computed_in: str | None = None
    """Format in which the optimizer is allowed to round every operation."""
    platform: str | None = None
    """Row of the platform table that the bound is for."""


@dataclass(frozen=True, slots=True)
class ParameterResult:
    """The verdict on one parameter tensor of one trace."""

    trace: str
    name: str
    shape: tuple[int, ...]
    verdict: Verdict
    steps: int = 0
    """Steps of the paired runs that were judged."""
    coefficient: tuple[float, ...] = ()
    """c_t of every step in which it could be measured."""
    coefficient_uncertainty: tuple[float, ...] = ()
    """How far rounding can have moved each of them."""
    reason: str = ""
    """One sentence: what the verdict rests on."""
    decoupling_ratio: float | None = None
    """Largest distance of the decay's displacement from -c_t * theta, in units of what rounding explains."""
    substitution_ratio: float | None = None
    """Largest distance from the run fed with g + lambda * theta, likewise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule of the rule table that fired, with its evidence and the command that shows it again."""

    rule: str
    name: str
    severity: Severity
    message: str
    parameter: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    rerun: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One check of an audit: its name, how it ended, and why."""

    name: str
    outcome: str
    """`passed`, `failed` or `skipped`."""
    message: str
    code: str | None = None
    """The rule under which a failure of this check is reported, if there is one."""
    severity: Severity | None = None
    """Of that finding, where the check has failed; None stands for an error."""

    @property
    def counts_against(self) -> bool:
        """Whether it has failed, and not with a warning alone: no warning changes the exit status."""
        return self.outcome == "failed" and self.severity in (None, Severity.ERROR)


@dataclass(frozen=True, slots=True)
class Counting:
    """Which codes count: those selected, or all, less those ignored."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def includes(self, code: str) -> bool:
        """Whether findings of `code` count."""
        return (not self.select or code in self.select) and code not in self.ignore

    def added_to(self, command: str | None) -> str | None:
        """Return `command` with the options that say the same; unchanged where there is no command."""
        options = [f" --select {code}" for code in self.select] + [f" --ignore {code}" for code in self.ignore]
        return command + "".join(options) if command else command


@dataclass(frozen=True, slots=True)
class Separation:
    """How surely the verdict stands: its own ratio (at most 1) and that of the nearest rival (far above 1)."""

    own_ratio: float | None = None
    nearest_rival: str | None = None
    rival_ratio: float | None = None


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
    versions: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)
    decay: Decay = Decay()
    match: Match = Match()
    """At the user's own hyperparameters."""
    probe_match: Match | None = None
    """At the probe's, where it was walked: below float64 it helps to decide the kind."""
    separation: Separation = Separation()
    cannot_tell: tuple[str, ...] = ()
    """What these runs leave open, a sentence each: other hypotheses that fit as well."""
    parameters: tuple[ParameterResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    traces: tuple[Mapping[str, str], ...] = ()
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
        """Whether something was checked and passed, and no check failed with more than a warning."""
        return any(check.outcome == "passed" for check in self.checks) and not any(
            check.counts_against for check in self.checks
        )

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status that this result alone calls for."""
        if self.verdict is Verdict.ERROR:
            return ExitStatus.COULD_NOT_RUN
        if any(finding.severity is Severity.ERROR for finding in self.findings):
            return ExitStatus.NOT_AS_EXPECTED
        if any(check.counts_against for check in self.checks):
            return ExitStatus.NOT_AS_EXPECTED
        if self.verdict is Verdict.INCONCLUSIVE or not self.as_expected:
            return ExitStatus.UNDECIDED
        return ExitStatus.AS_EXPECTED

    def counting_only(self, counting: Counting) -> Result:
        """Return the result with the findings of codes that do not count left out.

        A check that failed under such a code becomes one that was skipped: it is still shown, and it
        neither fails nor passes. The rerun commands leave out the same.
        """
        return dataclasses.replace(
            self,
            findings=tuple(
                dataclasses.replace(finding, rerun=counting.added_to(finding.rerun))
                for finding in self.findings
                if counting.includes(finding.rule)
            ),
            checks=tuple(
                dataclasses.replace(check, outcome="skipped", message=f"{check.message} ({check.code} ignored)")
                if check.outcome == "failed" and check.code is not None and not counting.includes(check.code)
                else check
                for check in self.checks
            ),
            rerun=counting.added_to(self.rerun) or "",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/audit/1` document: plain dicts, lists, strings, finite numbers and None."""
        document = {"schema": SCHEMA, **plain_fields(self)}
        counts = {outcome: sum(check.outcome == outcome for check in self.checks) for outcome in _OUTCOMES}
        document["checks"] = {"planned": len(self.checks), **counts, "details": document["checks"]}
        document |= {"elements": self.elements, "as_expected": self.as_expected, "exit_status": int(self.exit_status)}
        return document


_OUTCOMES = ("passed", "failed", "skipped")


def worst(statuses: list[ExitStatus]) -> ExitStatus:
    """Return the severest exit status; of none at all, `UNDECIDED`, since nothing was checked."""
    return next((status for status in SEVEREST_FIRST if status in statuses), ExitStatus.UNDECIDED)
