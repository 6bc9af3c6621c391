"""How an audit ends: its findings and checks, which of them count, and the exit status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any


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
    NOT_COMPARABLE = 5
    """Of the gate alone: its baseline is of another class of device."""


SEVEREST_FIRST = (
    ExitStatus.USAGE,
    ExitStatus.COULD_NOT_RUN,
    ExitStatus.NOT_AS_EXPECTED,
    ExitStatus.NOT_COMPARABLE,
    ExitStatus.UNDECIDED,
    ExitStatus.AS_EXPECTED,
)


def worst(statuses: list[ExitStatus]) -> ExitStatus:
    """Return the severest exit status; of none at all, `UNDECIDED`, since nothing was checked."""
    return next((status for status in SEVEREST_FIRST if status in statuses), ExitStatus.UNDECIDED)


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
    accepted: str = ""
    """Why the finding does not count, in the words of the configuration that accepts it; empty where it does."""

    @property
    def counts_against(self) -> bool:
        """Whether it is an error that nobody accepted."""
        return self.severity is Severity.ERROR and not self.accepted


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by severity, those of one severity in their own order; what is accepted comes last."""
    order = list(Severity)
    return sorted(findings, key=lambda finding: (bool(finding.accepted), order.index(finding.severity)))


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

    def without(self, reasons: Mapping[str, str]) -> Check:
        """Return the check; where it failed under a code of `reasons`, as one that was skipped for that reason.

        It is still shown, and it neither fails nor passes.
        """
        if self.outcome != "failed" or self.code is None or self.code not in reasons:
            return self
        return replace(self, outcome="skipped", message=f"{self.message} ({self.code} {reasons[self.code]})")


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
