"""Audit one optimizer: run the tests over the traces, reach a verdict, and hold it against what was expected."""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._version import __version__
from ..adapters.errors import BuildFailed, MissingDevice, MissingFramework, StepFailed
from .expectation import Expectation
from .findings import Observations, findings_of, make_finding
from .identify import KindOfDecay
from .law import Law, find_law
from .matching import Matching, match_trajectory
from .rerun import rerun_command
from .result import Check, Decay, Finding, Match, ParameterResult, Result, Separation, Verdict
from .subject import Subject, initial_parameters
from .trace_evidence import (
    IDENTIFICATION_STEPS,
    NAMED_KINDS,
    OWN_VALUES_STEPS,
    READING_STEPS,
    TraceEvidence,
    at_own_values,
    departure,
    identify,
    over_traces,
    shared_reason,
    shown_values,
)
from .traces import Trace


def audit(
    subject: Subject, traces: Sequence[Trace], expectation: Expectation, trace_arguments: Sequence[str] | None = ()
) -> Result:
    """Return what `subject` does with weight decay on `traces`, held against `expectation`.

    Decoupling, substitution and law are decided at probe hyperparameters, the trajectory is matched at the
    user's own. `trace_arguments` are the traces as the user named them, for the command that reruns this: none
    for the default ones, None where they have no names and no command can rerun it. An optimizer that cannot be
    built or stepped yields the verdict `error` with its finding.
    """
    start = time.perf_counter()
    rerun = rerun_command(subject, trace_arguments, expectation)
    blank = Result(
        target=subject.target.spec,
        framework=subject.target.framework,
        verdict=Verdict.ERROR,
        expected=str(expectation),
        reason="",
        device=subject.device,
        dtype=subject.dtype,
        path=subject.path or subject.adapter.paths[0],
        versions=versions(subject.adapter.versions()),
        probe=subject.probe(),
        traces=tuple({"name": trace.name, "sha256": trace.sha256} for trace in traces),
        rerun=rerun,
    )
    try:
        result = _audited(subject, traces, expectation, blank)
    except (BuildFailed, MissingDevice, MissingFramework) as error:
        result = failed(blank, make_finding("OC901", str(error), rerun=rerun))
    except StepFailed as error:
        result = failed(blank, make_finding("OC902", str(error), rerun=rerun))
    return replace(result, seconds=time.perf_counter() - start)


def failed(blank: Result, finding: Finding) -> Result:
    """Return the result of an audit that could not be run, with the finding that says why."""
    return replace(blank, verdict=Verdict.ERROR, reason=finding.message, findings=(finding,))


def _audited(subject: Subject, traces: Sequence[Trace], expectation: Expectation, blank: Result) -> Result:
    if not subject.has_weight_decay:
        reason = "the target has no weight-decay option"
        check = Check("option", "passed" if expectation.met_by(Verdict.NONE) else "failed", reason)
        return replace(
            blank,
            verdict=Verdict.NONE,
            reason=reason,
            hyperparameters=dict(subject.hyperparameters),
            checks=(check, *_axis_checks(expectation, Decay(), Matching(Match()))),
        )
    probe = subject.probe()
    evidence = [identify(subject, trace, probe, IDENTIFICATION_STEPS) for trace in traces]
    verdict = over_traces([each.verdict for each in evidence])
    law = _law(subject, evidence)
    matching = match_trajectory(subject, traces)
    kinds = {(each.trace.name, name): kind for each in evidence for name, kind in each.kinds.items()}
    dimensions = {(trace.name, each.name): len(each.shape) for trace in traces for each in trace.parameters}
    settled = bool(matching.accepted) or verdict not in NAMED_KINDS
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
        )
    )
    decay = law.decay if law else Decay()
    checks = (
        *(_kind_check(each, expectation) for each in evidence),
        _trajectory_check(verdict, matching, subject.documented_rule),
        *_own_values_checks(own, matching.held, departs=departs is not None),
        *_axis_checks(expectation, decay, matching),
    )
    return replace(
        blank,
        verdict=verdict,
        reason=shared_reason(verdict, evidence),
        hyperparameters=plain_values(matching.held or subject.parity()),
        decay=decay,
        match=matching.match,
        separation=_separation(verdict, kinds, matching),
        parameters=tuple(
            ParameterResult(
                trace=each.trace.name,
                name=parameter.name,
                shape=parameter.shape,
                verdict=each.kinds[parameter.name].verdict,
                steps=each.kinds[parameter.name].steps,
                coefficient=tuple(fit.coefficient for fit in each.kinds[parameter.name].fits),
                decoupling_ratio=each.kinds[parameter.name].decoupling_ratio,
                substitution_ratio=each.kinds[parameter.name].substitution_ratio,
            )
            for each in evidence
            for parameter in each.trace.parameters
        ),
        findings=findings,
        checks=checks,
    )


def _law(subject: Subject, evidence: Sequence[TraceEvidence]) -> Law | None:
    """Find the law on the trace and parameter whose coefficient is known best; None where nothing is decoupled."""
    candidates = []
    for each in evidence:
        for name, kind in each.kinds.items():
            if kind.applied_to is not None and kind.fits:
                relative = max(fit.uncertainty / abs(fit.coefficient) for fit in kind.fits)
                # A tensor on which either order fits says nothing about the order, so it comes after the others.
                candidates.append(((kind.steps - len(kind.fits), kind.applied_to == "either", relative), each, name))
    if not candidates:
        return None
    _, each, name = min(candidates, key=lambda candidate: candidate[0])
    theta = initial_parameters(each.trace)
    applied_to = each.kinds[name].applied_to or "either"
    with_gradient = (step for step in each.trace.steps(IDENTIFICATION_STEPS) if step.gradients[name] is not None)
    steps = list(itertools.islice(with_gradient, READING_STEPS))
    return find_law(subject, theta, steps, name, applied_to, local=each.local)


