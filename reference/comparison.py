"""How far an implementation is from the reference, in bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .arithmetic import Float64Array
from .namespace import BoolArray, is_numpy, namespace_of


@dataclass(frozen=True, slots=True)
class Comparison:
    """The elements of one step compared."""

    ratio: float = 0.0
    """Largest |implementation - reference| / bound; at most 1 is inside."""
    element: int | None = None
    """Where it is; None where no element differs."""
    found: float = 0.0
    expected: float = 0.0
    bound: float = 0.0
    """The implementation's value there, the reference's, and the bound."""
    compared: int = 0
    """Elements of which the bound says something."""
    undecidable: int = 0
    """Elements without a bound, or with one larger than the parameter before and after together."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Another rule's theta_t and bound on the same elements."""

    theta: Float64Array
    bound: Float64Array


def compare(
    before: Float64Array, found: Float64Array, expected: Float64Array, bound: Float64Array, beside: Beside | None = None
) -> Comparison:
    """Compare `found` with `expected`, element by element; `before` are the parameters before the step.

    Elements whose bound is not finite are left out; a vacuous bound is still compared with, but counted as
    undecidable. With `beside`, an element counts only where the two rules lie apart by more than its bound.
    """
    ratio, says = distances(before, found, expected, bound, beside)
    decidable = int(np.count_nonzero(says))
    counts = {"compared": decidable, "undecidable": len(before) - decidable}
    worst = int(np.argmax(ratio)) if len(ratio) else 0
    if not len(ratio) or ratio[worst] == 0.0:
        return Comparison(**counts)
    return Comparison(
        float(ratio[worst]), worst, float(found[worst]), float(expected[worst]), float(bound[worst]), **counts
    )


def distances(
    before: Float64Array, found: Float64Array, expected: Float64Array, bound: Float64Array, beside: Beside | None = None
) -> tuple[Float64Array, BoolArray]:
    """Return (|found - expected| / bound, 0 where it is left out; whether the bound says something), for `compare`.

    The arrays may be another library's than NumPy's: nothing here waits for a device.
    """
    xp = namespace_of(found)
    with np.errstate(all="ignore"):
        distance = abs(found - expected)
        finite = xp.isfinite(bound) & xp.isfinite(expected)
        says = finite & (bound <= abs(before) + abs(expected))
        if beside is not None:
            finite = finite & (abs(expected - beside.theta) > beside.bound)
        ratio = xp.where(finite & (distance != 0.0), distance / bound, 0.0)
    unknown = xp.isnan(ratio)
    if not is_numpy(unknown) or unknown.any():
        ratio = xp.where(unknown, math.inf, ratio)
    return ratio, says


def merged(one: Comparison, other: Comparison, offset: int) -> Comparison:
    """Return two comparisons as one; the elements of `other` begin at `offset`."""
    worse = other if other.ratio > one.ratio else one
    element = worse.element
    if element is not None and worse is other:
        element += offset
    return Comparison(
        worse.ratio,
        element,
        worse.found,
        worse.expected,
        worse.bound,
        one.compared + other.compared,
        one.undecidable + other.undecidable,
    )
