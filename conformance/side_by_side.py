"""Two optimizers over the same traces, parameter by parameter: how far apart, and from which step on.

No rule is needed. What rounding explains is taken from a model of it, and where rounding is amplified (a sign
that turns, say) from the optimizer itself: a second copy of the first is fed gradients that are off by a unit of
the last place, and differences no larger than what that brings about are no sign of another rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..adapters.protocol import Optimizer
from ..reference.formats import FORMATS
from .pairing import ROUNDINGS, rounding_of
from .replaying import OnStep, base_learning_rate
from .subject import Arrays, Subject, initial_parameters, read
from .traces import Trace
from .traces.trace import Step

_SEED = 20190506


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two trajectories part: the first step in which an element is farther off than it may be."""

    trace: str
    step: int
    parameter: str
    element: tuple[int, ...]
    found: float
    """The value of the optimizer that is held against the other."""
    expected: float
    """The other's, or what the other's rule makes of the same parameters."""
    allowed: float
    """How far apart the two may be."""
    factor: float
    """How many times that they are."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """How far two optimizers are apart."""

    parting: Parting | None = None
    """The first step that rounding does not explain; None where there is none."""
    ratio: float = 0.0
    """Largest distance in units of what rounding explains."""
    distance: float = 0.0
    """Largest distance of an element."""
    amplified: bool = False
    """Some distance is beyond what rounding explains at once, but not beyond what the first makes of rounding."""
    steps: int = 0
    elements: int = 0
    """Elements compared, over all steps."""
    non_finite: str = ""
    """Where parameters first became NaN or infinite, if they did; the walk over that trace ends there."""


def side_by_side(
    first: Subject,
    first_values: Mapping[str, Any],
    second: Subject,
    second_values: Mapping[str, Any],
    traces: Sequence[Trace],
    on_step: OnStep | None = None,
) -> SideBySide:
    """Step both through every trace from the same parameters, each at its own learning rate and hyperparameters.

    Both work in the dtype of `first`. Rounding is allowed gamma_16 of the magnitudes in every step so far, as two
    evaluations of one rule carry their differences on, and 16 times what one unit in the last place of every
    gradient does to `first`. Raises what building and stepping raise.
    """
    found = SideBySide()
    for trace in traces:
        start = initial_parameters(trace, first.dtype)
        pair = (first.build(start, first_values), second.build(start, second_values))
        walk = _Walk(trace.name, pair, first.build(start, first_values), first.dtype, start)
        rates = (base_learning_rate(first.target, pair[0]), base_learning_rate(second.target, pair[1]))
        for step in trace.steps():
            found = walk.take(step, rates, found)
            if on_step is not None:
                on_step(step.index)
            if walk.broken:
                break
    return found


class _Walk:
    """Two optimizers and a shaken copy of the first on one trace."""

    def __init__(
        self, trace: str, pair: tuple[Optimizer, Optimizer], shaken: Optimizer, dtype: str, theta: Arrays
    ) -> None:
        self.broken = False
        self._trace, self._pair, self._shaken = trace, pair, shaken
        self._rounding = rounding_of(dtype)
        self._last_place = 2.0 * FORMATS[dtype].unit_roundoff
        self._rng = np.random.default_rng(_SEED)
        self._magnitudes = {name: np.abs(value) for name, value in theta.items()}
        self._spread = dict.fromkeys(theta, 0.0)

    def take(self, step: Step, rates: tuple[float, float], found: SideBySide) -> SideBySide:
        """Take one step and return `found` with what it brought."""
        for optimizer, rate in zip(self._pair, rates, strict=True):
            optimizer.step(step.gradients, step.multiplier * rate)
        self._shaken.step(self._off_by_one(step), step.multiplier * rates[0])
        here, there = (read(optimizer) for optimizer in self._pair)
        parting, ratio, distance, amplified = found.parting, found.ratio, found.distance, found.amplified
        for (name, value), shaken in zip(here.items(), read(self._shaken).values(), strict=True):
            other = there[name]
            if not (np.isfinite(value).all() and np.isfinite(other).all()):
                self.broken = True
                where = f"step {step.index} of {self._trace}, in {name!r}"
                return SideBySide(parting, ratio, distance, amplified, found.steps, found.elements, where)
            self._magnitudes[name] = self._magnitudes[name] + np.abs(value) + np.abs(other)
            self._spread[name] = max(self._spread[name], float(np.max(np.abs(value - shaken), initial=0.0)))
            apart = np.abs(value - other)
            allowed = self._rounding * self._magnitudes[name]
            farthest = float(np.max(apart, initial=0.0))
            distance = max(distance, farthest)
            if not farthest:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = np.where(apart > 0.0, apart / allowed, 0.0)
            worst = float(np.max(ratios))
            ratio = max(ratio, worst)
            beyond = farthest > ROUNDINGS * self._spread[name]
            amplified = amplified or (worst > 1.0 and not beyond)
            if parting is None and worst > 1.0 and beyond:
                element = np.unravel_index(int(np.argmax(ratios)), ratios.shape)
                index = tuple(int(each) for each in element)
                values = (float(other[index]), float(value[index]), float(allowed[index]))
                parting = Parting(self._trace, step.index, name, index, *values, worst)
        compared = sum(value.size for value in here.values())
        return SideBySide(parting, ratio, distance, amplified, found.steps + 1, found.elements + compared)

    def _off_by_one(self, step: Step) -> dict[str, NDArray[Any] | None]:
        """Return the gradients of `step`, every element off by about a unit in the last place, up or down."""
        off: dict[str, NDArray[Any] | None] = {}
        for name, grad in step.gradients.items():
            if grad is None:
                off[name] = None
                continue
            signs = self._rng.choice((-1.0, 1.0), np.shape(grad))
            off[name] = np.asarray(grad, dtype=np.float64) * (1.0 + self._last_place * signs)
        return off
