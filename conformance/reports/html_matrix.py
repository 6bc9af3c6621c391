"""The matrix of the HTML report: targets x properties, each cell a state and a few words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..result import Decision, Severity, Verdict
from .document import Document, Entry, State
from .html_marks import SEVERITIES, STATES, Mark
from .wording import number, repeats_of, ulp_of

_MOST = 1e300
"""What an infinite or undefined ratio is sorted as."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One property of one target."""

    text: str
    mark: Mark | None = None
    """None where the property has no state of its own: a figure, or nothing at all."""
    note: str = ""
    """What is told on hovering: the checks and findings that the state rests on."""
    value: float | None = None
    """What the column is sorted by, where that is a number."""


@dataclass(frozen=True, slots=True)
class Column:
    """One property: what is read of it, and which checks and findings decide its state."""

    heading: str
    title: str
    value: Callable[[Entry], str]
    codes: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    """Names of the checks, without what they name in brackets."""
    note: Callable[[Entry], str] = lambda entry: ""
    """What is told on hovering, where it is neither a check nor a finding."""
    own_mark: Callable[[Entry], Mark | None] = lambda entry: None
    """A state of its own, which holds where no check failed and nothing was warned of."""
    figure: Callable[[Entry], float | None] | None = None
    """The number that the column is sorted by; the state and the text where it is None."""

    def cell(self, entry: Entry) -> Cell:
        """Return the property of one target."""
        checks = [check for check in entry.result.checks if check.name.partition("[")[0] in self.checks]
        findings = [finding for finding in entry.result.findings if finding.rule in self.codes]
        text = self.value(entry)
        if not text and checks:
            passed = sum(check.outcome == "passed" for check in checks)
            text = f"{passed} of {len(checks)}" if len(checks) > 1 else checks[0].outcome
        text = text or ", ".join(dict.fromkeys(finding.rule for finding in findings))
        marks = [SEVERITIES[check.severity or Severity.ERROR] for check in checks if check.outcome == "failed"]
        marks += [SEVERITIES[finding.severity] for finding in findings if not finding.accepted]
        notes = [self.note(entry)] if self.note(entry) else []
        notes += [f"{finding.rule} {finding.message}" for finding in findings]
        notes += [f"{check.outcome} {check.name}: {check.message}" for check in checks if check.outcome != "passed"]
        bad = [mark for mark in marks if mark is not Mark.INFO]
        mark = min(bad, key=lambda each: each.rank) if bad else self.own_mark(entry)
        if mark is None and checks:
            mark = Mark.PASS if any(check.outcome == "passed" for check in checks) else Mark.SKIP
        if mark is None and text and self.figure is None:
            mark = Mark.INFO
        return Cell(text, mark, "; ".join(notes[:_NOTES]), None if self.figure is None else self.figure(entry))


_NOTES = 4
"""Sentences of a note: a title is no place to read in; the section of the target has all of them."""


def _verdict(entry: Entry) -> str:
    return entry.skipped or str(entry.result.verdict)


def _untold_kind(entry: Entry) -> Mark | None:
    """Return the state of a kind of decay that cannot be told, and of one of which nothing is expected."""
    if entry.state is State.SKIPPED or entry.result.verdict is Verdict.INCONCLUSIVE:
        return STATES[entry.state]
    return Mark.INFO if entry.result.expected.startswith("any") else None


def _open_decision(entry: Entry) -> Mark | None:
    return Mark.UNKNOWN if entry.result.match.decision in (Decision.CANNOT_TELL, Decision.UNDECIDABLE) else None


def _order(entry: Entry) -> str:
    decay = entry.result.decay
    form = f", {decay.form}" if decay.form not in (None, "explicit") else ""
    return f"{decay.applied_to or ''}{form}".removeprefix(", ")


def _axis(name: str) -> Callable[[Entry], str]:
    """Return what reads an axis of the rule that is followed, at the user's hyperparameters or else at the probe's."""

    def value(entry: Entry) -> str:
        for match in (entry.result.match, entry.result.probe_match):
            found = getattr(match, name, None)
            if found is not None:
                return str(found).removeprefix("lr_")
        return ""

    return value


def _rounding(entry: Entry) -> str:
    left = entry.result.decay.effective_ratio
    return "" if left is None else f"{100 * left:.4g} %"


def _trajectory(entry: Entry) -> str:
    match = entry.result.match
    return match.rule or (str(match.decision) if match.decision else "")


def _distance(entry: Entry) -> str:
    return "" if entry.ratio is None else number(entry.ratio)


