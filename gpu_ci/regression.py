"""A run of the gate held against a baseline: what got worse inside the bound, and what did not run.

A baseline is a witness of what was measured, never a judge of what is right: what the run itself found stays, and
here findings are only added. Inside the bound every result is correct, and results there differ between versions and
processors, which order and contract the same operations otherwise. So a figure is worse only where it departs by more
than that explains; each rule says by how much, and `gpu_ci.worse` holds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..adapters.execution import RUNTIMES, runtime_present
from ..conformance.expectation import ANY
from ..conformance.observations import make_finding
from ..conformance.result import Check, ExitStatus, Finding, Severity, Verdict
from .baseline import Baseline, BaselineCase, baseline_case
from .case import Case
from .case_job import unrun
from .gate_run import CaseResult, GateRun
from .rerun import USUAL_REPEATS, rerun_command
from .selection import fits
from .worse import bits_not_comparable, bits_worse, distances_comparable, figures_worse

_CHECK = "baseline"


@dataclass(frozen=True, slots=True)
class Held:
    """A run after it was held against a baseline."""

    results: tuple[CaseResult, ...]
    """Those of the run, each with the findings of the comparison and one check more."""
    missing: tuple[CaseResult, ...] = ()
    """A result with OC503 for every case that ran when the baseline was made and that this run lacks."""
    status: ExitStatus = ExitStatus.AS_EXPECTED
    """What the comparison as such calls for, besides the results: `NOT_COMPARABLE`, or nothing."""
    not_comparable: str = ""
    """Why nothing was compared, as a sentence; empty where it was."""
    notes: tuple[str, ...] = ()
    """What was compared and what was not, counted, a sentence each."""


def hold_against(run: GateRun, baseline: Baseline, *, strict: bool, allow_new_device: bool) -> Held:
    """Return `run` with what the comparison with `baseline` adds: OC502, an error if `strict`, and OC503.

    Of another class of devices nothing is compared: with `allow_new_device` that is said and no more, otherwise the
    exit status says it too.
    """
    if run.place.device_class != baseline.place.device_class:
        status = ExitStatus.AS_EXPECTED if allow_new_device else ExitStatus.NOT_COMPARABLE
        return Held(run.results, status=status, not_comparable=_another_class(run, baseline))
    ran = {result.case.name: result.case for result in run.results}
    gone = {name: case for name, case in baseline.cases.items() if name not in ran}
    excused = {name: why for name, case in gone.items() if (why := why_not_missed(run, name, case))}
    lost = {name: case for name, case in gone.items() if name not in excused and not case.skipped}
    added = {name: case for name, case in ran.items() if name not in baseline.cases}
    counts = Counter[str]()
    results = tuple(_held(result, run, baseline, lost, counts, strict) for result in run.results)
    missing = tuple(_missing(run, name, case, added) for name, case in sorted(lost.items()))
    return Held(results, missing, notes=_notes(baseline, counts, Counter(excused.values())))


def why_not_missed(run: GateRun, name: str, case: BaselineCase) -> str:
    """Return why `run` need not have the case that a baseline holds as `name`; empty where it must have it."""
    if name.partition("/")[0] in run.not_asked:
        return "of runtimes that were left out by name"
    if run.patterns:  # one that names a slow case takes it
        return "" if fits(name, run.patterns) else "of a run that was narrowed to single cases"
    if case.slow and not run.all_cases:
        return "slow and left out without --all"
    return ""


def _another_class(run: GateRun, baseline: Baseline) -> str:
    return (
        f"not compared: this run took place on {run.place.device_class!r}, and the baseline is of "
        f"{baseline.place.device_class!r}; figures of two classes of devices are never held against each other. "
        "Make a baseline of this class with --update-baseline and a file of its own."
    )


def _held(
    measured: CaseResult,
    run: GateRun,
    baseline: Baseline,
    lost: Mapping[str, BaselineCase],
    counts: Counter[str],
    strict: bool,
) -> CaseResult:
    """Return one case of the run with what the comparison adds; what was done with it is counted in `counts`."""
    then, now = baseline.cases.get(measured.case.name), baseline_case(measured)
    rerun = measured.result.rerun or None
    broken = _broken_coverage(measured.case.name, then, now, lost)
    if broken:
        return _finding_worse(measured, (make_finding("OC503", broken, rerun=rerun, case=measured.case.name),))
    assert then is not None
    if then.skipped:
        key = "still skipped" if now.skipped else "no longer skipped"
        counts[key] += 1
        return _finding_nothing(measured, f"{key}; the baseline says: {then.skipped}", compared=False)
    if measured.result.exit_status in (ExitStatus.NOT_AS_EXPECTED, ExitStatus.COULD_NOT_RUN):
        counts["wrong in itself"] += 1
        return _finding_nothing(measured, "not compared: wrong already without a baseline", compared=False)
    why = bits_not_comparable(run.place, baseline.place, then, now)
    counts.update(["compared", f"bits: {why}" if why else "bits"])
    if then.from_cpu is not None:
        counts["distance" if distances_comparable(then, now) else "no distance"] += 1
    worse = figures_worse(then, now) + (() if why else bits_worse(then, now))
    if not worse:
        return _finding_nothing(measured, f"no worse than the baseline of {baseline.date}", compared=True)
    severity = Severity.ERROR if strict else None
    return _finding_worse(
        measured,
        tuple(
            make_finding(
                "OC502",
                f"{each.message} (baseline of {baseline.date})",
                severity=severity,
                rerun=rerun,
                case=measured.case.name,
                figure=each.figure,
                then=each.then,
                now=each.now,
                allowed=each.allowed,
            )
            for each in worse
        ),
    )


def _broken_coverage(name: str, then: BaselineCase | None, now: BaselineCase, lost: Mapping[str, BaselineCase]) -> str:
    """Return how one case of the run is none that the baseline holds, or ran then and not now; empty where neither."""
    if then is None:
        before = next((other for other, case in lost.items() if case.definition == now.definition), None)
        known_as = f", which holds the same definition as {before!r}, so it was renamed" if before else ""
        return f"the baseline does not hold {name!r}{known_as}; add it with --update-baseline"
    if then.definition != now.definition:
        return (
            f"{name!r} is another case than the baseline holds under this name: its target, options, "
            f"expectation or trace have changed (definition {now.definition[:12]}, baseline {then.definition[:12]}); "
            "put it back, give it another name, or accept it with --update-baseline"
        )
    if then.trace and now.trace and then.trace != now.trace:
        return (
            f"{name!r} was played on another trace of this name (sha256 {now.trace[:12]}, baseline {then.trace[:12]}); "
            "put it back, or accept it with --update-baseline"
        )
    if now.skipped and not then.skipped:
        return (
            f"{name!r} ran when the baseline was made and is skipped now: {now.skipped}; make it run, or "
            "accept that it does not with --update-baseline"
        )
    return ""


def _finding_worse(measured: CaseResult, findings: tuple[Finding, ...]) -> CaseResult:
    """Return `measured` with `findings`, at least one, and the failed check that stands for all of the comparison."""
    message = "; ".join(finding.message for finding in findings)
    check = Check(_CHECK, "failed", message, findings[0].rule, findings[0].severity)
    result = measured.result
    changed = replace(result, findings=(*result.findings, *findings), checks=(*result.checks, check))
    return replace(measured, result=changed)


def _finding_nothing(measured: CaseResult, message: str, *, compared: bool) -> CaseResult:
    """Return `measured` with a check that passes where it was compared and had passed before.

    A case of which nothing was decided does not pass because a baseline says the same.
    """
    result = measured.result
    check = Check(_CHECK, "passed" if compared and result.as_expected else "skipped", message)
    return replace(measured, result=replace(result, checks=(*result.checks, check)))


def _missing(run: GateRun, name: str, then: BaselineCase, added: Mapping[str, Case]) -> CaseResult:
    """Return the result of a case that did not run: undecided, with the error that it is missing."""
    runtime, target, setting, dtype, execution, trace = name.split("/", 5)
    now = next((other for other, case in added.items() if case.definition == then.definition), None)
    present = runtime_present(RUNTIMES[runtime])
    if now:
        what = f"its definition is now that of {now!r}, so it was renamed: accept the new name with --update-baseline"
    elif not present:
        what = "what it runs on is not installed; install it, or leave it out by naming others with --framework"
    else:
        what = "bring it back, or accept that it is gone with --update-baseline"
    case = Case(runtime, target, execution, dtype, trace, ANY, setting=setting, slow=then.slow)
    # What is in the list of cases no longer cannot be run by its name.
    rerun = "" if present else rerun_command(case, run.place.device, USUAL_REPEATS, declared=True)
    message = f"{name!r} ran when the baseline was made and did not run now; {what}"
    finding = make_finding("OC503", message, rerun=rerun or None, case=name, definition=then.definition, renamed_to=now)
    check = Check(_CHECK, "failed", message, finding.rule, finding.severity)
    result = replace(
        unrun(case, run.place.device, rerun),
        verdict=Verdict.INCONCLUSIVE,
        reason="it did not run",
        findings=(finding,),
        checks=(check,),
    )
    return CaseResult(case, result)


def _notes(baseline: Baseline, counts: Counter[str], excused: Counter[str]) -> tuple[str, ...]:
    """Return what was compared and what was not, in sentences; of what did not occur nothing is said."""
    made = f"the baseline of {baseline.date}"
    said = [f"{_cases(counts['compared'])} compared with {made}"]
    for key, text in (
        ("wrong in itself", "not compared, wrong already without a baseline"),
        ("still skipped", "skipped, as in the baseline"),
        ("no longer skipped", "ran that the baseline holds as skipped; --update-baseline holds the figures too"),
    ):
        said += [f"{_cases(counts[key])} {text}"] if counts[key] else []
    apart = {key.removeprefix("bits: "): count for key, count in counts.items() if key.startswith("bits: ")}
    not_for = "".join(f", not for {count} ({why})" for why, count in sorted(apart.items()))
    said += [f"bits compared for {_cases(counts['bits'])}{not_for}"] if counts["compared"] else []
    if counts["no distance"]:
        said.append(
            f"distance from the CPU compared for {_cases(counts['distance'])}, not for {counts['no distance']} "
            "(not measured now, or against another execution)"
        )
    said += [f"{_cases(count)} of the baseline not missed: {why}" for why, count in sorted(excused.items())]
    return tuple(said)


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"
