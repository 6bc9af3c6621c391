"""What all reports of a run say alike: the counts, where a finding shows first, on what it ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...adapters.text import counted, escape_control
from ..check_report import SCHEMA as CHECK_SCHEMA
from ..result import SCHEMA as AUDIT_SCHEMA
from ..result import ExitStatus, Finding, Match
from .document import Document, Entry, State
from .scope import beyond

STATE_WORDS = {
    State.PASSED: "as expected",
    State.FAILED: "not as expected",
    State.ERROR: "could not run",
    State.UNDECIDED: "undecided",
    State.SKIPPED: "skipped",
}
_ALWAYS = (State.PASSED, State.FAILED)
"""States that are counted even where there is none."""
_VALUES = {"found": "found", "expected": "expected", "bound": "bound", "factor": "distance in bounds"}
"""Key of the evidence -> what it is called."""
_NOTHING = "-"


def counts_of(document: Document) -> str:
    """Return how many results there are, and how they ended."""
    counts = {state: document.count(state) for state in STATE_WORDS}
    shown = [f"{count} {STATE_WORDS[state]}" for state, count in counts.items() if count or state in _ALWAYS]
    return f"{counted(len(document.entries), 'result')}: {', '.join(shown)}"


def outcome_of(document: Document) -> str:
    """Return in a few words whether the run is as expected."""
    return "as expected" if document.exit_status == ExitStatus.AS_EXPECTED else "NOT as expected"


def notes_of(document: Document) -> list[str]:
    """Return what must be said aloud of the run as a whole.

    That is what is unexplained, the baseline, what was accepted and what was left out.
    """
    accepted = [
        f"accepted: {finding.rule} of {entry.title}: {finding.accepted}"
        for entry in document.entries
        for finding in entry.result.findings
        if finding.accepted
    ]
    left_out = [*document.not_checked, _beyond(document)]
    notes = [document.unexplained, document.baseline, *document.unmatched, *left_out, *accepted]
    return [escape_control(note) for note in dict.fromkeys(notes) if note]


def _beyond(document: Document) -> str:
    """Return what no result of an audit or a check is about; empty for other runs, which say it themselves."""
    if document.schema not in (CHECK_SCHEMA, AUDIT_SCHEMA) or not document.entries:
        return ""
    results = [entry.result for entry in document.entries]
    return f"not checked: {'; '.join(beyond(results, uses=document.schema == AUDIT_SCHEMA))}"


def where_first(finding: Finding) -> str:
    """Return the first offending step and element that a finding names, with the values there; empty for none."""
    evidence = finding.evidence
    if "step" not in evidence:
        return ""
    where = f"first at step {evidence['step']}"
    parameter = evidence.get("parameter") or finding.parameter
    if parameter is not None:
        where += f", parameter {parameter!r}"
    if "element" in evidence:
        where += f", element {_element(evidence['element'])}"
    if "trace" in evidence:
        where += f", trace {evidence['trace']}"
    values = ", ".join(f"{name} {evidence[key]}" for key, name in _VALUES.items() if key in evidence)
    return escape_control(f"{where}: {values}" if values else where)


def summary_of(finding: Finding) -> str:
    """Return code, severity, name and message of a finding on one line."""
    accepted = f" (accepted: {finding.accepted})" if finding.accepted else ""
    return escape_control(f"{finding.rule} {finding.severity} {finding.name}: {finding.message}{accepted}")


def failures_of(entry: Entry) -> list[str]:
    """Return why an entry is not as expected: the verdict, the checks that did not pass, the findings."""
    result = entry.result
    lines = [f"{result.verdict}, expected {result.expected}: {result.reason}"]
    lines += [f"{check.outcome} {check.name}: {check.message}" for check in result.checks if check.outcome == "failed"]
    lines = [escape_control(line) for line in lines]
    for finding in entry.gravest:
        lines.append(summary_of(finding))
        first = where_first(finding)
        if first:
            lines.append(f"  {first}")
    return lines


def rerun_of(entry: Entry) -> str:
    """Return the command that shows an entry again, on one line; empty where none can."""
    gravest = (finding.rerun for finding in entry.gravest if finding.rerun)
    return escape_control(entry.result.rerun or next(gravest, ""))


def printed_by(entry: Entry) -> list[str]:
    """Return the lines that the target itself printed."""
    return [escape_control(line) for line in entry.result.output.splitlines()]


def environment_of(document: Document, entries: Iterable[Entry] | None = None) -> dict[str, str]:
    """Return device, hardware and versions of a run, or of some of its entries; several values are all named."""
    found: dict[str, list[str]] = {}
    place = document.place
    hardware = {"device": place.device, "hardware": place.name, **place.details}
    for entry in document.entries if entries is None else entries:
        for name, value in {"device": entry.result.device, **entry.result.versions}.items():
            found.setdefault(name, []).append(str(value))
    for name, value in hardware.items():
        if value:
            found.setdefault(name, []).append(value)
    named = {escape_control(name): escape_control(", ".join(dict.fromkeys(all_))) for name, all_ in found.items()}
    return named | ({"date": escape_control(document.date)} if document.date else {})


def ulp_of(entry: Entry) -> str:
    """Return how far a case is from the CPU's, in units in the last place."""
    apart = entry.measured.from_cpu
    return _NOTHING if apart is None else number(apart.largest)


def rival_of(entry: Entry) -> str:
    """Return the nearest rival with its distance in bounds."""
    separation = entry.result.separation
    if separation.nearest_rival is None:
        return _NOTHING
    return escape_control(f"{number(separation.rival_ratio)} {separation.nearest_rival}")


def repeats_of(entry: Entry) -> str:
    """Return whether repeated runs gave the same bits."""
    return {True: "same bits", False: "OTHER bits", None: _NOTHING}[entry.measured.reproducible]


def number(value: float | None) -> str:
    """Return a ratio in two digits."""
    return _NOTHING if value is None else f"{value:.2g}"


def settings_of(values: Mapping[str, Any]) -> str:
    """Return hyperparameters on one line; empty where none is set."""
    return escape_control(", ".join(f"{name}={value!r}" for name, value in values.items() if value is not None))


def traces_of(traces: Iterable[Mapping[str, Any]]) -> str:
    """Return names and digests of traces on one line."""
    return escape_control(", ".join(f"{trace.get('name')} ({str(trace.get('sha256'))[:12]})" for trace in traces))


def versions_of(versions: Mapping[str, str]) -> str:
    """Return packages with their versions on one line."""
    return escape_control(", ".join(f"{name} {version}" for name, version in versions.items()))


def followed_by(match: Match) -> str:
    """Return the rule that is followed, or the nearest where none is; empty where nothing was followed."""
    return match.rule or (f"no rule of the reference; nearest {match.nearest}" if match.nearest else "")


def axes_of(match: Match) -> str:
    """Return what is known of the rule besides its name: epsilon, bias correction, momentum."""
    correction = None if match.bias_correction is None else "on" if match.bias_correction else "off"
    axes = {"epsilon": match.epsilon, "bias correction": correction, "momentum": match.momentum}
    return ", ".join(f"{axis} {value}" for axis, value in axes.items() if value is not None)


def _element(index: Any) -> str:
    return f"[{', '.join(map(str, index))}]" if isinstance(index, list | tuple) else str(index)
