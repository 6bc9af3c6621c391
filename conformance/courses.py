"""The course of a decay's coefficient c_t over the steps: steady, following the schedule, or neither."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from .fits import Fit
from .forms import FORMS
from .subject import Float64Array


def steadiness(fits: Sequence[Fit], multipliers: Sequence[float], usable: Sequence[int]) -> float:
    """Return how far c_t is, in its own uncertainty, from what a decoupled decay can be over time.

    That is, in some form: constant, or proportional to eta_t, to eta_t**2 or (stale) to eta_{t-1}; what comes
    nearest counts. Only the steps `usable` are looked at: whether others decay is the framework's convention.
    """
    usable = [index for index in usable if fits[index].uncertainty < np.inf]
    if len(usable) < 2 or not any(fits[index].measurable for index in usable):
        return 0.0
    eta = np.array(multipliers, dtype=np.float64)
    patterns = (np.ones_like(eta), eta, eta * eta, np.concatenate(([np.nan], eta[:-1])))
    best = np.inf
    for form, pattern in itertools.product(FORMS, patterns):
        chosen = [index for index in usable if not np.isnan(pattern[index])]
        if not any(fits[index].measurable for index in chosen):  # zero is proportional to anything
            continue
        intervals = [form.interval(fits[index].coefficient, fits[index].uncertainty) for index in chosen]
        best = min(best, _disproportion(np.array(intervals).reshape(-1, 2), pattern[chosen]))
        if best <= 1.0:
            break
    return float(best)


def pauses(fits: Sequence[Fit], usable: Sequence[int]) -> bool:
    """Whether decay stops acting in a step after one in which it acted; that it starts late is no pause."""
    acting = [fits[index].measurable for index in usable if fits[index].uncertainty < np.inf]
    return any(before and not after for before, after in itertools.pairwise(acting))


def farthest(fits: Sequence[Fit], others: Sequence[Fit]) -> float:
    """Return how far apart two courses are in the worst step, in what rounding explains."""
    return max((one.distance(other) for one, other in zip(fits, others, strict=True)), default=0.0)


def _disproportion(intervals: Float64Array, weights: Float64Array) -> float:
    """Return how far intervals are from holding x_t = k * w_t with one k, at the worst pair of steps."""
    middle, radius = intervals.sum(axis=1) / 2.0, np.ptp(intervals, axis=1) / 2.0
    crossed = np.outer(middle, weights)
    distance = np.abs(crossed - crossed.T)
    allowed = np.outer(radius, weights)
    allowed = allowed + allowed.T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distance == 0.0, 0.0, distance / allowed)
    worst = float(np.max(ratio, initial=0.0))
    return np.inf if np.isnan(worst) else worst
