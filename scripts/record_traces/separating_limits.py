"""What stands against telling some pairs of hypotheses apart on a trace as short as `separating`.

A limit compares sizes, it proves nothing: some pairs under one part all the same, and count as told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optconform.conformance.hypotheses import Hypothesis
from optconform.conformance.separability import Separability
from optconform.reference import AMSGrad, BiasCorrection, DecayOrder, Epsilon
from optconform.reference.decay import decay_coefficient
from optconform.reference.formats import FORMATS

STEP_ROUNDINGS = 16
"""Roundings of Adam's step that the bound allows for at least, over the orders of evaluation in use."""
THETA_ROUNDINGS = 5
"""Roundings of theta in a decayed step, the proximal one: of theta - u, 1 + c, the quotient, c itself, the storage."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where a pair is looked at."""

    values: Mapping[str, Any]
    multipliers: Sequence[float]
    dtype: str

    def drowns(self, distance: float, roundings: int) -> bool:
        """Whether a relative distance is no larger than so many roundings."""
        return distance <= roundings * FORMATS[self.dtype].unit_roundoff

    def largest(self, coefficient: Callable[[float], float]) -> float:
        """Return the largest magnitude of `coefficient` over the schedule."""
        return max(abs(coefficient(multiplier)) for multiplier in self.multipliers)


def _same_algebra(pair: Separability, where: Circumstances) -> bool:
    uncorrected = _said(pair, "bias_correction") == {BiasCorrection.OFF}
    return uncorrected and _said(pair, pair.axis) in (
        {Epsilon.OUTSIDE, Epsilon.HAT},
        {AMSGrad.RAW, AMSGrad.CORRECTED},
    )


def _order(pair: Separability, where: Circumstances) -> bool:
    if pair.axis != "order":
        return False
    decay = where.largest(lambda multiplier: _coefficient(pair.own, multiplier))
    return where.drowns(decay if DecayOrder.PREVIOUS in _said(pair, "order") else decay**2, STEP_ROUNDINGS)


def _corrected_epsilon(pair: Separability, where: Circumstances) -> bool:
    hat = _said(pair, "epsilon") == {Epsilon.HAT} and BiasCorrection.OFF not in _said(pair, "bias_correction")
    if pair.axis != "order" or not hat:
        return False
    # beta2 is rounded before 1 - beta2^t is formed: a relative error of about u / (1 - beta2) at any small t.
    decay = where.largest(lambda multiplier: _coefficient(pair.own, multiplier))
    return where.drowns(decay * (1.0 - where.values["beta2"]), 1)


def _maximum(pair: Separability, where: Circumstances) -> bool:
    if pair.axis != "amsgrad" or AMSGrad.OFF not in _said(pair, "amsgrad"):
        return False
    fallen = 1.0 - where.values["beta2"] ** (0.5 * (len(where.multipliers) - 1))
    return where.drowns(fallen, STEP_ROUNDINGS)


def _amount(pair: Separability, where: Circumstances) -> bool:
    if pair.axis == "rule" and pair.own.rule.family == "adam":
        return False  # L2 shows in the moments, however little it moves theta
    if pair.axis not in ("law", "rule"):
        return False
    difference = where.largest(lambda eta: _coefficient(pair.own, eta) - _coefficient(pair.rival, eta))
    memory = 0.0
    if pair.axis == "rule":
        l2 = pair.rival if pair.own.rule.decoupled else pair.own
        memory = where.largest(lambda eta: _coefficient(l2, eta)) / (1.0 - where.values["momentum"])
    return where.drowns(max(difference, memory), THETA_ROUNDINGS)


LIMITS: Mapping[str, Callable[[Separability, Circumstances], bool]] = {
    "the same algebra: without bias correction eps outside is eps-hat, and AMSGrad's two maxima are one": _same_algebra,
    "orders of decay part by c of the step, updated and proximal by c^2: below 16 roundings of it": _order,
    "under eps-hat orders part by less than u / (1 - beta2), to which eps is corrected": _corrected_epsilon,
    "in so few steps v falls from its maximum by less than 16 roundings of the step": _maximum,
    "laws, and SGD's kinds of decay, part by less than 5 roundings of theta": _amount,
}
"""Why -> whether it is so. The first that is counts."""


def limit_of(pair: Separability, where: Circumstances) -> str | None:
    """Return what stands against telling `pair` apart; None where nothing known does."""
    return next((why for why, applies in LIMITS.items() if applies(pair, where)), None)


def _said(pair: Separability, axis: str) -> set[Any]:
    """Return what the two hypotheses say on `axis`."""
    return {getattr(each.options, axis, None) for each in (pair.own, pair.rival)}


def _coefficient(hypothesis: Hypothesis, multiplier: float) -> float:
    """Return the part of theta that decay takes in a step before any momentum, under L2 too."""
    if hypothesis.rule.decoupled:
        return decay_coefficient(hypothesis.options, multiplier)
    return float(multiplier * hypothesis.options.lr * hypothesis.options.weight_decay)
