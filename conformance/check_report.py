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

    @property
    def exit_status(self) -> ExitStatus:
        """The worst of all results; `UNDECIDED` where there is none."""
        return worst([result.exit_status for result in self.results])

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/check/1` document: a list of audits, and what was left out."""
        return {
            "schema": SCHEMA,
            "exit_status": int(self.exit_status),
            "skipped_frameworks": list(self.skipped_frameworks),
            "results": [result.to_json() for result in self.results],
        }
