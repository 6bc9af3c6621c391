"""The summary of a pytest session: how the checks ended, what they found, how to run them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...adapters.text import counted
from ..codes import CODES
from ..result import Severity

_OUTCOMES = {
    "passed": "passed",
    "failed": "failed",
    "expected": "failed as expected",
    "skipped": "skipped",
    "undecided": "undecided",
}
"""Outcome as a check tells it -> in words, in the order in which they are counted."""


def lines(told: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the summary of what the checks `told`.

    Findings that only inform are left out: `optconform audit` shows them.
    """
    outcomes = Counter(each["outcome"] for each in told)
    counts = ", ".join(f"{outcomes[outcome]} {words}" for outcome, words in _OUTCOMES.items())
    optimizers = {each["optimizer"] for each in told}
    yield f"{counted(len(told), 'check')} of {counted(len(optimizers), 'optimizer')}: {counts}"
    found: dict[tuple[str, str], list[str]] = {}
    for each in told:
        for code, severity in each["findings"]:
            found.setdefault((code, severity), []).append(each["optimizer"])
    for (code, severity), names in sorted(found.items()):
        if severity != Severity.INFO:
            yield f"  {code} {CODES[code].name} ({severity}): {', '.join(dict.fromkeys(names))}"
    again = dict.fromkeys(each["rerun"] for each in told if each["outcome"] in _TO_RERUN)
    yield from (f"  rerun: {command}" for command in again)


_TO_RERUN = ("failed", "undecided")
