"""A run as GitHub workflow commands: errors and warnings that GitHub shows at the top of a run and of its changes.

GitHub shows ten annotations of each kind for one step; what is beyond them is counted in a notice.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...adapters.text import counted, escape_control
from ..result import Finding
from .document import Document, Entry
from .wording import counts_of, failures_of, notes_of, outcome_of, rerun_of, summary_of, where_first

SHOWN = 10
"""Annotations of one kind that GitHub shows for one step."""
_LONGEST = 4000
"""Characters of one message: far below what GitHub cuts, and what a log is still read at."""


def annotations_of(document: Document) -> str:
    """Return one workflow command on each line: errors, the worst first, warnings, and a notice with the counts."""
    errors = [_error(entry) for entry in document.worst_first if entry.state.fails]
    if document.unexplained:
        errors.insert(0, _command("error", "optconform", document.unexplained))
    warnings = list(_warnings(document))
    hidden = {"error": len(errors) - SHOWN, "warning": len(warnings) - SHOWN}
    more = [f"{counted(count, f'more {kind}')} not shown here" for kind, count in hidden.items() if count > 0]
    notice = "\n".join(["; ".join([counts_of(document), *more]), *notes_of(document)])
    commands = [*errors[:SHOWN], *warnings[:SHOWN], _command("notice", f"optconform: {outcome_of(document)}", notice)]
    return "\n".join(commands) + "\n"


def _error(entry: Entry) -> str:
    code = f"{entry.gravest[0].rule} " if entry.gravest else ""
    rerun = rerun_of(entry)
    lines = [*failures_of(entry), *([f"rerun: {rerun}"] if rerun else [])]
    return _command("error", f"{code}{entry.title}", "\n".join(lines))


def _warnings(document: Document) -> Iterator[str]:
    """Yield what was warned of in results that are as expected, each warning once with all that share it."""
    shared: dict[tuple[str, str], list[Entry]] = {}
    findings: dict[tuple[str, str], Finding] = {}
    for entry in document.entries:
        for finding in () if entry.state.fails else entry.gravest:
            if finding.accepted:
                continue
            shared.setdefault((finding.rule, finding.message), []).append(entry)
            findings.setdefault((finding.rule, finding.message), finding)
    for key, entries in shared.items():
        finding = findings[key]
        others = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
        lines = [line for line in (summary_of(finding), where_first(finding)) if line]
        yield _command("warning", f"{finding.rule} {entries[0].title}{others}", "\n".join(lines))


def _command(kind: str, title: str, message: str) -> str:
    """Return one workflow command; neither title nor message can end it, or begin another."""
    cut = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."
    lines = "\n".join(map(escape_control, cut.split("\n")))
    return f"::{kind} title={_property(escape_control(title[:_LONGEST]))}::{_data(lines)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
