"""Audit one optimizer: run the tests over the traces, reach a verdict, and hold it against what was expected."""

from __future__ import annotations

import itertools
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._version import __version__
from ..adapters.errors import BuildFailed, MissingDevice, MissingFramework, NotReplayable, StepFailed
from ..adapters.recipes import recipe_of
from ..reference import RULES
from .checks import axis_checks, kind_check, own_values_checks, probe_checks, separation, trajectory_check
from .effective_decay import EffectiveDecay, law_of_match, left_of_decay
from .expectation import Expectation
from .findings import findings_of
from .held_constants import asked_for
from .law import Law, find_law
from .matching import Matching, match_trajectory
from .metamorphic.running import metamorphic_checks
from .observations import Observations, make_finding
from .planned import Depth
from .replaying import OnStep
from .rerun import rerun_command
from .result import Check, Decay, Decision, Finding, ParameterResult, Result, Verdict
from .sample_sufficiency import usable_traces
from .sampled_displacements import shared_out
from .series import Series
from .subject import Subject
from .trace_evidence import (
    IDENTIFICATION_STEPS,
    NAMED_KINDS,
    READING_STEPS,
    TraceEvidence,
    at_own_values,
    departure,
    identify,
    over_traces,
    shared_reason,
)
from .traces import Trace
from .untold import what_stays_open


def audit(
    subject: Subject,
    traces: Sequence[Trace],
    expectation: Expectation,
    trace_arguments: Sequence[str] | None = (),
    on_step: OnStep | None = None,
    depth: Depth | None = None,
) -> Result:
    """Return what `subject` does with weight decay on `traces`, held against `expectation`.

    Decoupling, substitution and law are decided at probe hyperparameters, the trajectory is matched at the
    user's own. `trace_arguments` are the traces as the user named them, for the command that reruns this: none
    for the default ones, None where they have no names and no command can rerun it. An optimizer that cannot be
    built or stepped yields the verdict `error` with its finding, one that no trace can drive `inconclusive`.
    `on_step` is called after each step of a replay over whole traces, with the step's number. `depth` says which
    metamorphic checks are run besides; none where it is None. Parameters of which a trace holds a sample are left
    out where a sample is not enough for `subject` (OC905); where nothing else is left the verdict is `inconclusive`.
    """
    start = time.perf_counter()
    given = traces
    rerun = rerun_command(subject, trace_arguments, expectation, depth.paths if depth else None)
    blank = Result(
        target=subject.target.spec,
        framework=subject.target.framework,
        verdict=Verdict.ERROR,
        expected=str(expectation),
        reason="",
        device=subject.device,
        dtype=subject.dtype,
        path=subject.path or subject.adapter.paths[0],
        remark=recipe_of(subject.target).reason,
        versions=versions(subject.adapter.versions()),
        probe=subject.probe(),
        traces=tuple({"name": trace.name, "sha256": trace.sha256} for trace in subject.taken_from(given)),
        rerun=rerun,
    )
    try:
        # No trace is asked anything of a target without the option.
        traces, weak = usable_traces(subject, given) if subject.has_weight_decay else (subject.taken_from(given), ())
        too_little = tuple(each.finding(rerun) for each in weak)
        if too_little and not traces:
            result = replace(failed(blank, *too_little), verdict=Verdict.INCONCLUSIVE)
        else:
            result = _with_findings(_audited(subject, traces, expectation, blank, on_step), too_little)
            result = result if depth is None else _deeper(result, metamorphic_checks(subject, traces, depth, rerun))
    except (BuildFailed, MissingDevice, MissingFramework) as error:
        result = failed(blank, make_finding("OC901", str(error), rerun=rerun))
    except NotReplayable as error:
        finding = make_finding("OC906", str(error), rerun=rerun)
        result = replace(failed(blank, finding), verdict=Verdict.INCONCLUSIVE)
    except StepFailed as error:
        result = failed(blank, make_finding("OC902", str(error), rerun=rerun))
    return replace(result, seconds=time.perf_counter() - start)


