"""A run of the gate: what became of every case, before it is held against a baseline."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..conformance.measured import Measured, Place
from ..conformance.result import Result
from .case import Case


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case of a run of the gate: it ran, it could not, or it was skipped."""

    case: Case
    result: Result
    """Verdict, bound ratio, rivals, findings and checks, as of an audit."""
    measured: Measured = field(default_factory=Measured)
    skipped: str = ""
    """Why it did not run although nothing is wrong: the target or this version has no such way. Empty where it ran."""


@dataclass(frozen=True, slots=True)
class GateRun:
    """All cases of one run of the gate, in the order of their names, before they are held against a baseline."""

    place: Place
    results: tuple[CaseResult, ...]
    not_asked: tuple[str, ...] = ()
    """Runtimes that the user left out by name: their cases in a baseline are not missed."""
    patterns: tuple[str, ...] = ()
    """Names of the cases that the user asked for, as a shell's patterns: others in a baseline are not missed then."""
    all_cases: bool = False
    """Whether slow cases were asked for too."""
    date: str = ""
    """Day of the run, ISO 8601, UTC."""
