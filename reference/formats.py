"""The floating-point formats that optimizers work and store in, and how far rounding to one can move a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .decay import Float64Array
from .namespace import namespace_of

_EXPONENT_BITS = 0x7FF0_0000_0000_0000
"""Sign and fraction of a float64 masked out: what is left of x is 2**floor(log2(x))."""


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format with gradual underflow (IEEE 754-2019, section 3.3)."""

    name: str
    precision: int
    """Significant bits p, the hidden one among them."""
    min_exponent: int
    """Exponent of the smallest normal number."""
    max_exponent: int

    @property
    def unit_roundoff(self) -> float:
        """Unit roundoff, 2**-p: the largest relative error of rounding to nearest."""
        return 2.0**-self.precision

    @property
    def smallest_normal(self) -> float:
        """2**min_exponent."""
        return 2.0**self.min_exponent

    @property
    def smallest_subnormal(self) -> float:
        """The distance of neighbouring numbers below the smallest normal one."""
        return 2.0 ** (self.min_exponent - self.precision + 1)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0**self.max_exponent


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        each.name: each
        for each in (
            Format("float64", 53, -1022, 1023),
            Format("float32", 24, -126, 127),
            Format("bfloat16", 8, -126, 127),
            Format("float16", 11, -14, 15),
        )
    }
)
"""By name."""


def power_below(magnitude: Float64Array) -> Float64Array:
    """Return 2**floor(log2(x)) of every normal x >= 0; 0 for zero and subnormal x, infinity for NaN."""
    xp = namespace_of(magnitude)
    power: Float64Array = (magnitude.view(xp.int64) & _EXPONENT_BITS).view(xp.float64)
    return power
