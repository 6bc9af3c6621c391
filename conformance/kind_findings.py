"""Findings about the kind of the decay: on what it acts, how, and whether on all parameters alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from .effective_decay import EffectiveDecay
from .fits import Fit
from .identify import KindOfDecay, Scaling
from .observations import Observations, make_finding
from .result import Finding, Severity, Verdict
from .targets import DECOUPLED_TARGETS


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


def _first(observed: Observations, shows: Callable[[KindOfDecay], object]) -> list[tuple[str, str, KindOfDecay]]:
    """Return (trace, parameter, kind) of the first parameter that shows something; none where no one does."""
    found = ((trace, name, kind) for (trace, name), kind in observed.kinds.items() if shows(kind))
    return list(itertools.islice(found, 1))


def _state_depends_on_decay(observed: Observations) -> Iterator[Finding]:
    """Yield where decay looks decoupled in a step and is expected to be; OC107 reports it in any case."""
    if observed.expectation.verdict != Verdict.DECOUPLED:
        return
    for trace, parameter, kind in _first(observed, lambda kind: kind.enters_state):
        yield make_finding(
            "OC103", f"{parameter!r}: {kind.reason} (trace {trace})", parameter=parameter, rerun=observed.rerun
        )


def _post_update_decay(observed: Observations) -> Iterator[Finding]:
    if observed.law and observed.law.decay.applied_to == "updated" and observed.expectation.order != "updated":
        form = observed.law.decay.form
        yield make_finding(
            "OC104",
            f"decay acts on the updated parameters ({form}): it also shrinks the step just taken",
            rerun=observed.rerun,
            form=form,
        )
    for trace, parameter, kind in _first(observed, lambda kind: kind.between):
        yield make_finding(
            "OC104",
            f"{parameter!r}: {kind.reason}: it also shrinks part of the step just taken (trace {trace})",
            parameter=parameter,
            rerun=observed.rerun,
        )


def _wrong_decay_target(observed: Observations) -> Iterator[Finding]:
    if observed.verdict is Verdict.INCONCLUSIVE:
        return
    for trace, parameter, kind in _first(observed, lambda kind: kind.wrong_target):
        yield make_finding(
            "OC105",
            f"decay moves {parameter!r} by {kind.wrong_target} instead of in proportion to theta (trace {trace})",
            parameter=parameter,
            rerun=observed.rerun,
            target=kind.wrong_target,
        )


def _decay_grows_weights(observed: Observations) -> Iterator[Finding]:
    for trace, parameter, kind in _first(observed, lambda kind: kind.grows):
        yield make_finding(
            "OC106",
            f"decay grows {parameter!r} by {-kind.fits[0].coefficient:.3g} of itself in a step (trace {trace})",
            parameter=parameter,
            rerun=observed.rerun,
            coefficient=kind.fits[0].coefficient,
        )


def _repeated_decay(observed: Observations) -> Iterator[Finding]:
    if observed.law and observed.law.form and observed.law.form.repeats > 1:
        times = observed.law.form.repeats
        yield make_finding("OC108", f"decay is applied {times} times in every step", rerun=observed.rerun, times=times)


def _preconditioned_decay(observed: Observations) -> Iterator[Finding]:
    """Yield one finding for each way in which decay is scaled, with the parameters that have it."""
    scaled: dict[Scaling, list[tuple[str, str]]] = {}
    for place, kind in observed.kinds.items():
        if kind.scaling is not None and observed.verdict in (Verdict.PRECONDITIONED, Verdict.MIXED):
            scaled.setdefault(kind.scaling, []).append(place)
    for places in scaled.values():
        trace, parameter = places[0]
        names = sorted({name for _, name in places})
        yield make_finding(
            "OC107",
            f"{', '.join(map(repr, names))}: {observed.kinds[trace, parameter].reason} (trace {trace})",
            parameter=parameter,
            rerun=observed.rerun,
            parameters=names,
        )


def _uneven_decay(observed: Observations) -> Iterator[Finding]:
    """Yield two parameters that the same step decays by different coefficients.

    First looked for among those with the same number of dimensions, where it is an error. Only parameters whose
    decay acts on the same theta are compared, since the coefficient refers to it; one that does not decay at all
    compares with any. Excluded parameters are left out, and so are preconditioned ones, which have no coefficient.
    """
    for same_dimensions in (True, False):
        steps: dict[tuple[Any, ...], list[tuple[str, Fit]]] = {}
        for (trace, parameter), kind in observed.kinds.items():
            if kind.applied_to in DECOUPLED_TARGETS and not kind.excluded:
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


def _undecayed_parameter(observed: Observations) -> Iterator[Finding]:
    """Yield a parameter that decay leaves alone in every step, beside one that it decays and no exclusion."""
    decayed = [place for place, kind in observed.kinds.items() if kind.verdict is Verdict.DECOUPLED]
    for (trace, parameter), kind in observed.kinds.items():
        beside = [name for where, name in decayed if where == trace and not kind.spared_by(observed.kinds[where, name])]
        if kind.verdict is not Verdict.IGNORED or kind.unmoved_by_l2 or not beside:
            continue
        dimensions = observed.dimensions[trace, parameter]
        alike = [name for name in beside if observed.dimensions[trace, name] == dimensions]
        yield make_finding(
            "OC109",
            f"{parameter!r} does not decay, although the optimizer was not told to exclude it, and "
            f"{(alike or beside)[0]!r} does (trace {trace})",
            severity=Severity.ERROR if alike else None,
            parameter=parameter,
            rerun=observed.rerun,
        )
        return


def _exclusion_ignored(observed: Observations) -> Iterator[Finding]:
    for trace, parameter, kind in _first(observed, lambda kind: kind.excluded and kind.verdict is not Verdict.EXCLUDED):
        yield make_finding(
            "OC410",
            f"{parameter!r} is excluded from decay, and decays all the same: {kind.reason} (trace {trace})",
            parameter=parameter,
            rerun=observed.rerun,
            verdict=kind.verdict,
        )


def _another_decay_at_zero_gradient(observed: Observations) -> Iterator[Finding]:
    """Yield where decay without a gradient is not what the law says: a second one hides behind the gradients.

    An L2 term too small to show beside them, say: Adam makes steps of full length of it once it is alone. Where
    parameters decay unevenly, the one law says nothing of the others.
    """
    effective = observed.effective
    if observed.departure or next(_uneven_decay(observed), None) is not None:
        return
    if isinstance(effective, EffectiveDecay) and effective.unexplained:
        yield make_finding(
            "OC301",
            f"where the gradient is zero, decay is {effective.ratio:.3g} times the nominal c = {effective.nominal:.3g} "
            f"(lr={effective.lr:.6g}, weight_decay={effective.weight_decay:.6g}, theta of trace {effective.trace}), "
            f"which {effective.dtype} rounding does not explain",
            severity=Severity.ERROR if effective.ratio > 1.0 else Severity.WARNING,
            parameter=effective.worst_parameter,
            rerun=observed.rerun,
            effective_ratio=effective.ratio,
            nominal=effective.nominal,
        )


FINDERS = (
    _coupled_decay,
    _ignored_decay,
    _state_depends_on_decay,
    _post_update_decay,
    _wrong_decay_target,
    _decay_grows_weights,
    _preconditioned_decay,
    _repeated_decay,
    _uneven_decay,
    _undecayed_parameter,
    _exclusion_ignored,
    _another_decay_at_zero_gradient,
)
