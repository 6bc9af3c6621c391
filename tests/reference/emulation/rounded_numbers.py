"""Numbers of a narrow format, emulated in float64: every operation is computed there and rounded once.

For formats of at most 25 bits float64 holds every product exactly, and rounding its sums, quotients and roots
once more to at most 25 bits gives what rounding the exact ones would (2p + 2 <= 53, Figueroa 1995). float64
itself is not rounded again; only its fused multiply-add is formed in a longer format.

Nothing here is taken from `optconform.reference`: the formats are written down a second time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LAYOUTS = {  # name: (significant bits, least exponent, greatest exponent)
    "float64": (53, -1022, 1023),
    "float32": (24, -126, 127),
    "bfloat16": (8, -126, 127),
    "float16": (11, -14, 15),
}


def half_ulp(value, layout):
    """Half the distance between the format's numbers around `value`: what rounding to nearest can err at most."""
    precision, least, _ = layout
    exponent = np.maximum(np.frexp(value)[1] - 1, least)
    return np.ldexp(1.0, exponent - precision)


def nearest(value, layout):
    """Round to nearest, ties to even, with gradual underflow and overflow to infinity."""
    precision, _, greatest = layout
    if precision == 53:
        return np.asarray(value, dtype=np.float64)
    if precision in (24, 11):  # NumPy's own formats: the same, faster
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(value).astype(np.float32 if precision == 24 else np.float16).astype(np.float64)
    spacing = 2.0 * half_ulp(value, layout)
    rounded = np.rint(value / spacing) * spacing
    return np.where(np.abs(rounded) < 2.0 ** (greatest + 1), rounded, np.copysign(np.inf, value))


@dataclass
class Machine:
    """An arithmetic: its format, how it errs, and whether it fuses multiplications into additions."""

    name: str
    push: Iterator[Any] = field(default_factory=lambda: itertools.repeat(None))
    """For every operation the direction in which its result is moved by half an ulp instead of being rounded: 1 away
    from zero, -1 towards zero, 0 not at all (a number, or an array of one per element); None rounds to nearest.
    Several machines may draw from one iterator."""
    fuses: bool = False
    """a*b + c is rounded once, where a product is an operand; the left one of two."""
    division_error: float = 1.0
    """Errors of division and square root in half ulps, where they are moved."""
    sqrt_error: float = 1.0
    flushes: bool = False
    """Subnormal operands and results are zero."""

    @property
    def layout(self):
        return LAYOUTS[self.name]

    def round(self, exact, error=1.0):
        """Return `exact` as this machine would hold it."""
        direction = next(self.push)
        with np.errstate(all="ignore"):
            if direction is None:
                held = nearest(exact, self.layout)
            else:
                exact = np.asarray(exact, dtype=np.float64)
                if exact.ndim == 0:  # a scalar is one number for all elements
                    direction = np.ravel(direction)[0]
                held = exact + direction * error * np.sign(exact) * half_ulp(exact, self.layout)
            return self.flushed(held)

    def flushed(self, value):
        return np.where(np.abs(value) < 2.0 ** self.layout[1], 0.0, value) if self.flushes else value

    def number(self, exact):
        """Return a number that enters: rounded, unless it is an integer, which is taken as exact."""
        return Number(np.float64(exact) if isinstance(exact, int) else self.round(exact), self)


class Number:
    """A number or an array that a `Machine` holds. Operators work as in NumPy.

    Where a scalar of another machine or a Python float meets an array, it is rounded to the array's format.
    """

    __array_ufunc__ = None  # NumPy's operators defer to those here

    def __init__(self, value, machine, product=None):
        self.value, self.machine, self.product = value, machine, product

    def entering(self, other):
        """Return `other` as a number of this machine."""
        if not isinstance(other, Number):
            return self.machine.number(other)
        if other.machine.name == self.machine.name:
            return Number(other.value, self.machine, other.product)
        return Number(self.machine.round(other.value), self.machine)

    def _both(self, other):
        if isinstance(other, Number) and np.ndim(other.value) > np.ndim(self.value):
            return other.entering(self), other
        return self, self.entering(other)

    def __add__(self, other):
        return _sum(*self._both(other), 1.0)

    def __radd__(self, other):
        return self.entering(other) + self

    def __sub__(self, other):
        return _sum(*self._both(other), -1.0)

    def __rsub__(self, other):
        return self.entering(other) - self

    def __mul__(self, other):
        left, right = self._both(other)
        with np.errstate(all="ignore"):
            exact = left.value * right.value
            unrounded = exact
            if left.machine.fuses and left.machine.name == "float64":
                unrounded = np.multiply(left.value, right.value, dtype=np.longdouble)
        return Number(left.machine.round(exact), left.machine, unrounded)

    def __rmul__(self, other):
        return self.entering(other) * self

    def __truediv__(self, other):
        left, right = self._both(other)
        with np.errstate(all="ignore"):
            quotient = left.value / right.value
        return Number(left.machine.round(quotient, left.machine.division_error), left.machine)

    def __rtruediv__(self, other):
        return self.entering(other) / self

    def __neg__(self):
        return Number(-self.value, self.machine, None if self.product is None else -self.product)

    def __lt__(self, other):
        return self.value < other

    def sqrt(self):
        with np.errstate(all="ignore"):
            root = np.sqrt(self.value)
        return Number(self.machine.round(root, self.machine.sqrt_error), self.machine)

    def maximum(self, other):
        return Number(np.maximum(self.value, self.entering(other).value), self.machine)


def _sum(left, right, sign):
    machine, one, other = left.machine, left.value, right.value
    if machine.fuses:
        if left.product is not None:
            one = left.product
        elif right.product is not None:
            other = right.product
    with np.errstate(all="ignore"):
        return Number(machine.round(one + sign * other), machine)


def sqrt(value):
    """Return the square root of a `Number` or a Python float."""
    return value.sqrt() if isinstance(value, Number) else float(np.sqrt(value))
