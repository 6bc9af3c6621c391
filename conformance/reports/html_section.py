"""What the HTML report says of a run as a whole, and in the section of one target."""

from __future__ import annotations

from collections.abc import Iterable

from ...adapters.text import counted, escape_control
from ..check_report import SCHEMA as CHECK_SCHEMA
from ..code_row import Code
from ..codes import CODES
from ..result import SCHEDULE_WORDS, SCHEMA, ExitStatus, Result
from .document import GATE_SCHEMA, SURVEY_SCHEMA, Document, Entry, State
from .wording import axes_of, followed_by, number, rival_of, settings_of, traces_of, versions_of

COMMANDS = {
    SCHEMA: "optconform audit",
    CHECK_SCHEMA: "optconform check",
    SURVEY_SCHEMA: "optconform survey",
    GATE_SCHEMA: "optconform gate",
}
"""Schema of a document -> the command that wrote it."""
EXIT_WORDS = {
    ExitStatus.AS_EXPECTED: "everything is as expected",
    ExitStatus.NOT_AS_EXPECTED: "at least one result is not as expected",
    ExitStatus.USAGE: "the command, the configuration or a trace is wrong",
    ExitStatus.COULD_NOT_RUN: "a target, or a framework or device that was required, could not run",
    ExitStatus.UNDECIDED: "nothing could be decided",
    ExitStatus.NOT_COMPARABLE: "the baseline is of another class of device",
}
"""Exit status -> what it means."""
_NAMED = 3
"""Results that the first sentence names; the matrix has all."""


def verdict_sentence(document: Document) -> str:
    """Return how the run ended, and which results it ended so for."""
    total = len(document.entries)
    bad = [entry for entry in document.worst_first if entry.state.fails]
    if not bad:
        passed = document.count(State.PASSED)
        return "" if document.unexplained or not passed else f"{_of(passed, total)} as expected."
    named = ", ".join(entry.title for entry in bad[:_NAMED])
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return f"{_of(len(bad), total)} not as expected: {named}{more}."


def what_ran(document: Document) -> list[tuple[str, str]]:
    """Return command, targets, date and exit status of the run, each under its name."""
    groups = dict.fromkeys(entry.group for entry in document.entries)
    dtypes = dict.fromkeys(entry.result.dtype for entry in document.entries)
    traces = dict.fromkeys(str(trace.get("name", "")) for entry in document.entries for trace in entry.result.traces)
    results = f"{counted(len(document.entries), 'result')} of {', '.join(groups) or 'nothing'}"
    facts = [
        ("what", f"{COMMANDS[document.schema]}: {results}"),
        ("precision", ", ".join(dtypes)),
        ("traces", ", ".join(name for name in traces if name)),
        ("when", document.date),
        ("exit status", f"{document.exit_status}: {EXIT_WORDS[ExitStatus(document.exit_status)]}"),
    ]
    return [(name, value) for name, value in facts if value]


def rules_found(document: Document) -> list[Code]:
    """Return the rows of the rule table that the findings of the run are about, in the order of their codes."""
    found = {finding.rule for entry in document.entries for finding in entry.result.findings}
    return [row for code, row in CODES.items() if code in found]


def facts_of(entry: Entry) -> dict[str, list[tuple[str, str]]]:
    """Return what was found out about one target, and on what: heading -> names and values."""
    result = entry.result
    return {
        "Decay": _told(_decay(result)),
        "Update": _told(_update(entry)),
        "Run": _told(_run(result)),
    }


def _decay(result: Result) -> Iterable[tuple[str, str]]:
    decay = result.decay
    yield "law", decay.law or ""
    if decay.law:
        exponents = f"lr^{number(decay.lr_exponent)} · wd^{number(decay.wd_exponent)}"
        yield "coefficient", f"c = {number(decay.factor)} · {exponents}"
        yield "schedule", SCHEDULE_WORDS[decay.follows_schedule]
    yield "acts on", f"{decay.applied_to} parameters" if decay.applied_to else ""
    yield "form", decay.form or ""
    yield "left by rounding", decay.effective_note or ""
    yield "cannot tell", " ".join(result.cannot_tell)


def _update(entry: Entry) -> Iterable[tuple[str, str]]:
    result = entry.result
    match = result.match
    yield "follows", followed_by(match)
    yield "with", axes_of(match) if match.rule else ""
    yield "decision", str(match.decision or "")
    yield "not told from", ", ".join(match.cannot_tell)
    yield "judged", ", ".join(word for word in (match.mode, match.computed_in, match.platform) if word)
    own = result.separation.own_ratio
    yield "own distance", "" if own is None else f"{number(own)} of the bound"
    yield "nearest rival", "" if result.separation.nearest_rival is None else rival_of(entry)
    yield "at the probe", str(result.probe_match.decision or "") if result.probe_match else ""
    yield "compared", f"{result.elements:,} elements, {match.undecidable} undecidable" if result.elements else ""


def _run(result: Result) -> Iterable[tuple[str, str]]:
    yield "runs on", f"{result.framework or 'unknown framework'}, {result.dtype}, {result.device}, path {result.path}"
    yield "hyperparameters", settings_of(result.hyperparameters)
    yield "probe", settings_of(result.probe)
    yield "known of it", result.remark
    yield "traces", traces_of(result.traces)
    yield "versions", versions_of(result.versions)
    yield "time", f"{result.seconds:.3g} s" if result.seconds else ""


def _told(facts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, escape_control(value)) for name, value in facts if value]


def _of(count: int, total: int) -> str:
    verb = "is" if count == 1 else "are"
    if total == 1:
        return f"The only result {verb}"
    return f"All {total} results {verb}" if count == total else f"{count} of {total} results {verb}"
