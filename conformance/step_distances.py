"""Distances in bounds over the steps of a trace, for pictures: a bounded number of them, however long the trace is."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from .series import MOST_STEPS, Distance, shown

STRETCHES = 96
"""Most points of one trace; even, since stretches are joined in pairs."""
LEAST_STRETCHES = 4
"""Points of every trace where there are many traces; the number of traces is bounded by that."""
NOTHING = -1.0
"""In place of a distance: the step has nothing to compare."""
_UNSEEN = -2.0
"""Likewise: no step of the stretch was followed."""


class StepDistances:
    """The largest distance in each of at most `STRETCHES` stretches of equally many steps of one trace, and its step.

    Stretches are of one step at first, and twice as long each time the trace outgrows them. They lie alike in
    everything that is followed beside the same trace.
    """

    __slots__ = ("_distances", "_length", "_steps", "last_step", "trace")

    def __init__(self, trace: str) -> None:
        self.trace = trace
        self.last_step = 0
        self._length = 1
        self._steps, self._distances = array("q"), array("d")

    def add(self, step: int, distance: float) -> None:
        """Take in the distance of one step, `NOTHING` where there is none; steps are counted from 1, and rise."""
        self.last_step = step
        while (place := (step - 1) // self._length) >= STRETCHES:
            self._join()
        while len(self._steps) <= place:  # once at most, but where steps of a run are missing
            self._steps.append(0)
            self._distances.append(_UNSEEN)
        if distance > self._distances[place]:
            self._steps[place], self._distances[place] = step, distance

    def _join(self) -> None:
        """Make every stretch twice as long."""
        pairs = range(0, len(self._steps), 2)
        larger = [
            max(range(first, min(first + 2, len(self._steps))), key=self._distances.__getitem__) for first in pairs
        ]
        self._steps = array("q", (self._steps[place] for place in larger))
        self._distances = array("d", (self._distances[place] for place in larger))
        self._length *= 2

    def within(self, most: int) -> StepDistances:
        """Return the same in at most `most` stretches."""
        joined = self._copy()
        while len(joined._steps) > most:
            joined._join()
        return joined

    def _copy(self) -> StepDistances:
        copied = StepDistances(self.trace)
        copied.last_step, copied._length = self.last_step, self._length
        copied._steps, copied._distances = self._steps[:], self._distances[:]
        return copied

    @property
    def largest(self) -> float:
        """The largest of all; negative where there is none."""
        return max(self._distances, default=_UNSEEN)

    def beside(self, rival: StepDistances | None, own_rule: str, rival_rule: str) -> Distance:
        """Return the points, those of `rival` brought to stretches as long."""
        other = StepDistances(self.trace) if rival is None else rival._copy()
        while other._length < self._length:
            other._join()
        seen = [place for place, step in enumerate(self._steps) if step]
        return Distance(
            self.trace,
            tuple(self._steps[place] for place in seen),
            tuple(_point(self._distances[place]) for place in seen),
            tuple(_point(other._distances[place]) if place < len(other._steps) else None for place in seen),
            own_rule,
            rival_rule,
        )


def _point(distance: float) -> float | None:
    return shown(distance) if distance >= 0.0 else None


def distances_beside(
    own: Sequence[StepDistances], rival: Sequence[StepDistances], own_rule: str, rival_rule: str = ""
) -> tuple[Distance, ...]:
    """Return the distances of one result, trace by trace, at most `series.MOST_STEPS` in all.

    `rival` has the same traces, or none. Traces that have nothing to compare are left out; of more than there is room
    for, those with the largest distances are kept.
    """
    rivals = [*rival, *[None] * (len(own) - len(rival))]
    pairs = [(one, other) for one, other in zip(own, rivals, strict=True) if one.largest >= 0.0]
    ranked = sorted(range(len(pairs)), key=lambda place: -pairs[place][0].largest)
    kept = sorted(ranked[: MOST_STEPS // LEAST_STRETCHES])
    most = max(LEAST_STRETCHES, MOST_STEPS // max(1, len(kept)))
    return tuple(pairs[place][0].within(most).beside(pairs[place][1], own_rule, rival_rule) for place in kept)
