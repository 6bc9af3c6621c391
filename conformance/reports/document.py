"""A run as its JSON document tells of it: what every renderer reads, whichever command wrote it.

Documents come from files that nobody has checked. All that a renderer shows of one is typed here, or an error says
where the document is not what a run writes; text is kept as it is, and escaped where it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ...adapters.text import escape_control
from ..check_report import SCHEMA as CHECK_SCHEMA
from ..json_form import revive
from ..measured import Measured, Place
from ..outcomes import gravest_first
from ..planned import title_of
from ..result import SCHEMA as AUDIT_SCHEMA
from ..result import ExitStatus, Finding, Result, Severity
from .document_error import DocumentError

GATE_SCHEMA = "optconform/gate/1"
SURVEY_SCHEMA = "optconform/survey/1"
"""As `gpu_ci` and `survey` write them: the one stands above this package, and the other brings NumPy."""
SCHEMAS = (GATE_SCHEMA, CHECK_SCHEMA, SURVEY_SCHEMA, AUDIT_SCHEMA)
"""What can be rendered."""

_SHOWN = 300
"""Characters of an error that are shown: it may quote a value of any length."""


class State(StrEnum):
    """How one result counts for the run, the worst first."""

    ERROR = "error"
    FAILED = "failed"
    UNDECIDED = "undecided"
    PASSED = "passed"
    SKIPPED = "skipped"

    @property
    def fails(self) -> bool:
        """Whether the run is not as expected because of it."""
        return self in (State.ERROR, State.FAILED, State.UNDECIDED)


_EXPECTED = {
    ExitStatus.COULD_NOT_RUN: State.ERROR,
    ExitStatus.NOT_AS_EXPECTED: State.FAILED,
    ExitStatus.UNDECIDED: State.UNDECIDED,
    ExitStatus.AS_EXPECTED: State.PASSED,
}
_SURVEYED = _EXPECTED | {ExitStatus.NOT_AS_EXPECTED: State.PASSED, ExitStatus.UNDECIDED: State.SKIPPED}
"""A survey expects nothing: only what could not run fails."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One result of the run."""

    title: str
    group: str
    """The runtime of a gate's case, the framework of any other result."""
    result: Result
    state: State
    skipped: str = ""
    """Why it was skipped, where it was."""
    measured: Measured = field(default_factory=Measured)

    @property
    def ratio(self) -> float | None:
        """Its distance from the rule that it follows or should, in bounds; None where there is none."""
        own = self.result.separation.own_ratio
        factors = (_number(finding.evidence.get("factor")) for finding in self.result.findings)
        return max((factor for factor in factors if factor is not None), default=None) if own is None else own

    @property
    def gravest(self) -> tuple[Finding, ...]:
        """Its findings, errors first and warnings next, without those that only inform; what is accepted comes last."""
        return tuple(each for each in gravest_first(self.result.findings) if each.severity is not Severity.INFO)


@dataclass(frozen=True, slots=True)
class Document:
    """A whole run."""

    schema: str
    exit_status: int
    entries: tuple[Entry, ...]
    """In the order of the document."""
    not_checked: tuple[str, ...] = ()
    """What was not checked, or not compared with a baseline, a sentence each."""
    unmatched: tuple[str, ...] = ()
    """Accepted findings of a configuration that were not found, a sentence each: the run fails for them."""
    baseline: str = ""
    """What the gate says of its baseline."""
    place: Place = field(default_factory=Place)
    date: str = ""

    @property
    def worst_first(self) -> list[Entry]:
        """The entries by state, those of one state by bound ratio, the largest first."""
        states = list(State)
        return sorted(self.entries, key=lambda entry: (states.index(entry.state), -_comparable(entry.ratio)))

    def count(self, state: State) -> int:
        """Return how many entries are in `state`."""
        return sum(entry.state is state for entry in self.entries)

    @property
    def unexplained(self) -> str:
        """Why the run as a whole is not as expected although every entry of it is; empty otherwise."""
        if self.exit_status == ExitStatus.AS_EXPECTED or any(entry.state.fails for entry in self.entries):
            return ""
        if not any(entry.state is State.PASSED for entry in self.entries):
            return f"nothing ran (exit status {self.exit_status})"
        if self.unmatched:
            return f"{len(self.unmatched)} of the accepted findings were not found"
        return self.baseline or f"no single result is wrong, and the run ended with exit status {self.exit_status}"


