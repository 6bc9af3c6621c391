"""Findings about the working precision: decay rounded away, hyperparameters rounded, constants that degenerate."""

from __future__ import annotations

from collections.abc import Iterator

from ..reference.formats import FORMATS
from .effective_decay import EffectiveDecay
from .held_constants import CONSEQUENCES, degenerate_constants, held_in_lower_precision
from .observations import Observations, make_finding
from .result import Finding, Severity

_COEFFICIENT = frozenset({"lr", "weight_decay"})


def lost_decay(observed: Observations) -> Iterator[Finding]:
    """Yield OC204 where rounding changes the decay by more than 10% (`effective_decay`).

    An error where no element moves, and the user himself set learning rate or weight decay.
    """
    effective = observed.effective
    if not isinstance(effective, EffectiveDecay) or not effective.changed_by_rounding:
        return
    settings = f"lr={effective.lr:.6g}, weight_decay={effective.weight_decay:.6g}"
    nominal = f"the nominal c = {effective.nominal:.3g} ({settings})"
    by_user = bool(_COEFFICIENT & observed.user_set)
    yield make_finding(
        "OC204",
        f"{_what_is_left(effective, nominal)} (zero gradient, theta of trace {effective.trace}). {_why(effective)} "
        "Keep master weights in a wider format, raise lr*weight_decay, decay every k-th step by k*c, or round "
        "stochastically",
        severity=Severity.ERROR if effective.lost and by_user else None,
        rerun=observed.rerun,
        nominal=effective.nominal,
        effective_ratio=effective.ratio,
        dtype=effective.dtype,
        trace=effective.trace,
        elements=effective.elements,
        unchanged=effective.unchanged,
        worst_parameter=effective.worst_parameter,
        worst_ratio=effective.worst_ratio,
        half_ulp=effective.half_ulp,
    )


def _what_is_left(effective: EffectiveDecay, nominal: str) -> str:
    if effective.lost:
        return (
            f"no decay is applied: of {nominal} nothing is left in {effective.dtype}, and none of "
            f"{effective.elements} elements moves"
        )
    later = f", and {effective.later[1]:.3g} times over {effective.later[0]} steps" if effective.later else ""
    return (
        f"{effective.dtype} rounding makes the decay {effective.ratio:.3g} times {nominal} in one step{later}; "
        f"{effective.unchanged:.0%} of {effective.elements} elements do not move in one"
    )


def _why(effective: EffectiveDecay) -> str:
    limit = FORMATS[effective.dtype].unit_roundoff / 2.0
    if abs(effective.nominal) <= limit:
        return (
            f"c is below half an ulp of the numbers under 1 ({limit:.3g}): theta*(1 - c) and theta - c*theta round "
            "back to theta."
        )
    return f"theta moves by whole ulps, and half an ulp is {effective.half_ulp:.2g} of c*theta."


def rounded_hyperparameter(observed: Observations) -> Iterator[Finding]:
    """Yield OC305 for what is rounded on use, where it shows, and for what is held rounded besides."""
    casts = {cast for hypothesis in observed.matching.accepted for cast in hypothesis.casts}
    rival = next((ratio for name, ratio in observed.matching.match.rivals.items() if "casts=none" in name), None)
    shows = rival is not None and rival > 1.0
    if casts and shows:
        dtype = min(cast.dtype for cast in casts)
        places = "; ".join(
            f"{use.replace('_', ' ')}: {', '.join(sorted(cast.hyperparameter for cast in casts if cast.use == use))}"
            for use in sorted({cast.use for cast in casts}, reverse=True)
        )
        yield make_finding(
            "OC305",
            f"rounded to {dtype} on use ({places}); taken as exact, the trajectory is {rival:.2g} bounds away",
            rerun=observed.rerun,
            exact_ratio=rival,
        )
    told = {cast.hyperparameter for cast in casts} if shows else set()
    held = held_in_lower_precision(observed.asked, observed.matching.held, observed.dtype)
    rounded = [each for each in held if each.hyperparameter not in told]
    if rounded:
        shown = ", ".join(
            f"{each.hyperparameter} as {each.held!r} where {each.asked!r} was asked for, which is that rounded to "
            f"{each.dtype}"
            for each in rounded
        )
        yield make_finding(
            "OC305",
            f"held in lower precision than the {observed.dtype} parameters: {shown}",
            rerun=observed.rerun,
            held={each.hyperparameter: each.held for each in rounded},
            asked={each.hyperparameter: each.asked for each in rounded},
            dtypes={each.hyperparameter: each.dtype for each in rounded},
        )


def degenerate_constant(observed: Observations) -> Iterator[Finding]:
    """Yield OC306 for every constant that rounding to the working precision makes 0 or 1."""
    state = observed.matching.state_dtype or observed.dtype
    work = max(state, observed.matching.match.computed_in or state, key=lambda name: FORMATS[name].precision)
    for each in degenerate_constants(observed.matching.held, state, work):
        name = each.hyperparameter
        yield make_finding(
            "OC306",
            f"{name}={each.asked!r} rounds to {each.held:.0f} in {each.dtype}: {CONSEQUENCES[name]}",
            rerun=observed.rerun,
            hyperparameter=name,
            value=each.asked,
            rounded=each.held,
            dtype=each.dtype,
        )


FINDERS = (lost_decay, rounded_hyperparameter, degenerate_constant)
"""All of this file."""
