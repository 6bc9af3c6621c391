"""Forms of decoupled decay: how the coefficient c by which theta shrinks arises from x = lr**a * wd**b.

The form is found first and the exponents on x after it: a slope fitted to c itself gives .965 for a
proximal decay at x = .05, and no integer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a decay may be applied; `apply` gives c from x, `invert` gives x from c."""

    name: str
    description: str
    apply: Callable[[float], float]
    invert: Callable[[float], float]
    repeats: int = 1

    def interval(self, coefficient: float, uncertainty: float) -> tuple[float, float]:
        """Return the lowest and the highest x for c within `uncertainty` of `coefficient`; every form rises."""
        low, high = self.invert(coefficient - uncertainty), self.invert(coefficient + uncertainty)
        slack = _INVERSION_ROUNDING * max(abs(low), abs(high))
        return low - slack, high + slack


_INVERSION_ROUNDING = 8 * 2.0**-53
"""Relative rounding error of inverting a form: at most two library functions at 2 ulp and two operations."""


def _repeated(times: int) -> Form:
    return Form(
        "repeated",
        f"c = 1 - (1 - x)**{times}: applied {times} times in a step",
        lambda x: -math.expm1(times * math.log1p(-x)) if x < 1.0 else math.nan,
        lambda c: -math.expm1(math.log1p(-c) / times) if c < 1.0 else math.nan,
        times,
    )


FORMS = (
    Form("explicit", "c = x", lambda x: x, lambda c: c),
    Form("proximal", "c = x / (1 + x)", lambda x: x / (1.0 + x), lambda c: c / (1.0 - c) if c < 1.0 else math.nan),
    *(_repeated(times) for times in (2, 3, 4)),
    Form("other", "c = 1 - exp(-x)", lambda x: -math.expm1(-x), lambda c: -math.log1p(-c) if c < 1.0 else math.nan),
)
"""In order of preference: the first that makes the exponents integers is taken."""