def _deeper(result: Result, found: tuple[tuple[Check, ...], tuple[Finding, ...]]) -> Result:
    """Return `result` with the metamorphic checks and their findings added, the findings in the order of codes."""
    checks, findings = found
    return replace(_with_findings(result, findings), checks=(*result.checks, *checks))


def _with_findings(result: Result, findings: Sequence[Finding]) -> Result:
    every = sorted((*result.findings, *findings), key=lambda finding: finding.rule)
    return replace(result, findings=tuple(every))


def failed(blank: Result, *findings: Finding) -> Result:
    """Return the result of an audit that could not be run, with the findings that say why, the first as its reason."""
    return replace(blank, verdict=Verdict.ERROR, reason=findings[0].message, findings=findings)


def _audited(
    subject: Subject, traces: Sequence[Trace], expectation: Expectation, blank: Result, on_step: OnStep | None
) -> Result:
    if not subject.has_weight_decay:
        reason = "the target has no weight-decay option"
        check = Check("option", "passed" if expectation.met_by(Verdict.NONE) else "failed", reason)
        return replace(
            blank,
            verdict=Verdict.NONE,
            reason=reason,
            hyperparameters=dict(subject.hyperparameters),
            checks=(check, *axis_checks(expectation, Decay(), (), Verdict.NONE)),
        )
    probe = subject.probe()
    evidence = [identify(subject, trace, probe, IDENTIFICATION_STEPS) for trace in traces]
    law = _law(subject, evidence)
    matching = match_trajectory(subject, traces, on_step=on_step)
    # In float64 the paired runs decide the kind; below it the trajectory at the probe's values helps them.
    probed = None
    if subject.dtype != "float64":
        probed = match_trajectory(subject, traces, probe, on_step=on_step)
    verdict, reason = _verdict(evidence, probed)
    by_trajectory = probed is not None and verdict is not over_traces([each.verdict for each in evidence])
    nominal = law
    if law is None and by_trajectory and probed is not None:
        nominal = law = law_of_match(probed.match)
        if law is not None and any("constant=" in name for name in probed.match.cannot_tell):
            law = replace(law, decay=replace(law.decay, factor=None))  # half or twice the decay fits as well
    if verdict is Verdict.L2 or (verdict is Verdict.INCONCLUSIVE and probed is not None):
        law = None  # of single tensors, which rounding may have mistaken
    kinds = {(each.trace.name, name): kind for each in evidence for name, kind in each.kinds.items()}
    dimensions = {(trace.name, each.name): len(each.shape) for trace in traces for each in trace.parameters}
    effective = left_of_decay(subject, verdict, evidence, nominal, (probed or matching).match)
    # Where rounding leaves nothing of the decay, the user's own values have no kind to tell.
    nothing_left = isinstance(effective, EffectiveDecay) and effective.lost
    settled = bool(matching.accepted) or nothing_left or by_trajectory or verdict not in NAMED_KINDS
    own = None if settled else at_own_values(subject, evidence, matching.held)
    departs = departure(verdict, own, matching.held)
    findings = findings_of(
        Observations(
            verdict,
            expectation,
            kinds,
            dimensions,
            law,
            matching,
            subject.documented_rule,
            blank.rerun,
            departure=departs,
            dtype=subject.dtype,
            asked=asked_for(subject),
            user_set=frozenset(subject.hyperparameters),
            effective=effective,
        )
    )
    decay = replace(
        law.decay if law else Decay(),
        effective_ratio=effective.ratio if isinstance(effective, EffectiveDecay) else None,
        effective_note=None if effective is None else str(effective),
    )
    matchings = (matching,) if probed is None else (matching, probed)
    checks = (
        *(kind_check(each, expectation) for each in evidence),
        *probe_checks(verdict, probed, expectation),
        trajectory_check(verdict, matching, subject.documented_rule),
        *own_values_checks(own, matching.held, departs=departs is not None),
        *axis_checks(expectation, decay, matchings, verdict),
    )
    return replace(
        blank,
        verdict=verdict,
        reason=reason,
        hyperparameters=plain_values(matching.held or subject.parity()),
        decay=decay,
        match=matching.match,
        probe_match=None if probed is None else probed.match,
        separation=separation(verdict, kinds, probed if by_trajectory and probed is not None else matching),
        cannot_tell=what_stays_open(kinds, law),
        parameters=_parameters(evidence),
        findings=findings,
        checks=checks,
        series=Series(
            shared_out(each.displacements for each in evidence), matching.distances, law.points if law else ()
        ),
    )


