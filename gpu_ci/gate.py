"""A run of the gate from beginning to end: the cases, the baseline, and the report."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..conformance.measured import Place
from ..conformance.observations import make_finding
from ..conformance.result import Counting, ExitStatus
from .baseline import BaselineError, read_baseline
from .gate_run import CaseResult, GateRun
from .places import file_name_of
from .regression import hold_against
from .report import Compared, GateReport
from .selection import Selection

_ALL = Counting()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run is held against, and how strictly."""

    baseline: str | None = None
    """A baseline, or a folder of them, one for each class of devices."""
    strict: bool = False
    allow_new_device: bool = False
    skips: int = 0
    """Cases that may be skipped where there is no baseline that says which."""
    counting: Counting = _ALL


def run_of(
    selection: Selection, device: str, answered: Iterable[tuple[CaseResult, Place | None]], counting: Counting = _ALL
) -> GateRun:
    """Return the run that consists of what was `answered` for each case of `selection`."""
    results, places = [], []
    for result, place in answered:
        results.append(replace(result, result=result.result.counting_only(counting)))
        if place is not None:
            places.append(place)
    found = places[0] if places else Place(device, "unknown", "unknown")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return GateRun(
        found,
        tuple(sorted(results, key=lambda each: each.case.name)),
        selection.not_asked,
        selection.patterns,
        selection.all_cases,
        today,
    )


def judged_run(run: GateRun, selection: Selection, rules: Rules) -> GateReport:
    """Return the report of `run`, held against the baseline of `rules`, or against nothing but itself.

    Raises `BaselineError` where the baseline cannot be read.
    """
    left_out = (*_left_out(selection), *_not_counted(rules.counting))
    path = baseline_path(rules.baseline, run.place)
    if path is None:
        return GateReport(run, _with_skips_counted(run.results, rules.skips), left_out=left_out)
    if not path.exists() and path != Path(str(rules.baseline)):
        sentence = f"not compared: {rules.baseline} has no {path.name}, for devices of class {run.place.device_class}"
        status = ExitStatus.AS_EXPECTED if rules.allow_new_device else ExitStatus.NOT_COMPARABLE
        results = _with_skips_counted(run.results, rules.skips)
        return GateReport(run, results, Compared(str(path), sentence, status), left_out)
    held = hold_against(run, read_baseline(path), strict=rules.strict, allow_new_device=rules.allow_new_device)
    # Where nothing is compared, no baseline says which cases may be skipped.
    results = _with_skips_counted(held.results, rules.skips) if held.not_comparable else held.results
    counted = (replace(each, result=each.result.counting_only(rules.counting)) for each in (*results, *held.missing))
    ordered = sorted(counted, key=lambda each: each.case.name)
    compared = Compared(str(path), held.not_comparable or "; ".join(held.notes), held.status)
    return GateReport(run, tuple(ordered), compared, left_out)


def baseline_path(named: str | None, place: Place) -> Path | None:
    """Return the file of a baseline: `named` itself or, in a folder, that of the class of `place`.

    What is not there is a file if it ends in `.json`, and a folder otherwise. Raises `BaselineError` for an empty name.
    """
    if named is None:
        return None
    if not named:
        raise BaselineError("--baseline '' names no file; give the baseline's path, or leave the option out")
    path = Path(named)
    return path if _is_file(path) else path / file_name_of(place)


def require_baseline(named: str | None, *, updating: bool) -> None:
    """Raise `BaselineError` for a file that is no baseline: before minutes of work, not after them.

    A folder is searched when the class of the device is known. What is to be `updating` need not be there.
    """
    if named and _is_file(path := Path(named)) and (path.exists() or not updating):
        read_baseline(path)


def _is_file(path: Path) -> bool:
    return path.is_file() or (path.suffix == ".json" and not path.is_dir())


def _with_skips_counted(results: Sequence[CaseResult], allowed: int) -> tuple[CaseResult, ...]:
    """Return `results` with OC503 on each that was skipped, where those are more than `allowed`."""
    skipped = [each for each in results if each.skipped]
    if len(skipped) <= allowed:
        return tuple(results)

    def reported(each: CaseResult) -> CaseResult:
        message = f"skipped: {each.skipped}; {len(skipped)} cases were, and {allowed} may be"
        finding = make_finding("OC503", message, rerun=each.result.rerun)
        return replace(each, result=replace(each.result, findings=(*each.result.findings, finding)))

    return tuple(reported(each) if each.skipped else each for each in results)


def _not_counted(counting: Counting) -> Iterable[str]:
    if counting.select:
        yield f"findings counted: {', '.join(counting.select)} only"
    if counting.ignore:
        yield f"findings not counted: {', '.join(counting.ignore)}"


def _left_out(selection: Selection) -> Iterable[str]:
    if selection.absent:
        yield f"not run, not installed: {', '.join(selection.absent)}"
    if selection.not_asked:
        yield f"not run, not asked for: {', '.join(selection.not_asked)}"
    if selection.slow_left_out:
        yield f"not run: {selection.slow_left_out} slow cases, which --all runs too"
    if selection.patterns:
        yield "not run: every case that --case does not name"
