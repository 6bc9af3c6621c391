"""Least-squares fits of a decay's displacement, with the rounding of the data carried into the coefficients.

A fit is accepted where the largest residual is at most what rounding explains: its ratio is at most 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .subject import Float64Array


@dataclass(frozen=True, slots=True)
class Fit:
    """r_t = -coefficient * x, fitted to one tensor in one step."""

    coefficient: float
    uncertainty: float
    """How far rounding alone can move the coefficient."""
    ratio: float
    """Largest |r_t + coefficient * x| over what rounding explains."""

    @property
    def measurable(self) -> bool:
        """Whether the coefficient is larger than its uncertainty."""
        return abs(self.coefficient) > self.uncertainty

    def distance(self, other: Fit) -> float:
        """Return how far apart two coefficients are, in what rounding explains: at most 1 where they agree."""
        apart, allowed = abs(self.coefficient - other.coefficient), self.uncertainty + other.uncertainty
        if apart == 0.0:
            return 0.0
        return apart / allowed if allowed else np.inf


def fit(displacement: Float64Array, x: Float64Array, rounding: Float64Array) -> Fit:
    """Fit r = -c*x by least squares; `rounding` bounds the error of each element of r, and is positive.

    Where x is zero throughout, c is 0 with infinite uncertainty.
    """
    scale = _power_of_two(x)
    if scale == 0.0:
        return Fit(0.0, np.inf, float(np.max(np.abs(displacement) / rounding)))
    # In units of the largest element, so that no square underflows or overflows; a power of two costs no rounding.
    with np.errstate(over="ignore", invalid="ignore"):  # a displacement more than 1e300 times x is no multiple of it
        x, displacement, rounding = x / scale, displacement / scale, rounding / scale
        square = float(np.sum(x * x))
        coefficient = -float(np.sum(displacement * x)) / square
        uncertainty = float(np.sum(rounding * np.abs(x))) / square
        allowed = rounding + uncertainty * np.abs(x)
        ratio = float(np.max(np.abs(displacement + coefficient * x) / allowed))
    return Fit(coefficient, uncertainty, np.inf if np.isnan(ratio) else ratio)


LEAST_ELEMENTS = 4
"""Elements that a fit of two coefficients needs to say anything: two more than it has coefficients."""


@dataclass(frozen=True, slots=True)
class PlaneFit:
    """r_t = -first * x + second * y, fitted to one tensor in one step."""

    first: Fit
    second: Fit

    @property
    def ratio(self) -> float:
        """Largest residual over what rounding explains."""
        return self.first.ratio


def fit_plane(
    displacement: Float64Array, axes: tuple[Float64Array, Float64Array], rounding: Float64Array
) -> PlaneFit | None:
    """Fit r = -a*x + b*y by least squares; None where the tensor is too small, or x and y do not span a plane."""
    if displacement.size < LEAST_ELEMENTS:
        return None
    scales = [_power_of_two(axis) for axis in axes]
    if 0.0 in scales:
        return None
    signs = (-1.0, 1.0)
    pairs = zip(signs, axes, scales, strict=True)
    matrix = np.stack([sign * (axis / scale).reshape(-1) for sign, axis, scale in pairs], 1)
    unit = _power_of_two(displacement) or 1.0
    r, errors = displacement.reshape(-1) / unit, rounding.reshape(-1) / unit
    inverse, rank = _pseudo_inverse(matrix)
    if rank < 2:
        return None
    coefficients, uncertainties = inverse @ r, np.abs(inverse) @ errors
    allowed = errors + np.abs(matrix) @ uncertainties
    ratio = float(np.max(np.abs(r - matrix @ coefficients) / allowed))
    fits: Sequence[Fit] = [
        Fit(float(value) * unit / scale, float(error) * unit / scale, ratio)
        for value, error, scale in zip(coefficients, uncertainties, scales, strict=True)
    ]
    return PlaneFit(*fits)


def _pseudo_inverse(matrix: Float64Array) -> tuple[Float64Array, int]:
    """Return the pseudo-inverse of a tall matrix and its rank, columns brought to equal length first."""
    lengths = np.sqrt(np.sum(matrix * matrix, axis=0))
    rank = int(np.linalg.matrix_rank(matrix / lengths, tol=1e-6))
    return np.asarray(np.linalg.pinv(matrix / lengths) / lengths[:, None], dtype=np.float64), rank


def _power_of_two(values: Float64Array) -> float:
    """Return the power of two just above the largest magnitude; 0 where all are zero."""
    largest = float(np.max(np.abs(values), initial=0.0))
    return 0.0 if largest == 0.0 else float(np.ldexp(1.0, min(int(np.frexp(largest)[1]), 1023)))
