"""What the main job found: all results of one run, and the JSON document of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .result import ExitStatus, Result, worst

SCHEMA = "optconform/check/1"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All results of one run, and what was not checked."""

    results: tuple[Result, ...]
    skipped_frameworks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """What else was not checked, a sentence each."""
    unmatched: tuple[str, ...] = ()
    """Accepted findings of the configuration that were not found, a sentence each: errors."""
    date: str = ""
    """Day of the run, ISO 8601, UTC."""

    @property
    def exit_status(self) -> ExitStatus:
        """The worst of all results, and of what is wrong besides; `UNDECIDED` where there is no result."""
        besides = [ExitStatus.NOT_AS_EXPECTED] if self.unmatched else []
        return worst([*(result.exit_status for result in self.results), *besides])

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/check/1` document: a list of audits, and what was left out."""
        return {
            "schema": SCHEMA,
            "exit_status": int(self.exit_status),
            "date": self.date,
            "skipped_frameworks": list(self.skipped_frameworks),
            "left_out": list(self.left_out),
            "unmatched": list(self.unmatched),
            "results": [result.to_json() for result in self.results],
        }
