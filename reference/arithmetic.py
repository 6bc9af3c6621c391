"""The class of evaluations that a bound covers: which formats, which platform, which roundings.

Every operation returns fl(x) = x * (1 + d) + e with |d| <= u and |e| <= w: u is the unit roundoff of the
working format, w what underflow can lose. A product of k such factors is off by at most
gamma_k = k*u / (1 - k*u) of itself (Higham 2002, Lemma 3.1). Storing moves a number by at most half an ulp.
docs/bound.md derives from these what the modules `adam_bound`, `sgd_bound` and `step_bound` compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .formats import FORMATS, Format, power_below
from .namespace import namespace_of
from .platforms import PLATFORMS, Platform

Float64Array = NDArray[np.float64]

EVALUATION = 1.0 + 2.0**-20
"""Makes up for computing the bound itself in float64, and for all that is left out as of second order in 2**-53.

In one step sums and products of non-negative numbers lose at most 64 roundings, over 2**26 steps 2**-21 of
the bound; no difference of neighbours occurs in it. A narrower format's bound makes up for the reference's own
float64 errors as well: a bound is convex in u and 0 at u = 0, so at 2**-53 it is at most 2**-53 / u of itself,
2**-29 for float32."""
LEAST_LEFT = 2.0**-20
"""A denominator or bias correction of which the errors may leave less than this part bounds nothing."""
_POWER_ERROR = 8.0
"""Error of a library's beta**t, in units of u, beyond that of beta itself."""


@dataclass(frozen=True)
class Arithmetic:
    """Where and how precisely an implementation computes: the assumptions of a bound, as data."""

    working: Format
    """Every operation on tensors is rounded to this format, or to a wider one."""
    storage: Format
    """Parameters and state are rounded to this format after every step."""
    scalars: Format
    """beta, 1 - beta, beta**t and products of scalars are formed in this format, or in a wider one."""
    platform: Platform = PLATFORMS["cpu"]

    @cached_property
    def u(self) -> float:
        """Unit roundoff of the working format."""
        return self.working.unit_roundoff

    @cached_property
    def w(self) -> float:
        """What one operation can lose to underflow: half the smallest subnormal, or the smallest normal number."""
        return _lost(self.working, self.platform)

    @cached_property
    def storage_u(self) -> float:
        """Unit roundoff of the storage format."""
        return self.storage.unit_roundoff

    @cached_property
    def storage_w(self) -> float:
        """What storing can lose to underflow."""
        return _lost(self.storage, self.platform)

    @cached_property
    def allowance(self) -> float:
        """Factor on a bound: the reference is itself a float64 evaluation, and a bound is computed in float64.

        Against a float64 implementation both may be off by the bound, in opposite directions, so it is doubled.
        """
        return (2.0 if self.working.precision >= 53 else 1.0) * EVALUATION

    @property
    def stores_narrower(self) -> bool:
        """Whether storing rounds once more."""
        return self.storage.precision < self.working.precision

    def gamma(self, roundings: float) -> float:
        """Return gamma_k = k*u / (1 - k*u)."""
        return roundings * self.u / (1.0 - roundings * self.u)

    def rounding(self, magnitude: Float64Array) -> Float64Array:
        """Return the largest error of rounding a number of at most `magnitude` to the working format."""
        return _rounding(magnitude, self.u, self.w)

    def scalar_rounding(self, magnitude: float) -> float:
        """Return the same for one number."""
        return max(self.u * 2.0 ** math.floor(math.log2(magnitude)), self.w) if magnitude else self.w

    def storing(self, magnitude: Float64Array) -> Float64Array:
        """Return the largest error of rounding a number of at most `magnitude` to the storage format."""
        return _rounding(magnitude, self.storage_u, self.storage_w)

    def beta_error(self, beta: float) -> float:
        """Return how far the factor beta may be from its value: rounded as a scalar and on entering a tensor."""
        return self._entering(beta) if beta else 0.0

    def complement_error(self, beta: float) -> float:
        """Return how far the factor 1 - beta may be: formed from a rounded beta, then rounded itself."""
        if not beta:
            return 0.0
        formed = self.scalars.unit_roundoff * beta
        return formed + self._entering(1.0 - beta)

    def correction_error(self, beta: float, exponent: int) -> float:
        """Return how far c = 1 - beta**t may be.

        beta is rounded once and multiplied up t times, or raised by a library; then 1 - power is rounded.
        """
        if not beta:
            return 0.0
        power, us = beta**exponent, self.scalars.unit_roundoff
        return power * (math.expm1(2.0 * exponent * us) + _POWER_ERROR * us) + self._entering(1.0 - power)

    def relative_underflow(self, scalar: float) -> float:
        """Return the relative error that underflow adds to a scalar factor; infinite for one that may vanish."""
        return self.w / scalar if scalar else 0.0

    def _entering(self, scalar: float) -> float:
        """Return the error of a scalar that was rounded as a scalar and again on entering the working format."""
        both = self.u + (self.scalars.unit_roundoff if self.scalars.precision > self.working.precision else 0.0)
        return both * scalar + self.w


def _rounding(magnitude: Float64Array, u: float, w: float) -> Float64Array:
    """Return u * 2**floor(log2(x)), at least w."""
    return namespace_of(magnitude).clip(power_below(magnitude) * u, w, None)


def _lost(to: Format, platform: Platform) -> float:
    if to.name in platform.flushes:
        return to.smallest_normal
    # Half the smallest subnormal of float64 is no float64; a whole one is as good.
    return 0.5 * to.smallest_subnormal or to.smallest_subnormal


def arithmetic(
    dtype: str, platform: Platform = PLATFORMS["cpu"], *, working: str | None = None, scalars: str | None = None
) -> Arithmetic:
    """Return the arithmetic of parameters in `dtype`, computed in `working` (`dtype` itself unless given).

    `scalars` is float32 for 16-bit work unless given, since frameworks keep learning rates, betas and their
    powers in at least that; otherwise the working format. Raises `KeyError` for an unknown format.
    """
    work = FORMATS[working or dtype]
    default = "float32" if work.precision < FORMATS["float32"].precision else work.name
    return Arithmetic(work, FORMATS[dtype], FORMATS[scalars or default], platform)
