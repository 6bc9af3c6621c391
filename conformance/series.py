"""What an audit measured point by point, kept for pictures: few enough points to be stored with every result.

Nothing is judged by these. Each is a sample of what was judged, rounded to six significant digits.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Displacement:
    """The decay displacement of sampled elements of one tensor in one step, against theta, at the probe's values."""

    trace: str
    parameter: str
    step: int
    theta: tuple[float, ...] = ()
    """theta before the step."""
    moved: tuple[float, ...] = ()
    """Step with decay minus step without, element by element: -c * theta where the decay is decoupled."""
    coefficient: float | None = None
    """c, where the displacement is a multiple of theta; None where it is not."""


@dataclass(frozen=True, slots=True)
class Distance:
    """Distances in bounds over the steps of one trace, at the user's own hyperparameters."""

    trace: str
    steps: tuple[int, ...] = ()
    """Numbers of the steps, from 1; evenly thinned where a trace is long, its worst step kept."""
    own: tuple[float | None, ...] = ()
    """From the rule that is followed, or came nearest; None where a step has nothing to compare."""
    rival: tuple[float | None, ...] = ()
    """From the nearest other rule; None where it was not followed that far."""


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
