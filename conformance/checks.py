"""The checks of an audit, each passed, failed or skipped with a reason, and how surely the verdict stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .expectation import Expectation
from .identify import KindOfDecay
from .matching import Matching
from .result import Check, Decay, Decision, Separation, Verdict
from .trace_evidence import OWN_VALUES_STEPS, TraceEvidence, shown_values

_L2_TEST = "l2 (substitution test)"
_DECOUPLING_TEST = "decoupled (decoupling test)"
_KIND_CODES = {Verdict.L2: "OC101", Verdict.IGNORED: "OC102", Verdict.PRECONDITIONED: "OC107"}


def separation(verdict: Verdict, kinds: Mapping[tuple[str, str], KindOfDecay], matching: Matching) -> Separation:
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
        case Verdict.OTHER | Verdict.PRECONDITIONED if decoupling is not None and substitution is not None:
            # Neither hypothesis is accepted; the rival is the one that comes nearest.
            name = _DECOUPLING_TEST if decoupling <= substitution else _L2_TEST
            return Separation(None, name, min(decoupling, substitution))
    return Separation()


def kind_check(evidence: TraceEvidence, expectation: Expectation) -> Check:
    """Return the check of the kind that the paired runs on one trace found."""
    found = evidence.verdict
    pairing = "local" if evidence.local else "global"
    exercised = sum(kind.exercised for kind in evidence.kinds.values())
    of_all = "" if exercised == len(evidence.kinds) else f" of {len(evidence.kinds)}"
    message = f"{found} over {exercised}{of_all} parameters, {pairing} pairing"
    if found is Verdict.INCONCLUSIVE:
        return Check(f"kind[{evidence.trace.name}]", "skipped", message)
    met = expectation.met_by(found)
    return _kind(f"kind[{evidence.trace.name}]", found, message, met=met)


def probe_checks(verdict: Verdict, probed: Matching | None, expectation: Expectation) -> list[Check]:
    """Return the check of the trajectory at the probe's hyperparameters, where it was walked."""
    if probed is None:
        return []
    match = probed.match
    if match.rule is None:
        return [Check("kind[trajectory]", "skipped", f"{match.decision or 'nothing to decide'} at the probe's values")]
    message = f"{match.decision}: {match.rule}, worst ratio {match.bound_ratio:.2g} at the probe's values"
    if match.decision is not Decision.ACCEPT or verdict is Verdict.INCONCLUSIVE:
        return [Check("kind[trajectory]", "skipped", message)]
    sound = expectation.met_by(verdict) and not probed.contradicts(verdict)
    return [_kind("kind[trajectory]", verdict, message, met=sound)]


def _kind(name: str, found: Verdict, message: str, *, met: bool) -> Check:
    """Return the check of a kind; one that is as expected has no code: ignoring the finding leaves it a pass."""
    return Check(name, "passed", message) if met else Check(name, "failed", message, _KIND_CODES.get(found))


def trajectory_check(verdict: Verdict, matching: Matching, documented: str | None) -> Check:
    """Return the check of the trajectory at the user's own hyperparameters."""
    match = matching.match
    if match.rule is not None:
        sound = (documented is None or documented in matching.rules) and not matching.contradicts(verdict)
        message = (
            f"{match.elements} elements inside the bound of {match.rule}, worst ratio {match.bound_ratio:.2g}, "
            f"{match.mode}"
        )
        return Check("trajectory", "passed" if sound else "failed", message, "OC301")
    if match.decision is None:
        return Check("trajectory", "skipped", "no element to compare, or no rule of the reference to compare it with")
    if match.decision is Decision.UNDECIDABLE:
        return Check("trajectory", "skipped", f"undecidable: {match.undecidable} elements, none with a bound")
    if documented is not None:
        return Check("trajectory", "failed", f"{documented} is documented, but nothing matches", "OC301")
    return Check("trajectory", "skipped", f"no rule of the reference fits, and none is documented{left_at(matching)}")


def left_at(matching: Matching) -> str:
    """Return where the nearest rule is left, by what factor, and which changed constant would explain it."""
    first = matching.first_violation
    if not first:
        return ""
    nearest = str(matching.match.nearest).partition("[")[0]
    where = f"{first['parameter']!r}{list(first['element'])}"
    left = f"; the nearest, {nearest}, is left at step {first['step']} in {where} by a factor of {first['factor']:.3g}"
    explained = matching.match.explained_by
    return left + (f"; with {explained} it would fit" if explained else "")


def own_values_checks(own: TraceEvidence | None, held: Mapping[str, Any], *, departs: bool) -> list[Check]:
    """Return the check that the kind is the same at the user's own hyperparameters, where that was looked at."""
    if own is None:
        return []
    steps = min(own.trace.n_steps, OWN_VALUES_STEPS)
    name, where = f"own values[{own.trace.name}]", f"{shown_values(held)}, {steps} steps"
    if own.verdict is Verdict.INCONCLUSIVE:
        return [Check(name, "skipped", f"{own.verdict} at {where}")]
    return [Check(name, "failed" if departs else "passed", f"{own.verdict} at {where}", "OC301")]


_AXES: Mapping[str, tuple[str, str]] = {
    # axis of an expectation: (its name in a hypothesis, code of its finding)
    "law": ("law", "OC201"),
    "order": ("order", "OC104"),
    "epsilon": ("epsilon", "OC302"),
    "momentum": ("momentum_form", "OC304"),
}


def axis_checks(
    expectation: Expectation, decay: Decay, matchings: Sequence[Matching], verdict: Verdict
) -> tuple[Check, ...]:
    """Return one check for each axis that something is expected of.

    Skipped where the axis cannot be told: neither was the kind, or the value expected is one of several that fit.
    """
    found = {
        "law": decay.law,
        "order": decay.applied_to,
        "epsilon": next((each.match.epsilon for each in matchings if each.match.epsilon), None),
        "momentum": next((each.match.momentum for each in matchings if each.match.momentum), None),
    }
    checks = []
    for axis, value in found.items():
        wanted = getattr(expectation, axis)
        if wanted is not None:
            name, code = _AXES[axis]
            fits = {hypothesis.axes().get(name) for each in matchings for hypothesis in each.accepted}
            met = value == wanted or (axis == "order" and value == "either")
            untold = value is None and (verdict is Verdict.INCONCLUSIVE or (wanted in fits and len(fits) > 1))
            outcome = "passed" if met else "skipped" if untold else "failed"
            checks.append(Check(axis, outcome, f"{value or 'undetermined'}, expected {wanted}", code))
    return tuple(checks)
