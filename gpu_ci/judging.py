"""Judge one executed course: by the bound of the platform that it ran on, and by whether it ran as it was asked to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..adapters.protocol import Target
from ..conformance.builtin_targets import documented_rule
from ..conformance.checks import axis_checks, left_at, separation, trajectory_check
from ..conformance.effective_decay import law_of_match
from ..conformance.expectation import Expectation, parse_expectation
from ..conformance.findings import findings_of
from ..conformance.matching import Matching, match_trajectory
from ..conformance.observations import Observations, make_finding
from ..conformance.result import Check, Decay, Finding, Result, Severity, Verdict
from ..conformance.series import Series
from ..conformance.traces import Trace
from ..conformance.trajectory_verdict import verdict_of_trajectory
from ..reference.options import DecayLaw
from .case import Case
from .played_walker import PlayedWalker
from .playing import Played, as_handed_over


def judge(blank: Result, case: Case, target: Target, played: Played, trace: Trace, device: str) -> Result:
    """Return `blank` with the verdict on `played`, its bound ratio, its rivals, and the checks of rule, path and place.

    `target` bears the framework by whose row of the platform table it is judged.
    """
    expectation = parse_expectation(case.expected)
    rule = case.rule or documented_rule(case.spec, case.options)
    fed = trace if played.dtype == case.dtype else as_handed_over(trace, case.dtype)
    matching = match_trajectory(PlayedWalker(target, played, device), [fed])
    decays = bool(played.held.get("weight_decay"))
    verdict, reason = verdict_of_trajectory(matching, played.dtype, decays=decays, known=rule is not None)
    law = law_of_match(matching.match) if verdict is Verdict.DECOUPLED else None
    if law and expectation.law is None and len(set(trace.multipliers)) == 1:
        reason += "; at a constant learning rate nothing shows whether decay follows a schedule"
    decay = law.decay if law else Decay()
    rounded = _rounded(matching, played)
    checks = (
        *_kind(verdict, reason, expectation),
        trajectory_check(verdict, matching, rule),
        *axis_checks(expectation, decay, (matching,), verdict),
        *_as_held(rounded if rule else ""),
    )
    result = replace(
        blank,
        verdict=verdict,
        reason=reason,
        hyperparameters=dict(played.held),
        decay=decay,
        match=matching.match,
        separation=separation(verdict, {}, matching),
        checks=(*checks, *_proofs(played)),
        series=Series(distances=matching.distances),
    )
    told = Observations(verdict, expectation, {}, {}, law, matching, rule, result.rerun, dtype=played.dtype)
    findings = (
        *_mismatch(result, checks, matching, rule),
        *_of_an_audit(told, rounded=bool(rounded) and not rule),
        *_unproved(result, played),
    )
    return replace(result, findings=findings)


def _kind(verdict: Verdict, reason: str, expectation: Expectation) -> Iterator[Check]:
    """Yield whether the kind of decay is the one expected."""
    outcome = "passed" if expectation.met_by(verdict) else "failed"
    yield Check("kind", "skipped" if verdict is Verdict.INCONCLUSIVE else outcome, reason, "OC501")


def _rounded(matching: Matching, played: Played) -> str:
    """Return which hyperparameters the bound has to take as rounded besides those of the framework; empty if none."""
    casts = [set(each.casts) - set(played.casts) for each in matching.accepted]
    every = (
        sorted(f"{cast.hyperparameter} rounded to {cast.dtype}" for cast in casts[0]) if all(casts) and casts else ()
    )
    return ", ".join(dict.fromkeys(every))


def _as_held(rounded: str) -> Iterator[Check]:
    """Yield that the steps are not within the bound of the rule with the hyperparameters held, where that is so."""
    if rounded:
        yield Check("hyperparameters", "failed", f"inside the bound only with {rounded}", "OC501")


_AXIS_OF: Mapping[str, str | None] = {
    # Code of a finding of an audit -> axis that it reports; where something is expected of it, a check judges that.
    "OC104": "order",
    "OC201": "law",
    "OC302": "epsilon",
    "OC303": None,
    "OC304": "momentum",
}


def _of_an_audit(observed: Observations, *, rounded: bool) -> Iterator[Finding]:
    """Yield what an audit says of the form of the rule, under the same codes and just as severely.

    The usual law is not worth a finding, and rounded hyperparameters are one here where no check judges them.
    """
    for finding in findings_of(observed):
        axis = _AXIS_OF.get(finding.rule, "")
        told = axis is None or (axis != "" and getattr(observed.expectation, axis) is None)
        usual = finding.evidence.get("law") == DecayLaw.LR_WD
        if (told and not usual) or (rounded and finding.rule == "OC305"):
            yield finding


def _proofs(played: Played) -> Iterator[Check]:
    """Yield whether the steps were executed in the way and in the place that the case names."""
    for name, holds, code in (("path", played.proof.on_path, "OC413"), ("device", played.proof.on_device, "OC503")):
        yield Check(name, "passed" if holds else "failed", played.proof.observed, code)


def _mismatch(result: Result, checks: Sequence[Check], matching: Matching, rule: str | None) -> Iterator[Finding]:
    """Yield the finding that the steps are outside the bound of what was expected, where they are."""
    failed = [check for check in checks if check.outcome == "failed"]
    if not failed:
        return
    found = matching.match
    if found.rule is None:
        said = f"outside the bound of {rule or 'every rule'} on {result.device}{left_at(matching)}"
    else:
        others = "; ".join(f"{check.name} {check.message}" for check in failed)
        wanted = "" if rule in matching.rules else f", and {rule or result.expected} is expected"
        said = f"on {result.device} it walks {found.rule}{wanted}: {others}"
    evidence: dict[str, Any] = {"expected_rule": rule, "walks": found.rule, "platform": found.platform}
    evidence |= {"nearest": found.nearest, "explained_by": found.explained_by} if found.rule is None else {}
    yield make_finding("OC501", said, rerun=result.rerun, **evidence, **matching.first_violation)


def _unproved(result: Result, played: Played) -> Iterator[Finding]:
    """Yield the findings that path or device were not really taken: errors, since another thing was tested then."""
    if not played.proof.on_path:
        yield make_finding(
            "OC413",
            f"the steps did not run as {result.path!r}: {played.proof.observed}",
            severity=Severity.ERROR,
            rerun=result.rerun,
            execution=result.path,
        )
    if not played.proof.on_device:
        yield make_finding(
            "OC503",
            f"the steps did not run on {result.device}: {played.proof.observed}",
            rerun=result.rerun,
            device=result.device,
        )