def _verdict(evidence: Sequence[TraceEvidence], probed: Matching | None) -> tuple[Verdict, str]:
    """Return the verdict and its reason: of the paired runs or, where rounding drowns them, of the trajectory.

    The paired runs cannot tell in 16 bits what 16 roundings of a parameter may do from a decay of 2.5%; the
    bound of a rule knows which roundings there are, and can.
    """
    verdict = over_traces([each.verdict for each in evidence])
    reason = shared_reason(verdict, evidence)
    if verdict is not Verdict.INCONCLUSIVE or probed is None or probed.match.rule is None:
        return verdict, reason
    match = probed.match
    if match.decision is Decision.CANNOT_TELL:
        memoryless = all(getattr(each.options, "momentum", None) == 0.0 for each in probed.accepted)
        algebra = "the trajectory fits decoupled decay and L2, which are the same algebra without momentum"
        return (Verdict.EQUIVALENT, algebra) if memoryless else (verdict, reason)
    decoupled = probed.accepted[0].rule.decoupled
    other = tuple(rule.name for rule in RULES.values() if rule.decoupled is not decoupled)
    rivals = [ratio for name, ratio in match.rivals.items() if name.startswith(other)]
    far = ""
    if rivals:
        nearest = f"{min(rivals):.2g} bounds or more" if math.isfinite(min(rivals)) else "far"
        far = f", and every rule of the other kind is {nearest} outside its own"
    reason = (
        f"rounding drowns the paired runs, but the trajectory stays inside the bound of {match.rule} "
        f"({match.bound_ratio:.2g}){far}"
    )
    return Verdict.DECOUPLED if decoupled else Verdict.L2, reason


def _parameters(evidence: Sequence[TraceEvidence]) -> tuple[ParameterResult, ...]:
    """Return what the paired runs say of every parameter."""
    found = [(each.trace.name, each.kinds[one.name], one) for each in evidence for one in each.trace.parameters]
    return tuple(
        ParameterResult(
            trace=trace,
            name=parameter.name,
            shape=parameter.shape,
            verdict=kind.verdict,
            steps=kind.steps,
            coefficient=tuple(fit.coefficient for fit in kind.fits),
            coefficient_uncertainty=tuple(fit.uncertainty for fit in kind.fits),
            reason=kind.reason,
            decoupling_ratio=kind.decoupling_ratio,
            substitution_ratio=kind.substitution_ratio,
        )
        for trace, kind, parameter in found
    )


def _law(subject: Subject, evidence: Sequence[TraceEvidence]) -> Law | None:
    """Find the law on the trace and parameter whose coefficient is known best; None where nothing is decoupled."""
    candidates = []
    for each in evidence:
        for name, kind in each.kinds.items():
            if kind.applied_to is not None and kind.fits and not kind.excluded:
                relative = max(fit.uncertainty / abs(fit.coefficient) for fit in kind.fits)
                # A tensor on which either order fits says nothing about the order, so it comes after the others.
                candidates.append(((kind.steps - len(kind.fits), kind.applied_to == "either", relative), each, name))
    if not candidates:
        return None
    _, each, name = min(candidates, key=lambda candidate: candidate[0])
    kind = each.kinds[name]
    theta = subject.initial_parameters(each.trace)
    with_gradient = (step for step in each.trace.steps(IDENTIFICATION_STEPS) if step.gradients[name] is not None)
    steps = list(itertools.islice(with_gradient, READING_STEPS))
    return find_law(subject, theta, steps, name, kind, late=kind.measured[0] if kind.varies else 0)


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `values` that are plain numbers, flags or text: what a report can show."""
    return {name: value for name, value in values.items() if isinstance(value, int | float | str) or value is None}


def versions(framework: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that a result depends on: this package, Python, NumPy, and the framework's."""
    return {"optconform": __version__, "python": platform.python_version(), "numpy": np.__version__, **framework}
