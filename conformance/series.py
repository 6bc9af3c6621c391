"""What an audit measured point by point, kept for pictures: few enough points to be stored with every result.

Nothing is judged by these. Each is a sample of what was judged, rounded to six significant digits. All of one result
take at most about 15 kB of JSON (`MOST_ELEMENTS`, `MOST_STEPS`, and 16 points of a law), so that 300 results fit into
one HTML file of 10 MB beside the script that draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

MOST_ELEMENTS = 240
"""Elements of all displacements of a result together."""
MOST_STEPS = 192
"""Steps of all distances of a result together."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Displacement:
    """The decay displacement of sampled elements of one tensor in one step, against theta, at the probe's values."""

    trace: str
    parameter: str
    step: int
    theta: tuple[float, ...] = ()
    """What decay acts on: theta before the step or, as `applied_to` says, after it."""
    moved: tuple[float, ...] = ()
    """Step with decay minus step without, element by element: -c * theta where the decay is decoupled."""
    coefficient: float | None = None
    """c, where the displacement is a multiple of theta (cautious decay: where it acts at all); None where it is not."""
    applied_to: str = "previous"
    """`previous`: theta before the step; `updated`: theta after the step without decay, which comes last then."""


@dataclass(frozen=True, slots=True)
class Distance:
    """Distances in bounds over the steps of one trace, at the user's own hyperparameters."""

    trace: str
    steps: tuple[int, ...] = ()
    """Numbers of the steps, from 1. A long trace is cut into stretches of equally many steps, for each of which the
    step stands in which `own` is largest: so the worst step is always among them."""
    own: tuple[float | None, ...] = ()
    """From the rule that is followed, or came nearest; None where a step has nothing to compare."""
    rival: tuple[float | None, ...] = ()
    """The largest in the same stretch from the nearest rule that is rejected; 0 where the two rules do not lie apart,
    None where it was not followed that far."""
    own_rule: str = ""
    """Name of the one, with the axes on which it was open where it merely came nearest."""
    rival_rule: str = ""
    """Name of the other; empty where no other was followed."""


@dataclass(frozen=True, slots=True)
class LawPoint:
    """The measured coefficient of decay at one point of the grid over learning rate, weight decay and schedule."""

    lr: float
    weight_decay: float
    multiplier: float
    """eta_t, the schedule's multiplier of the step."""
    coefficient: float
    uncertainty: float
    """How far rounding can have moved the coefficient."""


@dataclass(frozen=True, slots=True)
class Series:
    """All of one result."""

    displacements: tuple[Displacement, ...] = ()
    distances: tuple[Distance, ...] = ()
    law: tuple[LawPoint, ...] = ()


def shown(value: float) -> float:
    """Return `value` to six significant digits, zero without a sign."""
    return float(f"{value:.6g}") + 0.0


def evenly(values: Sequence[T], most: int) -> tuple[T, ...]:
    """Return at most `most` of `values`, evenly spaced, the first and the last among them; `most` is at least 2."""
    if len(values) <= most:
        return tuple(values)
    return tuple(values[round(place * (len(values) - 1) / (most - 1))] for place in range(most))
