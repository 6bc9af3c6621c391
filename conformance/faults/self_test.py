"""Run the collection and count: how many planted faults are found, and on how many sound optimizers an error fires."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...adapters.text import describe_error
from ..json_form import plain_fields
from ..result import ExitStatus
from .families import FRAMEWORKS
from .judge import false_alarms, misjudged_fault, run_planted, run_sound
from .planted import Planted
from .sound import SOUND, Sound
from .table import PLANTED

SCHEMA = "optconform/self-test/1"


@dataclass(frozen=True, slots=True)
class Judged:
    """One row of the collection, and what the tool made of it."""

    name: str
    framework: str
    kind: str
    """`planted` or `sound`."""
    code: str | None
    """The code that must fire; None for a sound optimizer."""
    description: str
    wrong: tuple[str, ...]
    """What the tool misjudged, one sentence each; none where the fault was found, or no error fired."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of one framework."""

    framework: str
    planted: int
    found: int
    sound: int
    false_alarms: int


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The rows that were run, and the frameworks that were not there."""

    rows: tuple[Judged, ...]
    skipped_frameworks: tuple[str, ...] = ()

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """The counts of every framework that was run."""
        tallies = []
        for framework in FRAMEWORKS:
            planted, sound = (
                [row for row in self.rows if (row.framework, row.kind) == (framework, kind)]
                for kind in ("planted", "sound")
            )
            if planted or sound:
                found = sum(not row.wrong for row in planted)
                alarms = sum(bool(row.wrong) for row in sound)
                tallies.append(Tally(framework, len(planted), found, len(sound), alarms))
        return tuple(tallies)

    @property
    def misjudged(self) -> tuple[Judged, ...]:
        """The rows in which something is wrong."""
        return tuple(row for row in self.rows if row.wrong)

    @property
    def exit_status(self) -> ExitStatus:
        """0 where every fault was found and no error fired on a sound optimizer; `UNDECIDED` where nothing ran."""
        if not self.rows:
            return ExitStatus.UNDECIDED
        return ExitStatus.NOT_AS_EXPECTED if self.misjudged else ExitStatus.AS_EXPECTED

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/self-test/1` document."""
        return {"schema": SCHEMA, "exit_status": int(self.exit_status), **plain_fields(self)} | {
            "tallies": [plain_fields(tally) for tally in self.tallies]
        }


def collection(frameworks: Sequence[str]) -> list[Planted | Sound]:
    """Return the rows of `frameworks`, planted faults first, one framework after the other."""
    rows: tuple[Planted | Sound, ...] = (*PLANTED, *SOUND)
    return [row for framework in frameworks for row in rows if row.framework == framework]


def judged(rows: Iterable[Planted | Sound]) -> Iterator[Judged]:
    """Run the rows one by one, and yield what the tool made of each. One that raises is misjudged."""
    for row in rows:
        start = time.perf_counter()
        try:
            if isinstance(row, Planted):
                wrong = misjudged_fault(row, run_planted(row))
            else:
                wrong = false_alarms(row.name, run_sound(row))
        except Exception as error:  # of whatever framework, in whatever state: the others are run all the same
            wrong = [f"{row.name}: the audit raised {describe_error(error)}"]
        yield Judged(
            row.name,
            row.framework,
            "planted" if isinstance(row, Planted) else "sound",
            row.code if isinstance(row, Planted) else None,
            row.description if isinstance(row, Planted) else f"expected: {row.expectation}",
            tuple(wrong),
            time.perf_counter() - start,
        )
