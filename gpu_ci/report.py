"""What a run of the gate found: all cases, how they compare with the baseline, and the JSON document of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..conformance.json_form import plain_fields
from ..conformance.result import ExitStatus, worst
from .gate_run import CaseResult, GateRun

SCHEMA = "optconform/gate/1"


@dataclass(frozen=True, slots=True)
class Compared:
    """How a run was held against a baseline."""

    file: str | None = None
    """The baseline, as it was named; None where there was none."""
    sentence: str = "not compared with a baseline: none was named"
    """What was compared, and what was not and why."""
    status: ExitStatus = ExitStatus.AS_EXPECTED
    """`NOT_COMPARABLE` where it is of another class of devices, and that was not allowed."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """A run of the gate, as it is shown."""

    run: GateRun
    results: tuple[CaseResult, ...]
    """Those of the run, with what the baseline says of each, and those that the baseline misses."""
    compared: Compared = field(default_factory=Compared)
    left_out: tuple[str, ...] = ()
    """What was not run and which findings do not count, a sentence each."""

    @property
    def ran(self) -> int:
        """Number of cases that were executed."""
        return sum(each.measured.runs > 0 for each in self.results)

    @property
    def skipped(self) -> int:
        """Number of cases that were skipped."""
        return sum(bool(each.skipped) for each in self.results)

    @property
    def exit_status(self) -> ExitStatus:
        """The worst of all cases and of the comparison; `UNDECIDED` where no case ran and nothing is worse."""
        statuses = [each.result.exit_status for each in self.results if not _merely_skipped(each)]
        return worst([*statuses, self.compared.status] if statuses else [*statuses, ExitStatus.UNDECIDED])

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/gate/1` document: a list of audits, each with what the gate measured besides."""
        file, sentence = self.compared.file, self.compared.sentence
        return {
            "schema": SCHEMA,
            "exit_status": int(self.exit_status),
            "place": plain_fields(self.run.place),
            "date": self.run.date,
            "baseline": {"file": file, "sentence": sentence} if file else None,
            "counts": {"cases": len(self.results), "ran": self.ran, "skipped": self.skipped},
            "left_out": list(self.left_out),
            "results": [
                each.result.to_json()
                | {"case": each.case.name, "measured": plain_fields(each.measured), "skipped": each.skipped}
                for each in self.results
            ],
        }


def _merely_skipped(each: CaseResult) -> bool:
    """Whether a case was skipped and nothing says that it should not have been."""
    return bool(each.skipped) and each.result.exit_status is ExitStatus.UNDECIDED
