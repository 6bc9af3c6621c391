"""When a case that lies inside its bound is worse than it was: one rule per figure of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..conformance.measured import Place
from ..conformance.result import Verdict
from .baseline import BaselineCase

CLEARLY_APART = 10.0
"""A rival this many bounds away is told from the rule beyond doubt; nearer, the trace or the precision got weaker."""
DISTANCE_GROWTH = 2
"""How many times the largest distance from the CPU may grow: another version may round twice where it rounded once.

Up to one unit a step it may be in any case, as where operations are contracted that were not before."""


@dataclass(frozen=True, slots=True)
class Worse:
    """One figure that is worse than the baseline allows."""

    figure: str
    then: Any
    now: Any
    allowed: Any
    message: str


def allowed_ratio(ratio: float) -> float:
    """Return the largest bound ratio that a baseline with `ratio` allows: half of the room to the bound used up.

    Everything up to 1 is correct rounding, and other versions and processors round differently there: by another
    order or contraction of the same operations a case may come out at .88 that another computes with .83. Nearer to
    the bound less is allowed, so that what creeps towards it is noticed before it gets there.

    >>> allowed_ratio(0.5)
    0.75
    """
    return (1.0 + ratio) / 2.0


def figures_worse(then: BaselineCase, now: BaselineCase) -> tuple[Worse, ...]:
    """Return every figure of `now` that is worse than `then` allows; both ran, on devices of one class."""
    return tuple(worse for rule in FIGURES if (worse := rule(then, now)) is not None)


def hardware(place: Place) -> tuple[str | None, ...]:
    """Return what must be the same for bits to be: the name, and what kernels are chosen or compiled by.

    That is a GPU's driver, and the vector extensions of a processor.
    """
    return place.name, place.details.get("driver"), place.details.get("vector")


def bits_not_comparable(here: Place, there: Place, then: BaselineCase, now: BaselineCase) -> str:
    """Return why the bits of two runs say nothing about each other; empty where they must be the same.

    Vector width, kernels and compilers change the order of operations, and with it bits, without anything being
    wrong.
    """
    if hardware(here) != hardware(there):
        return "another processor or driver"
    if _computing(then.versions) != _computing(now.versions):
        return "other versions"
    if then.flags != now.flags:
        return "other flags"
    if then.reproducible is False or now.reproducible is False:
        return "not reproducible"
    return ""


def _computing(versions: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of what computes: this package is the same, installed or run from a checkout."""
    return {**versions, "optconform": versions.get("optconform", "").partition("+")[0]}


def distances_comparable(then: BaselineCase, now: BaselineCase) -> bool:
    """Whether both were measured from the CPU, and from the same execution there."""
    return then.from_cpu is not None and now.from_cpu is not None and then.from_cpu.against == now.from_cpu.against


def bits_worse(then: BaselineCase, now: BaselineCase) -> tuple[Worse, ...]:
    """Return that the bits differ, if they do; only for what `bits_not_comparable` lets through."""
    if then.bits == now.bits:
        return ()
    message = (
        f"other bits than in the baseline ({now.bits[:12]}, baseline {then.bits[:12]}) on the same hardware, with the "
        "same versions and flags"
    )
    return (Worse("bits", then.bits, now.bits, then.bits, message),)


def _decision(then: BaselineCase, now: BaselineCase) -> Worse | None:
    if then.verdict is Verdict.INCONCLUSIVE or (then.verdict, then.rule) == (now.verdict, now.rule):
        return None
    message = f"the verdict is {_decided(now)}, where the baseline holds {_decided(then)}"
    return Worse("verdict", _decided(then), _decided(now), _decided(then), message)


def _decided(case: BaselineCase) -> str:
    return f"{case.verdict} ({case.rule or 'no rule'})"


def _bound_ratio(then: BaselineCase, now: BaselineCase) -> Worse | None:
    if then.bound_ratio is None or now.bound_ratio is None:
        return None
    allowed = allowed_ratio(then.bound_ratio)
    if now.bound_ratio <= allowed:
        return None
    message = (
        f"inside the bound, but {now.bound_ratio:.6g} of it is used; the baseline holds {then.bound_ratio:.6g} and "
        f"allows {allowed:.6g}, half of the room to the bound, for what versions and processors round differently"
    )
    return Worse("bound_ratio", then.bound_ratio, now.bound_ratio, allowed, message)


def _distance(then: BaselineCase, now: BaselineCase) -> Worse | None:
    if then.from_cpu is None or now.from_cpu is None or not distances_comparable(then, now):
        return None
    allowed = max(DISTANCE_GROWTH * then.from_cpu.largest, float(now.from_cpu.steps))
    if now.from_cpu.largest <= allowed:
        return None
    message = (
        f"{now.from_cpu.largest:.6g} units in the last place from {now.from_cpu.against} after {now.from_cpu.steps} "
        f"steps; the baseline holds {then.from_cpu.largest:.6g} and allows {allowed:.6g}"
    )
    return Worse("from_cpu.largest", then.from_cpu.largest, now.from_cpu.largest, allowed, message)


def _reproducibility(then: BaselineCase, now: BaselineCase) -> Worse | None:
    if not (then.reproducible is True and now.reproducible is False):
        return None
    message = "the same input no longer gives the same bits; it did when the baseline was made"
    return Worse("reproducible", True, False, True, message)


def _separation(then: BaselineCase, now: BaselineCase) -> Worse | None:
    if then.rival_ratio is None or then.rival_ratio < CLEARLY_APART:
        return None
    if now.rival_ratio is not None and now.rival_ratio >= CLEARLY_APART:
        return None
    found = "no rival is apart" if now.rival_ratio is None else f"{now.rival} is {now.rival_ratio:.6g} bounds apart"
    message = (
        f"hardly told from another rule: {found}; the baseline holds {then.rival_ratio:.6g} for {then.rival}, and "
        f"{CLEARLY_APART:g} is allowed"
    )
    return Worse("rival_ratio", then.rival_ratio, now.rival_ratio, CLEARLY_APART, message)


FIGURES: tuple[Callable[[BaselineCase, BaselineCase], Worse | None], ...] = (
    _decision,
    _bound_ratio,
    _distance,
    _reproducibility,
    _separation,
)
