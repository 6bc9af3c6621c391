"""What a trace can tell apart: how far the hypotheses part on it, in bounds, before any optimizer is run.

An exact implementation of a hypothesis walks the trace, its rivals beside it as the judge follows them: each step
starts from the implementation's own parameters and, in 16 bits, from its moments. The separation of a rival is
the largest |own - rival| over the larger of the two bounds, over all elements and steps. Above 1 the rival is
rejected where the implementation is that exact; above 2 no number at all lies inside both bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference.arithmetic import Arithmetic, Float64Array, arithmetic
from ..reference.follow import Mode
from ..reference.platforms import PLATFORMS
from ..reference.rules import Tracked, track, tracked_step
from .hypotheses import Hypothesis, hypotheses, label, neighbours
from .judging import usual_mode
from .lanes import lanes_of, sampled_elements
from .subject import PROBE_BETA2, PROBE_LR, PROBE_WEIGHT_DECAY, rounded
from .traces import Trace

SAMPLE_SIZE = 4096
"""Coordinates of a trace that are looked at; what the others tell apart besides goes unseen."""

_PROBE = {"lr": PROBE_LR, "weight_decay": PROBE_WEIGHT_DECAY}
_ORDINARY = {"lr": 1e-3, "weight_decay": 1e-2}
_MOMENTUM = {"momentum": 0.9, "dampening": 0.5}
VALUES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "adam, probe": {**_PROBE, "beta1": 0.9, "beta2": PROBE_BETA2, "eps": 1e-8},
        "adam, ordinary": {**_ORDINARY, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        "sgd, probe": {**_PROBE, **_MOMENTUM},
        "sgd, ordinary": {**_ORDINARY, **_MOMENTUM},
    }
)
"""Hyperparameters at which it is worth knowing: those that decide the kind of decay, and what people train with."""


@dataclass(frozen=True, slots=True)
class Separability:
    """How far one rival of one hypothesis parts from it on a trace."""

    own: Hypothesis
    rival: Hypothesis
    axis: str
    """Where the two differ: an axis of `hypotheses.AXES`, or `rule` for L2 beside decoupled decay."""
    separation: float
    """Largest distance of the two, in units of the larger bound; 0 where nothing is known of any element."""

    @property
    def separable(self) -> bool:
        """Whether the two lie further apart somewhere than either bound reaches."""
        return self.separation > 1.0

    @property
    def name(self) -> str:
        """The rival as a match names it."""
        return label(self.rival, self.own)


class Walk:
    """An exact implementation of one hypothesis in `dtype`, and its rivals beside it, over a vector of parameters.

    `theta` is theta_0, 1-D float64 and exact in `dtype`. `separation[i, k]` is the largest so far of rival i in
    element k.
    """

    def __init__(
        self, own: Hypothesis, rivals: Sequence[Hypothesis], theta: Float64Array, dtype: str, allowed: Arithmetic
    ) -> None:
        self.own, self.rivals, self.theta = own, tuple(rivals), theta
        self.separation = np.zeros((len(self.rivals), len(theta)))
        self._dtype, self._allowed = dtype, allowed
        self._takes_moments = usual_mode(dtype, own) is Mode.FULL_RESYNC
        self._tracked = track(theta, own.options)
        self._beside = [track(theta, rival.options) for rival in self.rivals]

    def step(self, grad: Float64Array, multiplier: float) -> None:
        """Take one step with `grad`, exact in the working precision, at eta_t = `multiplier`."""
        start, allowance = self.theta, self._allowed.allowance
        own, bound, tracked = self._advance(self.own, grad, multiplier, self._tracked)
        for index, rival in enumerate(self.rivals):
            theta, error, reached = self._advance(rival, grad, multiplier, self._beside[index])
            found = _apart(own, theta, allowance * bound, allowance * error)
            if self._takes_moments:
                found = np.maximum(found, _states_apart(tracked, reached, allowance))
                reached = _taken_over(reached, tracked, self._dtype)
            self._beside[index] = reached
            np.maximum(self.separation[index], found, out=self.separation[index])
        self._tracked = _taken_over(tracked, tracked, self._dtype) if self._takes_moments else tracked
        self.theta = _stored(np.where(np.isfinite(own), own, start), self._dtype)

    def _advance(
        self, hypothesis: Hypothesis, grad: Float64Array, multiplier: float, tracked: Tracked
    ) -> tuple[Float64Array, Float64Array, Tracked]:
        return tracked_step(hypothesis.rule, self.theta, grad, tracked, hypothesis.options, multiplier, self._allowed)


Pairs = Mapping[Hypothesis, Sequence[Hypothesis]]
"""Hypothesis -> the rivals that it is held against."""


def common_pairs(values: Mapping[str, Any]) -> Pairs:
    """Return the most common form of L2 and of decoupled decay at `values`, with every rival one axis away."""
    everything = hypotheses(values, ())
    first: dict[str, Hypothesis] = {}
    for each in everything:
        first.setdefault(each.rule.name, each)
    return {own: neighbours(own, everything, values) for own in first.values()}


def every_pair(values: Mapping[str, Any]) -> Pairs:
    """Return all hypotheses at `values` with the rivals one axis away, each pair once."""
    everything = hypotheses(values, ())
    rank = {each: index for index, each in enumerate(everything)}
    return {
        own: [rival for rival in neighbours(own, everything, values) if rank[rival] > rank[own]] for own in everything
    }


def separations(
    trace: Trace,
    values: Mapping[str, Any],
    dtype: str = "float32",
    *,
    steps: int | None = None,
    pairs: Pairs | None = None,
    platform: str = "cpu",
    sample_size: int = SAMPLE_SIZE,
) -> tuple[Separability, ...]:
    """Return how far the hypotheses of every pair part on `trace`, at `values` in `dtype`.

    `values` are hyperparameters as an optimizer holds them (`lr`, `weight_decay`; `beta1`, `beta2` and `eps`, or
    `momentum` and `dampening`; `amsgrad`); nothing is returned where `hypotheses` makes none of them. `pairs` are
    `common_pairs` unless given. `platform` is a row of `reference.platforms`. The first `steps` steps are streamed,
    or all, and a seeded sample of about `sample_size` coordinates looked at, so a separation is what the trace has
    at least. A parameter without a gradient is taken as left alone. Raises `KeyError` for an unknown dtype or
    platform.
    """
    pairs = common_pairs(values) if pairs is None else pairs
    allowed = arithmetic(dtype, PLATFORMS[platform])
    lanes = _sampled_lanes(trace, sample_size)
    initial = trace.initial_parameters()
    starts = [lane.gather(initial, dtype) for lane in lanes]
    walks = [[Walk(each, rivals, start, dtype, allowed) for each, rivals in pairs.items()] for start in starts]
    for step in trace.steps(steps):
        for lane, walking in zip(lanes, walks, strict=True):
            if not lane.is_missing(step.gradients):
                grad = lane.gather(step.gradients, dtype)
                for walk in walking:
                    walk.step(grad, step.multiplier)
    return tuple(
        Separability(own, rival, _axis_between(own, rival), max((_largest(lane[i], j) for lane in walks), default=0.0))
        for i, (own, rivals) in enumerate(pairs.items())
        for j, rival in enumerate(rivals)
    )


def _axis_between(own: Hypothesis, rival: Hypothesis) -> str:
    """Return the axis on which two neighbours differ."""
    mine, theirs = own.axes(), rival.axes()
    return next(axis for axis in mine if axis in theirs and mine[axis] != theirs[axis])


@dataclass(frozen=True, slots=True)
class _Sampled:
    """Some elements of the parameters of one lane: their flat indices by name."""

    elements: Mapping[str, NDArray[np.intp]]

    def is_missing(self, gradients: Mapping[str, Any]) -> bool:
        """Whether the lane has no gradient."""
        return any(gradients[name] is None for name in self.elements)

    def gather(self, arrays: Mapping[str, Any], dtype: str) -> Float64Array:
        """Return the sampled elements of `arrays` as one float64 vector, rounded to `dtype`."""
        parts = [np.asarray(arrays[name]).reshape(-1)[indices] for name, indices in self.elements.items()]
        return np.concatenate([_stored(part, dtype) for part in parts])


def _sampled_lanes(trace: Trace, sample_size: int) -> list[_Sampled]:
    lanes = lanes_of(trace)
    sizes = {parameter.name: parameter.size for parameter in trace.parameters if parameter.size}
    elements = dict(zip(sizes, sampled_elements(list(sizes.values()), sample_size), strict=True))
    return [_Sampled({name: elements[name] for name in lane.shapes}) for lane in lanes]


def _apart(one: Float64Array, other: Float64Array, bound: Float64Array, error: Float64Array) -> Float64Array:
    """Return the distance of two results in units of the larger bound; 0 where either bounds nothing."""
    with np.errstate(all="ignore"):
        distance, larger = np.abs(one - other), np.maximum(bound, error)
        apart: Float64Array = np.where(np.isfinite(larger) & (distance > 0.0), distance / larger, 0.0)
    return apart


def _states_apart(own: Tracked, rival: Tracked, allowance: float) -> Float64Array:
    """Return the largest separation of the moments that both hypotheses have."""
    found = [
        _apart(getattr(own.state, name), getattr(rival.state, name), allowance * mine, allowance * theirs)
        for name, mine, theirs in _shared_slots(own, rival)
    ]
    largest: Float64Array = np.max(found, axis=0)
    return largest


def _taken_over(rival: Tracked, own: Tracked, dtype: str) -> Tracked:
    """Return what `rival` goes on from: the implementation's moments as it stores them, of which it knows every bit."""
    shared = [name for name, _, _ in _shared_slots(own, rival)]
    moments = {name: _stored(getattr(own.state, name), dtype) for name in shared}
    exact = {name: np.zeros_like(moment) for name, moment in moments.items()}
    return Tracked(replace(rival.state, **moments), replace(rival.error, **exact))


def _shared_slots(own: Tracked, rival: Tracked) -> list[tuple[str, Float64Array, Float64Array]]:
    """Return the slots of state that both have, each with the bounds of the two."""
    bounds = [(each.name, getattr(own.error, each.name), getattr(rival.error, each.name)) for each in fields(own.error)]
    return [(name, mine, theirs) for name, mine, theirs in bounds if mine is not None and theirs is not None]


def _stored(values: NDArray[Any], dtype: str) -> Float64Array:
    return rounded({"": values}, dtype)[""]


def _largest(walk: Walk, rival: int) -> float:
    return float(np.max(walk.separation[rival], initial=0.0))