def _separation(verdict: Verdict, kinds: Mapping[tuple[str, str], KindOfDecay], matching: Matching) -> Separation:
    """Return own ratio and nearest rival: of the matched rule, else of the model-free test that passed."""
    match = matching.match
    if match.rule is not None:
        apart = {name: ratio for name, ratio in match.rivals.items() if ratio > 1.0}
        nearest = min(apart, key=lambda name: apart[name]) if apart else None
        return Separation(match.bound_ratio, nearest, apart[nearest] if nearest else None)
    decided = [kind for kind in kinds.values() if kind.verdict is verdict]
    decoupling = max((kind.decoupling_ratio for kind in decided if kind.decoupling_ratio is not None), default=None)
    substitution = max(
        (kind.substitution_ratio for kind in decided if kind.substitution_ratio is not None), default=None
    )
    match verdict:
        case Verdict.DECOUPLED:
            return Separation(decoupling, _L2_TEST, substitution)
        case Verdict.L2:
            return Separation(substitution, _DECOUPLING_TEST, decoupling)
        case Verdict.IGNORED:
            return Separation(0.0, _L2_TEST, substitution)
        case Verdict.OTHER if decoupling is not None and substitution is not None:
            # No hypothesis is accepted; the rival is the one that comes nearest.
            name = _DECOUPLING_TEST if decoupling <= substitution else _L2_TEST
            return Separation(None, name, min(decoupling, substitution))
    return Separation()


_L2_TEST = "l2 (substitution test)"
_DECOUPLING_TEST = "decoupled (decoupling test)"
_KIND_CODES = {Verdict.L2: "OC101", Verdict.IGNORED: "OC102"}
_AXIS_CODES = {"law": "OC201", "order": "OC104", "epsilon": "OC302", "momentum": "OC304"}


def _kind_check(evidence: TraceEvidence, expectation: Expectation) -> Check:
    found = evidence.verdict
    pairing = "local" if evidence.local else "global"
    exercised = sum(kind.exercised for kind in evidence.kinds.values())
    of_all = "" if exercised == len(evidence.kinds) else f" of {len(evidence.kinds)}"
    message = f"{found} over {exercised}{of_all} parameters, {pairing} pairing"
    if found is Verdict.INCONCLUSIVE:
        return Check(f"kind[{evidence.trace.name}]", "skipped", message)
    met = expectation.met_by(found)
    return Check(f"kind[{evidence.trace.name}]", "passed" if met else "failed", message, _KIND_CODES.get(found))


def _trajectory_check(verdict: Verdict, matching: Matching, documented: str | None) -> Check:
    match = matching.match
    if match.rule is not None:
        sound = (documented is None or documented in matching.rules) and not matching.contradicts(verdict)
        message = f"{match.elements} elements inside the threshold of {match.rule}, worst ratio {match.bound_ratio:.2g}"
        return Check("trajectory", "passed" if sound else "failed", message, "OC301")
    if not match.elements:
        return Check("trajectory", "skipped", "no element to compare, or no rule of the reference to compare it with")
    if documented is not None:
        return Check("trajectory", "failed", f"{documented} is documented, but nothing matches", "OC301")
    rule, step = str(match.nearest).partition("[")[0], matching.first_violation.get("step")
    nearest = f"; the nearest, {rule}, is left at step {step}" if step else ""
    return Check("trajectory", "skipped", f"no rule of the reference fits, and none is documented for it{nearest}")


def _own_values_checks(own: TraceEvidence | None, held: Mapping[str, Any], *, departs: bool) -> list[Check]:
    """Return the check that the kind is the same at the user's own hyperparameters, where that was looked at."""
    if own is None:
        return []
    steps = min(own.trace.n_steps, OWN_VALUES_STEPS)
    name, where = f"own values[{own.trace.name}]", f"{shown_values(held)}, {steps} steps"
    if own.verdict is Verdict.INCONCLUSIVE:
        return [Check(name, "skipped", f"{own.verdict} at {where}")]
    return [Check(name, "failed" if departs else "passed", f"{own.verdict} at {where}", "OC301")]


def _axis_checks(expectation: Expectation, decay: Decay, matching: Matching) -> list[Check]:
    """Return one check for each axis that something is expected of."""
    found = {
        "law": decay.law,
        "order": decay.applied_to,
        "epsilon": matching.match.epsilon,
        "momentum": matching.match.momentum,
    }
    checks = []
    for axis, value in found.items():
        wanted = getattr(expectation, axis)
        if wanted is not None:
            met = value == wanted or (axis == "order" and value == "either")
            message = f"{value or 'undetermined'}, expected {wanted}"
            checks.append(Check(axis, "passed" if met else "failed", message, _AXIS_CODES[axis]))
    return checks


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `values` that are plain numbers, flags or text: what a report can show."""
    return {name: value for name, value in values.items() if isinstance(value, int | float | str) or value is None}


def versions(framework: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that a result depends on: this package, Python, NumPy, and the framework's."""
    return {"optconform": __version__, "python": platform.python_version(), "numpy": np.__version__, **framework}
