"""The states that the HTML report shows, each a symbol and a word besides its colour, and what has which."""

from __future__ import annotations

from enum import Enum

from ..result import Severity
from .document import State


class Mark(Enum):
    """State of a property, the worst first: its word, and the symbol that is shown with it."""

    FAIL = ("fail", "✗")
    WARN = ("warn", "!")
    UNKNOWN = ("cannot tell", "?")
    SKIP = ("skip", "–")
    INFO = ("info", "·")
    PASS = ("pass", "✓")

    @property
    def word(self) -> str:
        """What is read out and searched."""
        return self.value[0]

    @property
    def symbol(self) -> str:
        """What is seen."""
        return self.value[1]

    @property
    def css(self) -> str:
        """Name of the class in the style sheet."""
        return self.name.lower()

    @property
    def rank(self) -> int:
        """Its place among all, the worst first."""
        return list(Mark).index(self)


STATES = {
    State.ERROR: Mark.FAIL,
    State.FAILED: Mark.FAIL,
    State.UNDECIDED: Mark.UNKNOWN,
    State.PASSED: Mark.PASS,
    State.SKIPPED: Mark.SKIP,
}
"""State of an entry -> its mark."""
OUTCOMES = {"failed": Mark.FAIL, "skipped": Mark.SKIP, "passed": Mark.PASS}
"""Outcome of a check -> its mark."""
SEVERITIES = {Severity.ERROR: Mark.FAIL, Severity.WARNING: Mark.WARN, Severity.INFO: Mark.INFO}
"""Severity of a finding, or of a check that has failed -> its mark."""
