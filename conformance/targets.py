"""What a decay's displacement can be proportional to, as arrays computed from one step of one tensor.

Three families, in the order in which they are tried: theta itself, before or after the step (*decoupled*); theta
in some of its elements, those that the step already shrinks (*cautious*); and what no decay should follow
(*wrong*), each seen in released optimizers or one slip away from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .subject import Float64Array


@dataclass(frozen=True, slots=True)
class Moved:
    """One step of one tensor, with decay and without; all arrays float64 and of the tensor's shape."""

    theta: Float64Array
    """theta_{t-1} of the run with decay."""
    displacement: Float64Array
    """r_t, what decay adds to the step."""
    free: Float64Array
    """u_t, the step without decay."""
    grad: Float64Array
    """g_t; zeros where it is missing."""
    start: Float64Array
    """theta_0."""
    rounding: Float64Array
    """How far rounding alone can move an element of `displacement`."""


def _where_it_shrinks(moved: Moved, agreement: Float64Array, doubtful: Float64Array) -> Float64Array:
    """Return theta where `agreement` is not negative, zeros elsewhere; what is `doubtful` goes by what decay did."""
    acts = np.where(doubtful, np.abs(moved.displacement) > moved.rounding, agreement >= 0.0)
    return np.where(acts, moved.theta, 0.0)


def _cautious(moved: Moved) -> Float64Array:
    """Return theta where the step q = -u agrees with it in sign: q*theta >= 0.

    The sign of a step below its own rounding is not known.
    """
    doubtful = (moved.free != 0.0) & (np.abs(moved.free) <= moved.rounding)
    return _where_it_shrinks(moved, -moved.free * np.sign(moved.theta), doubtful)


def _cautious_on_gradient(moved: Moved) -> Float64Array:
    """Return theta where the gradient agrees with it in sign: g*theta >= 0."""
    return _where_it_shrinks(moved, moved.grad * np.sign(moved.theta), np.zeros(moved.theta.shape, dtype=bool))


TARGETS: Mapping[str, Callable[[Moved], Float64Array]] = MappingProxyType(
    {
        "previous": lambda moved: moved.theta,
        "updated": lambda moved: moved.theta + moved.free,
        "cautious": _cautious,
        "cautious on the gradient": _cautious_on_gradient,
        "sign(theta)": lambda moved: np.sign(moved.theta),
        "a constant": lambda moved: np.ones_like(moved.theta),
        "the initial parameters": lambda moved: moved.start,
        "the way from the initial parameters": lambda moved: moved.theta - moved.start,
        "the step": lambda moved: moved.free,
        "the gradient": lambda moved: moved.grad,
    }
)

DECOUPLED_TARGETS = ("previous", "updated")
CAUTIOUS_TARGETS = ("cautious", "cautious on the gradient")
WRONG_TARGETS = tuple(name for name in TARGETS if name not in (*DECOUPLED_TARGETS, *CAUTIOUS_TARGETS))
