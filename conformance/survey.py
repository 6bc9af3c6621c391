"""Audit every optimizer that libraries export. Nothing is expected of them; finished results are kept on disk."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from .._version import __version__
from .expectation import parse_expectation
from .planned import Depth, PlannedAudit
from .result import ExitStatus, Result, Verdict
from .survey_cache import Cache, source_digest
from .survey_exports import Export, Library
from .traces import Trace

SCHEMA = "optconform/survey/1"
DEFAULT_TRACE = "synthetic:small"
"""A matrix and a vector: what treats them differently shows, and an audit costs half a second."""

Runner = Callable[[Sequence[PlannedAudit]], Iterator[tuple[int, Result]]]
"""Runs a plan and yields (index into it, result) as they are finished."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One optimizer of one library, to be audited."""

    library: Library
    export: Export

    @property
    def spec(self) -> str:
        """The target as a command names it."""
        return f"{self.library.name}:{self.export.name}"

    def planned(self, depth: Depth | None = None) -> PlannedAudit:
        """Return the audit, which expects nothing; `depth` as `audit` takes it."""
        export = self.export
        return PlannedAudit(
            self.spec, parse_expectation("any"), framework=export.framework, dtype=export.dtype, depth=depth
        )


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One optimizer and what its audit found, as an `optconform/audit/1` document."""

    entry: Entry
    result: Mapping[str, Any]
    kept: bool
    """Whether an earlier survey had finished it."""


def entries_of(libraries: Sequence[Library]) -> list[Entry]:
    """Return every optimizer of `libraries`, in their order."""
    return [Entry(library, export) for library in libraries for export in library.exports]


def depends_on(
    entry: Entry, traces: Sequence[Trace], settings: Mapping[str, Any], depth: Depth | None = None
) -> dict[str, Any]:
    """Return everything the result of `entry` depends on: what it is found by when a survey is taken up again."""
    return {
        "planned": asdict(entry.planned(depth)),
        "versions": {**entry.library.versions, "optconform": __version__, "python": platform.python_version()},
        "source": source_digest(),
        "traces": [trace.sha256 for trace in traces],
        "settings": dict(settings),
    }


def run_survey(
    entries: Sequence[Entry],
    traces: Sequence[Trace],
    cache: Cache,
    runner: Runner,
    settings: Mapping[str, Any],
    depth: Depth | None = None,
) -> Iterator[Surveyed]:
    """Yield every optimizer with its result: those an earlier survey finished first, the rest as they are finished.

    Each new result is on disk before it is yielded. `settings` are what else results depend on, such as the time
    limit of one audit; `depth` says which metamorphic checks are run besides. Raises what `runner` raises, and
    `OSError` where a result cannot be written.
    """
    remaining = []
    for entry in entries:
        found = cache.read(depends_on(entry, traces, settings, depth))
        if found is None:
            remaining.append(entry)
        else:
            yield Surveyed(entry, found, kept=True)
    for index, result in runner([entry.planned(depth) for entry in remaining]):
        document = result.to_json()
        cache.write(depends_on(remaining[index], traces, settings, depth), document)
        yield Surveyed(remaining[index], document, kept=False)


@dataclass(frozen=True, slots=True)
class SurveyReport:
    """All results of one survey, and what was not surveyed."""

    libraries: tuple[Library, ...]
    surveyed: tuple[Surveyed, ...]
    """In the order of the libraries and of their exports."""
    date: str
    """Day on which it was taken, in UTC."""

    @property
    def exit_status(self) -> ExitStatus:
        """`COULD_NOT_RUN` where a library or an optimizer could not, `UNDECIDED` where there was nothing to run.

        Nothing else is expected.
        """
        failed = any(each.result["verdict"] == Verdict.ERROR for each in self.surveyed)
        if failed or any(library.problem is not None for library in self.libraries):
            return ExitStatus.COULD_NOT_RUN
        return ExitStatus.AS_EXPECTED if self.surveyed else ExitStatus.UNDECIDED

    def of(self, library: Library) -> list[Surveyed]:
        """Return the results of one library."""
        return [each for each in self.surveyed if each.entry.library is library]

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/survey/1` document."""
        return {
            "schema": SCHEMA,
            "exit_status": int(self.exit_status),
            "date": self.date,
            "libraries": [library.to_json() for library in self.libraries],
            "results": [dict(each.result) for each in self.surveyed],
        }


def survey_report(libraries: Sequence[Library], surveyed: Sequence[Surveyed]) -> SurveyReport:
    """Return the report of a survey taken today, its results in the order of `libraries`."""
    places = {(entry.library.name, entry.export.name): place for place, entry in enumerate(entries_of(libraries))}
    ordered = sorted(surveyed, key=lambda each: places[each.entry.library.name, each.entry.export.name])
    return SurveyReport(tuple(libraries), tuple(ordered), datetime.now(UTC).date().isoformat())


def read_report(document: Mapping[str, Any]) -> SurveyReport:
    """Return the report that an `optconform/survey/1` document tells of. Raises `ValueError` for any other."""
    if document.get("schema") != SCHEMA:
        raise ValueError(f"schema {document.get('schema')!r}, but should be {SCHEMA!r}")
    libraries = tuple(Library.from_json(each) for each in document["libraries"])
    entries = {entry.spec: entry for entry in entries_of(libraries)}
    surveyed = tuple(Surveyed(entries[result["target"]], result, kept=True) for result in document["results"])
    return SurveyReport(libraries, surveyed, document["date"])
