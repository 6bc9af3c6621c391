"""Hyperparameters as a working precision can hold them: rounded below what was asked for, or rounded away."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeGuard

import numpy as np

from ..adapters.options import canonical_values, default_of
from ..reference.formats import FORMATS
from .casts import rounded
from .subject import Subject


@dataclass(frozen=True, slots=True)
class RoundedConstant:
    """A hyperparameter that `dtype` does not hold as it was asked for."""

    hyperparameter: str
    """Canonical name."""
    asked: float
    held: float
    dtype: str


CONSEQUENCES: Mapping[str, str] = MappingProxyType(
    {
        "eps": "the denominator is 0 where v is: a step at zero gradient divides 0 by 0",
        "beta1": "m never forgets: m*beta1 rounds back to m, and 1 - beta1**t is 0 if formed in that precision",
        "beta2": "v never forgets: v*beta2 rounds back to v, and 1 - beta2**t is 0 if formed in that precision",
        "momentum": "the buffer never forgets: it times momentum rounds back to itself",
    }
)
"""Constant that may degenerate -> what follows. eps does where it rounds to 0, a decay rate where it rounds to 1."""


def asked_for(subject: Subject) -> dict[str, Any]:
    """Return the hyperparameters that were asked for: the user's own (`Subject.parity`), else the target's defaults.

    Under canonical names, pairs split; without those that have no default to show.
    """
    asked = canonical_values(subject.target, subject.parity())
    names = (*CONSEQUENCES, "lr", "weight_decay")
    defaults = {name: default_of(subject.target, name) for name in names if name not in asked}
    return asked | {name: value for name, value in defaults.items() if value is not None}


def held_in_lower_precision(asked: Mapping[str, Any], held: Mapping[str, Any], dtype: str) -> Iterator[RoundedConstant]:
    """Yield what the optimizer holds rounded to a format narrower than `dtype`, that of its parameters.

    A value that was changed in any other way is no rounding, and is not yielded. Of the formats that explain
    one, the widest is named.
    """
    widest_first = sorted(FORMATS.values(), key=lambda each: -each.precision)
    narrower = [each.name for each in widest_first if each.precision < FORMATS[dtype].precision]
    for name in sorted(asked.keys() & held.keys()):
        wanted, found = asked[name], held[name]
        if _is_number(wanted) and _is_number(found) and wanted != found:
            explaining = [each for each in narrower if _rounded(wanted, each) == found]
            if explaining:
                yield RoundedConstant(name, float(wanted), float(found), explaining[0])


def degenerate_constants(held: Mapping[str, Any], dtype: str, work: str | None = None) -> Iterator[RoundedConstant]:
    """Yield each constant of `CONSEQUENCES` that rounding makes 0 or 1 and that is not that.

    Decay rates become 1 in the format `dtype` of the state, eps becomes 0 in that of the arithmetic, `work`, which is
    the same unless given.

    beta rounds to 1 exactly where 1 - beta <= 2**-(p + 1), and there x*beta rounds back to x for every x of the
    format, however wide the arithmetic is in between.
    """
    for name in CONSEQUENCES:
        value, limit = held.get(name), 0.0 if name == "eps" else 1.0
        # A decay rate above 1 is wrong for other reasons, and one of 1 is what was asked for.
        where = work or dtype if name == "eps" else dtype
        if _is_number(value) and 0.0 < value < (limit or math.inf) and _rounded(value, where) == limit:
            yield RoundedConstant(name, float(value), limit, where)


def _rounded(value: float, dtype: str) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return rounded(value, dtype)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
