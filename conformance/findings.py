"""From what was observed to findings: one small function per rule of the rule table, listed in `FINDERS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from . import precision_findings
from .checks import left_at
from .hypotheses import Hypothesis
from .identify import DECOUPLED_TARGETS, Fit
from .observations import Observations, make_finding
from .result import Decision, Finding, Severity, Verdict

SCHEDULE_WORDS = {
    True: "follows the schedule",
    False: "does not follow the schedule",
    None: "follows the schedule in no power of it",
}
"""`Decay.follows_schedule` in words."""


def findings_of(observed: Observations) -> tuple[Finding, ...]:
    """Return every finding, in the order of the codes."""
    found = [finding for finder in FINDERS for finding in finder(observed)]
    return tuple(sorted(found, key=lambda finding: finding.rule))


def _coupled_decay(observed: Observations) -> Iterator[Finding]:
    if observed.verdict is not Verdict.L2 or observed.expectation.verdict != Verdict.DECOUPLED:
        return
    ratios = [kind.decoupling_ratio for kind in observed.kinds.values() if kind.decoupling_ratio is not None]
    far = max(ratios, default=0.0)
    # In 16 bits rounding may drown the paired runs, and then the trajectory alone says that it is L2.
    how = (
        "feeding g + weight_decay*theta to the optimizer without decay reproduces every step, and what decay does is "
        f"{far:.2g} times what rounding explains away from any multiple of theta"
        if far > 1.0
        else "the trajectory stays inside the bound of a rule with L2, and leaves that of every decoupled one"
    )
    yield make_finding(
        "OC101",
        f"weight decay is L2: {how}",
        rerun=observed.rerun,
        substitution_ratio=max((kind.substitution_ratio or 0.0 for kind in observed.kinds.values()), default=0.0),
        decoupling_ratio=far,
    )


def _ignored_decay(observed: Observations) -> Iterator[Finding]:
    if observed.verdict is Verdict.IGNORED and observed.expectation.verdict != Verdict.IGNORED:
        yield make_finding(
            "OC102",
            "weight_decay is accepted and changes no bit of any parameter at probe values",
            rerun=observed.rerun,
        )


def _state_depends_on_decay(observed: Observations) -> Iterator[Finding]:
    for (trace, parameter), kind in observed.kinds.items():
        if kind.enters_state:
            yield make_finding(
                "OC103", f"{parameter!r}: {kind.reason} (trace {trace})", parameter=parameter, rerun=observed.rerun
            )
            return


def _post_update_decay(observed: Observations) -> Iterator[Finding]:
    if observed.law and observed.law.decay.applied_to == "updated" and observed.expectation.order != "updated":
        form = observed.law.decay.form
        yield make_finding(
            "OC104",
            f"decay acts on the updated parameters ({form}): it also shrinks the step just taken",
            rerun=observed.rerun,
            form=form,
        )


def _wrong_decay_target(observed: Observations) -> Iterator[Finding]:
    for (trace, parameter), kind in observed.kinds.items():
        if kind.wrong_target and observed.verdict is not Verdict.INCONCLUSIVE:
            yield make_finding(
                "OC105",
                f"decay moves {parameter!r} by {kind.wrong_target} instead of in proportion to theta (trace {trace})",
                parameter=parameter,
                rerun=observed.rerun,
                target=kind.wrong_target,
            )
            return


def _decay_grows_weights(observed: Observations) -> Iterator[Finding]:
    for (trace, parameter), kind in observed.kinds.items():
        if kind.grows:
            yield make_finding(
                "OC106",
                f"decay grows {parameter!r} by {-kind.fits[0].coefficient:.3g} of itself in a step (trace {trace})",
                parameter=parameter,
                rerun=observed.rerun,
                coefficient=kind.fits[0].coefficient,
            )
            return


def _repeated_decay(observed: Observations) -> Iterator[Finding]:
    if observed.law and observed.law.form and observed.law.form.repeats > 1:
        times = observed.law.form.repeats
        yield make_finding("OC108", f"decay is applied {times} times in every step", rerun=observed.rerun, times=times)


def _uneven_decay(observed: Observations) -> Iterator[Finding]:
    """Yield two parameters that the same step decays by different coefficients.

    First looked for among those with the same number of dimensions, where it is an error. Only parameters whose
    decay acts on the same theta are compared, since the coefficient refers to it.
    """
    for same_dimensions in (True, False):
        steps: dict[tuple[Any, ...], list[tuple[str, Fit]]] = {}
        for (trace, parameter), kind in observed.kinds.items():
            if kind.applied_to in DECOUPLED_TARGETS:
                group = observed.dimensions[trace, parameter] if same_dimensions else None
                for step, fit in zip(kind.measured, kind.fits, strict=True):
                    steps.setdefault((trace, kind.applied_to, group, step), []).append((parameter, fit))
        for (trace, *_), measured in steps.items():
            least = min(measured, key=lambda each: each[1].coefficient + each[1].uncertainty)
            most = max(measured, key=lambda each: each[1].coefficient - each[1].uncertainty)
            gap = most[1].coefficient - least[1].coefficient
            if gap > most[1].uncertainty + least[1].uncertainty:
                coefficients = {name: fit.coefficient for name, fit in (most, least)}
                shown = " and ".join(f"{name!r} by {value:.6g} of itself" for name, value in coefficients.items())
                yield make_finding(
                    "OC109",
                    f"the same step decays {shown} (trace {trace})",
                    severity=Severity.ERROR if same_dimensions else None,
                    parameter=least[0],
                    rerun=observed.rerun,
                    coefficients=coefficients,
                )
                return


def _decay_law(observed: Observations) -> Iterator[Finding]:
    if observed.law is None:
        return
    if observed.law.decay.law is None:
        yield make_finding(
            "OC201",
            "the law cannot be found: at half or twice the probe's learning rate or weight decay, decay does not show "
            "or is no multiple of theta",
            severity=Severity.WARNING,
            rerun=observed.rerun,
        )
        return
    decay, expected = observed.law.decay, observed.expectation.law
    exponents = f"lr**{_number(decay.lr_exponent)} * wd**{_number(decay.wd_exponent)}"
    shown = f"decay follows the law {decay.law}: c = {_number(decay.factor)} * {exponents}"
    schedule = SCHEDULE_WORDS[decay.follows_schedule]
    wrong = expected is not None and expected != decay.law
    yield make_finding(
        "OC201",
        f"{shown}; it {schedule}" + (f"; {expected} was expected" if wrong else ""),
        severity=Severity.ERROR if wrong else None,
        rerun=observed.rerun,
        law=decay.law,
        expected=expected,
    )


def _decay_ignores_schedule(observed: Observations) -> Iterator[Finding]:
    if observed.law and not observed.law.stale:
        decay = observed.law.decay
        if decay.follows_schedule is False and decay.lr_exponent not in (None, 0.0):
            yield make_finding(
                "OC202",
                "decay depends on the learning rate it was built with, not on that of the step",
                rerun=observed.rerun,
            )


def _stale_decay_lr(observed: Observations) -> Iterator[Finding]:
    if observed.law and observed.law.stale:
        yield make_finding("OC203", "decay follows the learning rate of the step before", rerun=observed.rerun)


def _update_mismatch(observed: Observations) -> Iterator[Finding]:
    wanted, found = observed.documented_rule, observed.matching.match
    accepted = observed.matching.rules
    if observed.matching.contradicts(observed.verdict):
        yield make_finding(
            "OC301",
            f"decay is {observed.verdict} at the probe's hyperparameters, but at the user's own the trajectory is "
            f"that of {found.rule}",
            rerun=observed.rerun,
            found=found.rule,
        )
    if observed.departure:
        yield make_finding(
            "OC301",
            f"decay is {observed.verdict} at the probe's hyperparameters, but {observed.departure}",
            rerun=observed.rerun,
        )
    if wanted is None or wanted in accepted or not found.elements:
        return
    if accepted:
        yield make_finding(
            "OC301", f"documented to follow {wanted}, but walks {found.rule}", rerun=observed.rerun, documented=wanted
        )
        return
    yield make_finding(
        "OC301",
        f"documented to follow {wanted}, but matches no form of it{left_at(observed.matching)}",
        rerun=observed.rerun,
        documented=wanted,
        nearest=found.nearest,
        explained_by=found.explained_by,
        **observed.matching.first_violation,
    )


def _epsilon_placement(observed: Observations) -> Iterator[Finding]:
    yield from _axis(observed, "OC302", "epsilon", observed.matching.match.epsilon, "epsilon is placed {}")


def _bias_correction(observed: Observations) -> Iterator[Finding]:
    forms = {str(_option(hypothesis, "bias_correction")) for hypothesis in observed.matching.accepted}
    if forms and forms <= {"off", "off by one"}:
        form = "missing" if forms == {"off"} else "off by one step" if forms == {"off by one"} else "wrong"
        yield make_finding("OC303", f"bias correction is {form}", rerun=observed.rerun, found=sorted(forms))


def _momentum_convention(observed: Observations) -> Iterator[Finding]:
    text = "the momentum buffer has the learning rate {}"
    yield from _axis(observed, "OC304", "momentum", observed.matching.match.momentum, text)


def _non_finite(observed: Observations) -> Iterator[Finding]:
    for (trace, parameter), kind in observed.kinds.items():
        if "NaN" in kind.reason:
            yield make_finding(
                "OC409", f"{parameter!r}: {kind.reason} (trace {trace})", parameter=parameter, rerun=observed.rerun
            )
            return
    first = observed.matching.non_finite
    if first:
        yield make_finding(
            "OC409",
            f"{first['parameter']!r}: the parameters became NaN or infinite at step {first['step']} of trace "
            f"{first['trace']}, at the user's own hyperparameters",
            parameter=first["parameter"],
            rerun=observed.rerun,
            step=first["step"],
        )


def _weak_trace(observed: Observations) -> Iterator[Finding]:
    for (trace, parameter), kind in observed.kinds.items():
        if kind.verdict is Verdict.INCONCLUSIVE:
            yield make_finding(
                "OC905", f"trace {trace}, {parameter!r}: {kind.reason}", parameter=parameter, rerun=observed.rerun
            )
            break
    match = observed.matching.match
    if match.decision is Decision.UNDECIDABLE:
        yield make_finding(
            "OC905",
            f"nothing is decided at the user's own hyperparameters: none of {match.undecidable} elements has a bound "
            f"that says anything in {observed.dtype}",
            rerun=observed.rerun,
            undecidable=match.undecidable,
        )


def _axis(observed: Observations, code: str, axis: str, found: str | None, text: str) -> Iterator[Finding]:
    """Yield the finding that reports an axis, as an error where another value was expected.

    An axis that is undetermined raises nothing here: its check fails, and what kept it from being
    determined (a wrong decay, say) has its own finding.
    """
    if found is None:
        return
    expected = getattr(observed.expectation, axis)
    wrong = expected is not None and found != expected
    yield make_finding(
        code,
        text.format(found.removeprefix("lr_")) + (f"; {expected} was expected" if wrong else ""),
        severity=Severity.ERROR if wrong else None,
        rerun=observed.rerun,
        found=found,
        expected=expected,
    )


def _option(hypothesis: Hypothesis, name: str) -> Any:
    return getattr(hypothesis.options, name, None)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"


FINDERS: tuple[Callable[[Observations], Iterator[Finding]], ...] = (
    _coupled_decay,
    _ignored_decay,
    _state_depends_on_decay,
    _post_update_decay,
    _wrong_decay_target,
    _decay_grows_weights,
    _repeated_decay,
    _uneven_decay,
    _decay_law,
    _decay_ignores_schedule,
    _stale_decay_lr,
    _update_mismatch,
    _epsilon_placement,
    _bias_correction,
    _momentum_convention,
    *precision_findings.FINDERS,
    _non_finite,
    _weak_trace,
)
