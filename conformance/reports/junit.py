"""A run as JUnit XML, in the form that GitHub's actions, GitLab, Jenkins and pytest's readers share.

One `testsuite` for each framework or runtime, one `testcase` for each result. What was not checked is a test case
that was skipped, and a run that fails as a whole is one that failed: a reader that counts test cases sees both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from ...adapters.text import escape_control
from .document import Document, Entry, State
from .wording import (
    counts_of,
    environment_of,
    failures_of,
    notes_of,
    number,
    printed_by,
    repeats_of,
    rerun_of,
    rival_of,
    settings_of,
    summary_of,
    ulp_of,
)

_SUITE = "optconform"
_NO_CHARACTER = re.compile("[\ufffe\uffff]")
"""What XML 1.0 forbids besides what `escape_control` escapes anyway."""
_ELEMENTS: Mapping[State, str] = {
    State.ERROR: "error",
    State.FAILED: "failure",
    State.UNDECIDED: "failure",
    State.SKIPPED: "skipped",
}
"""State -> the child that tells of it. What could not be decided is no pass."""
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def junit_of(document: Document) -> str:
    """Return the run as one XML document.

    No text can break out of its element, and characters that XML cannot hold are written as Python escapes.
    """
    root = ElementTree.Element("testsuites", name=_SUITE)
    groups: dict[str, list[Entry]] = {}
    for entry in document.entries:
        groups.setdefault(entry.group, []).append(entry)
    for group, entries in groups.items():
        suite = _suite(root, f"{_SUITE}.{group}", document.date)
        _properties(suite, environment_of(document, entries))
        for entry, name in zip(entries, _unique([entry.title for entry in entries]), strict=True):
            _case(suite, entry, name)
    run = _suite(root, f"{_SUITE}.run", document.date)
    _properties(run, environment_of(document, ()))
    _run_cases(run, document)
    for suite in root:
        _count(suite, suite.iter("testcase"))
    _count(root, root.iter("testcase"))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, name: str, date: str) -> ElementTree.Element:
    suite = ElementTree.SubElement(root, "testsuite", name=_text(name))
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", date, re.ASCII):
        suite.set("timestamp", f"{date}T00:00:00")
    return suite


def _properties(suite: ElementTree.Element, values: Mapping[str, str]) -> None:
    if values:
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in values.items():
            ElementTree.SubElement(properties, "property", name=_text(name), value=_text(value))


def _case(suite: ElementTree.Element, entry: Entry, name: str) -> None:
    """Add the test case of one result."""
    result = entry.result
    attribute = result.target.rpartition(":")[2] or result.target
    classname = f"{suite.get('name')}.{attribute}"
    case = ElementTree.SubElement(
        suite, "testcase", classname=_text(classname), name=_text(name), time=f"{_seconds(result.seconds):.3f}"
    )
    element = _ELEMENTS.get(entry.state)
    if element == "skipped":
        ElementTree.SubElement(case, element, message=_text(entry.skipped))
    elif element is not None:
        rerun = rerun_of(entry)
        lines = [*failures_of(entry), *([f"rerun: {rerun}"] if rerun else [])]
        kind = entry.gravest[0].rule if entry.gravest else str(entry.state)
        message = summary_of(entry.gravest[0]) if entry.gravest else lines[0]
        child = ElementTree.SubElement(case, element, message=_text(message), type=_text(kind))
        child.text = "\n".join(map(_text, lines))
    ElementTree.SubElement(case, "system-out").text = "\n".join(map(_text, _told(entry)))


def _seconds(seconds: float) -> float:
    """Return a time that readers can add up."""
    return seconds if math.isfinite(seconds) and seconds > 0.0 else 0.0


def _told(entry: Entry) -> Iterator[str]:
    """Yield the figures of one result, its warnings where it passed, and what the target printed."""
    result = entry.result
    yield f"verdict {result.verdict}, expected {result.expected}"
    yield f"own ratio {number(entry.ratio)}, nearest rival {rival_of(entry)}"
    if entry.measured.from_cpu is not None or entry.measured.reproducible is not None:
        yield f"from the CPU, in ULP: {ulp_of(entry)}; repeated: {repeats_of(entry)}"
    yield f"hyperparameters: {settings_of(result.hyperparameters)}"
    if not entry.state.fails:
        yield from map(summary_of, entry.gravest)
    yield from printed_by(entry)


def _run_cases(suite: ElementTree.Element, document: Document) -> None:
    """Add the test case of the run as a whole, and one that was skipped for everything left out."""
    whole = ElementTree.SubElement(suite, "testcase", classname=_SUITE, name="run", time="0.000")
    if document.unexplained:
        message = _text(document.unexplained)
        failure = ElementTree.SubElement(whole, "failure", message=message, type=f"exit status {document.exit_status}")
        failure.text = message
    ElementTree.SubElement(whole, "system-out").text = "\n".join(map(_text, [counts_of(document), *notes_of(document)]))
    for sentence in _unique(list(document.not_checked)):
        left_out = ElementTree.SubElement(suite, "testcase", classname=_SUITE, name=_text(sentence), time="0.000")
        ElementTree.SubElement(left_out, "skipped", message=_text(sentence))


def _count(element: ElementTree.Element, cases: Iterator[ElementTree.Element]) -> None:
    """Write how many test cases there are below `element`, how they ended, and how long they took."""
    below = list(cases)
    element.set("tests", str(len(below)))
    for attribute, child in _COUNTED.items():
        element.set(attribute, str(sum(case.find(child) is not None for case in below)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in below):.3f}")


def _unique(names: list[str]) -> list[str]:
    """Return `names`, those that came before with a number: readers take two cases of one name for one."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _text(text: str) -> str:
    """Return `text` on one line, without characters that XML 1.0 forbids."""
    return _NO_CHARACTER.sub(lambda found: f"\\u{ord(found[0]):04x}", escape_control(text))