def read_document(document: Any) -> Document:
    """Return the run that a JSON document tells of. Raises `DocumentError` for any that no run has written."""
    schema = document.get("schema") if isinstance(document, Mapping) else None
    if schema not in SCHEMAS:
        found = f"schema {str(schema)[:_SHOWN]!r}" if schema is not None else "no schema"
        raise DocumentError(f"{escape_control(found)}, but should be one of {', '.join(SCHEMAS)}")
    if schema == AUDIT_SCHEMA:
        entry = _entry(document, _EXPECTED, "the document")
        return Document(schema, int(entry.result.exit_status), (entry,), _uncounted((entry,)))
    listed = document.get("results")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise DocumentError("results is missing or no list, but should hold one audit for each target")
    states = _SURVEYED if schema == SURVEY_SCHEMA else _EXPECTED
    entries = tuple(_entry(each, states, f"results[{index}]") for index, each in enumerate(listed))
    try:
        status = document["exit_status"]
        if status not in list(ExitStatus):
            raise ValueError(f"exit_status is {status!r}")
        baseline = revive(str, (document.get("baseline") or {}).get("sentence", ""))
        place = revive(Place, document.get("place") or {})
        date = revive(str, document.get("date", ""))
        unmatched = revive(tuple[str, ...], document.get("unmatched", []))
        left_out = (*_not_checked(document), *_uncounted(entries))
        return Document(schema, status, entries, left_out, unmatched, baseline, place, date)
    except _WRONG_SHAPE as error:
        raise _refused("the document", error) from error


_WRONG_SHAPE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


def _entry(document: Any, states: Mapping[ExitStatus, State], where: str) -> Entry:
    """Return one result, whose own state the table `states` tells by its exit status."""
    try:
        result = Result.from_json(document)
        case = revive(str, document.get("case", ""))
        skipped = revive(str, document.get("skipped", ""))
        measured = revive(Measured, document.get("measured") or {})
        status = result.exit_status
        # A case that should not have been skipped has a finding that says so, and is a failure.
        state = State.SKIPPED if skipped and status is ExitStatus.UNDECIDED else states[status]
    except _WRONG_SHAPE as error:
        raise _refused(where, error) from error
    path = None if result.path == "default" else result.path
    title = case or result.title or title_of(result.target, {}, path, result.dtype)
    group = case.partition("/")[0] if case else result.framework or "unknown framework"
    reason = skipped or (result.reason if state is State.SKIPPED else "")
    return Entry(title, group, result, state, reason, measured)


def _refused(where: str, error: Exception) -> DocumentError:
    missing = isinstance(error, KeyError)
    said = escape_control(str(error)[:_SHOWN])
    return DocumentError(f"{where} {f'lacks {said}' if missing else f'is not what a run writes: {said}'}")


def _not_checked(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence for everything that the run left out."""
    if document["schema"] == SURVEY_SCHEMA:
        from ..survey import read_report
        from .survey import problems_of

        return tuple(problems_of(read_report(document)))
    missing = revive(tuple[str, ...], document.get("skipped_frameworks", []))
    left_out = [f"not checked: {name} is not installed" for name in missing]
    if document["schema"] == GATE_SCHEMA and not document.get("baseline"):
        left_out.append("not compared with a baseline: none was named")
    return (*left_out, *revive(tuple[str, ...], document.get("left_out", [])))


def _uncounted(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return a sentence for the codes that were selected, and one for those that were ignored."""
    selected = dict.fromkeys(code for entry in entries for code in entry.result.counting.select)
    ignored = dict.fromkeys(code for entry in entries for code in entry.result.counting.ignore)
    return (
        *([f"no code counts but {', '.join(selected)} (select)"] if selected else ()),
        *([f"not counted: {', '.join(ignored)} (ignore)"] if ignored else ()),
    )


def _number(value: Any) -> float | None:
    """Return a number of the evidence, which may be anything; None for what is none."""
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None


def _comparable(ratio: float | None) -> float:
    """Return `ratio` so that it can be sorted: none below all, and what is no number above all."""
    return -1.0 if ratio is None else math.inf if math.isnan(ratio) else ratio
