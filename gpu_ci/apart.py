"""How far two executions of one course are apart, in units in the last place.

The unit is that of the largest element of the tensor, after the same step. In its own unit a parameter that passes
through zero is any distance away from its double, and which one does so is chance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conformance.measured import Apart
from ..reference.formats import FORMATS, Format
from .playing import Played


def apart(one: Played, other: Played, against: str) -> Apart:
    """Return the distance of two courses over every element after every step. Both are in the same precision."""
    fmt = FORMATS[one.dtype]
    pairs = list(zip(one.thetas[1:], other.thetas[1:], strict=True))
    distances = [in_units(mine[name], theirs[name], fmt).reshape(-1) for mine, theirs in pairs for name in mine]
    every = np.concatenate(distances) if distances else np.zeros(0)
    if not every.size:
        return Apart(0.0, 0.0, 0.0, len(pairs), against)
    share = np.count_nonzero(every) / every.size
    return Apart(float(every.max()), float(np.median(every)), float(share), len(pairs), against)


def in_units(one: NDArray[Any], other: NDArray[Any], fmt: Format) -> NDArray[np.float64]:
    """Return |one - other| for each element, in units in the last place of the largest element of both.

    The arrays are of one shape, and hold numbers of `fmt`. Where both are the same, infinities and NaN among it, it is
    0; where only one of them is finite, it is infinite.
    """
    mine, theirs = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    finite = np.isfinite(mine) & np.isfinite(theirs)
    largest = float(
        max(np.max(np.abs(mine), initial=0.0, where=finite), np.max(np.abs(theirs), initial=0.0, where=finite))
    )
    with np.errstate(invalid="ignore"):
        distance = np.abs(mine - theirs) / unit_at(largest, fmt)
    return np.where(same, 0.0, np.where(finite, distance, np.inf))


def unit_at(magnitude: float, fmt: Format) -> float:
    """Return the distance from `magnitude` to the next larger number of `fmt`."""
    exponent = math.frexp(magnitude)[1] - 1 if magnitude else fmt.min_exponent
    return 2.0 ** (max(exponent, fmt.min_exponent) + 1 - fmt.precision) or fmt.smallest_subnormal