def _rival(entry: Entry) -> str:
    separation = entry.result.separation
    return "" if separation.nearest_rival is None else number(separation.rival_ratio)


def _sortable(value: float | None) -> float | None:
    return value if value is None or abs(value) < _MOST else _MOST


def _nothing(entry: Entry) -> str:
    return ""


COLUMNS: tuple[Column, ...] = (
    Column(
        "State",
        "whether the result is as expected",
        lambda entry: str(entry.state),
        own_mark=lambda entry: STATES[entry.state],
    ),
    Column(
        "Verdict",
        "what weight decay really does, and whether that is the kind expected",
        _verdict,
        ("OC101", "OC102", "OC103", "OC105", "OC106", "OC107", "OC108", "OC109", "OC901", "OC902", "OC903", "OC904"),
        ("kind", "own values"),
        own_mark=_untold_kind,
    ),
    Column(
        "Own",
        "distance from the rule that it follows, in bounds: at most 1",
        _distance,
        figure=lambda each: _sortable(each.ratio),
    ),
    Column(
        "Rival",
        "distance from the nearest other rule in bounds: far above 1",
        _rival,
        note=lambda entry: entry.result.separation.nearest_rival or "",
        figure=lambda entry: _sortable(entry.result.separation.rival_ratio),
    ),
    Column(
        "Law",
        "which of learning rate, schedule and weight decay the decay follows",
        lambda entry: entry.result.decay.law or "",
        ("OC201", "OC202", "OC203"),
        ("law",),
    ),
    Column("Order", "the parameters that decay acts on: before or after the step", _order, ("OC104",), ("order",)),
    Column("Epsilon", "where epsilon is added", _axis("epsilon"), ("OC302",), ("epsilon",)),
    Column(
        "Momentum",
        "learning rate inside or outside the momentum buffer",
        _axis("momentum"),
        ("OC304",),
        ("momentum",),
    ),
    Column(
        "Rounding",
        "share of the nominal decay that is left in working precision",
        _rounding,
        ("OC204", "OC305", "OC306"),
    ),
    Column(
        "Trajectory",
        "the rule of the reference that every step stays inside the bound of",
        _trajectory,
        ("OC301", "OC303", "OC409", "OC501"),
        ("trajectory",),
        own_mark=_open_decision,
    ),
    Column(
        "Gradients",
        "maximize, missing, mutated, sparse and all-zero gradients, accumulation",
        _nothing,
        ("OC401", "OC403", "OC404", "OC406", "OC407"),
        ("maximize", "missing gradients", "mutated gradients", "accumulation", "sparse gradients", "zero gradients"),
    ),
    Column(
        "Groups",
        "parameters in groups, excluded from decay, and options",
        _nothing,
        ("OC402", "OC410", "OC413"),
        ("grouping", "exclusion", "options"),
    ),
    Column(
        "Changes",
        "learning rate or weight decay changed between steps",
        _nothing,
        ("OC412", "OC414"),
        ("lr change", "decay change"),
    ),
    Column(
        "Resuming",
        "saving and restoring in the middle of a run; the same bits twice",
        _nothing,
        ("OC405", "OC411", "OC907"),
        ("restore", "reproducibility"),
    ),
    Column("Paths", "the execution paths agree with each other", _nothing, ("OC408",), ("paths",)),
    Column(
        "ULP from CPU",
        "distance from the same case on the CPU, in units in the last place",
        lambda entry: "" if entry.measured.from_cpu is None else ulp_of(entry),
        figure=lambda entry: _sortable(entry.measured.from_cpu.largest) if entry.measured.from_cpu else None,
    ),
    Column(
        "Repeated",
        "whether repeated runs gave the same bits",
        lambda entry: "" if entry.measured.reproducible is None else repeats_of(entry),
        ("OC502", "OC503"),
    ),
)
"""All there are; of one run those are shown in which anything is told."""


@dataclass(frozen=True, slots=True)
class Row:
    """One target: its number in the report, the cells of the columns that are shown."""

    number: int
    entry: Entry
    cells: tuple[Cell, ...]


def matrix_of(document: Document) -> tuple[tuple[Column, ...], tuple[Row, ...]]:
    """Return the columns in which something is told of the run, and a row for each result, the worst first."""
    entries = document.worst_first
    filled = [(column, [column.cell(entry) for entry in entries]) for column in COLUMNS]
    shown = [(column, cells) for column, cells in filled if any(cell.text or cell.mark for cell in cells)]
    rows = (Row(place + 1, entry, tuple(cells[place] for _, cells in shown)) for place, entry in enumerate(entries))
    return tuple(column for column, _ in shown), tuple(rows)
