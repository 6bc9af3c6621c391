"""Whether a sample of a tensor's coordinates shows what the optimizer does with the tensor.

It does where every coordinate is stepped by itself, as Adam and SGD do. Where the step of one depends on the others
(a trust ratio, a norm or mean over the tensor, a factored second moment, a matrix step), or on the tensor's shape, a
recorded sample is valid input, but of another run than the one recorded.

What it runs: the optimizer on a drawn tensor of as many dimensions as each sampled one has, and on a sample of its
coordinates as a vector, which must move as they do in the tensor up to rounding. Cost: two walks for each shape that a
sampled parameter was taken from (shapes are cut and rounded first, so that there are few), up to two more where they
part; nothing where a trace has no sampled parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from ..adapters.errors import BuildFailed, MissingDevice, NotReplayable, NotSupported, StepFailed, UnknownOption
from ..adapters.options import default_of
from ..adapters.recipes import recipe_of
from .metamorphic.setting import Setting
from .observations import make_finding
from .result import Finding
from .subject import Subject, rounded, usual_dtype
from .traces import Parameter, Trace
from .traces.selected import SelectedTrace
from .traces.trace import Step

_LARGEST = 136
"""Most entries along the two longest axes. Second moments are factored from 128 on (optax.adafactor,
min_dim_size_to_factor), blockwise quantisation begins at 4,096 elements, of which 136 x 136 has more than four times
as many; what begins above 136 goes unseen."""
_OTHER = 2
"""Most entries along any other axis."""
_SAMPLED = 509
"""Most coordinates in the sample: a prime, so that vectorised code meets whole registers and what is left over."""
_MULTIPLIERS = 3 * (1.0, 0.5, 1.0, 0.75)
"""eta_t; twelve steps, since matrix preconditioners are often renewed at every tenth."""
_SEED = 20190506
"""ICLR 2019, the paper's venue; any fixed number serves."""
_CANNOT = (BuildFailed, MissingDevice, NotReplayable, NotSupported, StepFailed, UnknownOption)

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WeakSample:
    """Sampled parameters of one trace that do not show what the optimizer does with their tensors."""

    trace: Trace
    parameters: tuple[Parameter, ...]
    reason: str
    """What is wrong with the first of them, after `sampled k of n coordinates`."""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """The names of the parameters."""
        return frozenset(parameter.name for parameter in self.parameters)

    @property
    def message(self) -> str:
        """Trace, parameters, and which quantity is too small for what."""
        first, others = self.parameters[0], len(self.parameters) - 1
        also = f" and {others} more" if others else ""
        of = prod(first.sampled_from or ())
        return (
            f"trace {self.trace.name}, {first.name!r}{also}: sampled {first.size:,} of {of:,} coordinates, "
            f"{self.reason}; record these parameters whole"
        )

    def finding(self, rerun: str | None = None) -> Finding:
        """Return the finding that says so."""
        first = self.parameters[0]
        return make_finding(
            "OC905",
            self.message,
            parameter=first.name,
            rerun=rerun,
            trace=self.trace.name,
            parameters=[parameter.name for parameter in self.parameters],
            sampled=first.size,
            of=prod(first.sampled_from or ()),
            **self.evidence,
        )


def usable_traces(subject: Subject, traces: Sequence[Trace]) -> tuple[list[Trace], tuple[WeakSample, ...]]:
    """Return what of `traces` `subject` takes and shows what it does, and the sampled parameters that do not.

    Whole parameters that it takes always stay; traces of which nothing is left are left out. A subject that cannot be
    built or stepped on drawn tensors keeps everything: whoever audits it meets the error.
    """
    weak = tuple(_weak_samples(subject, traces))
    kept = []
    for trace in traces:
        left_out = frozenset[str]().union(*(each.names for each in weak if each.trace is trace))
        kept.append(_without(trace, left_out) if left_out else trace)
    return subject.taken_from([trace for trace in kept if trace.parameters]), weak


_MATRICES_ONLY = "and this optimizer takes matrices only, which a vector of coordinates is not"
_NO_VECTOR = "and this optimizer does not step a vector as it does the tensor"
_DEPENDS = (
    "and the step of one coordinate depends on the others, or on the tensor's shape "
    "(trust ratio, factored second moment, matrix step)"
)


@dataclass(frozen=True, slots=True)
class _Difference:
    """Why a sample is too little: the kind of reason, what was seen, and the figures."""

    kind: str
    seen: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


def _weak_samples(subject: Subject, traces: Sequence[Trace]) -> Iterator[WeakSample]:
    matrices_only = recipe_of(subject.target).matrices_only
    found: dict[Shape, _Difference | None] = {}
    for trace in traces:
        weak: dict[str, tuple[_Difference, list[Parameter]]] = {}
        for parameter in trace.parameters:
            whole = parameter.sampled_from
            if whole is None or not parameter.size or (matrices_only and len(whole) != 2):
                continue
            shape = cut_shape(whole)
            if shape not in found:
                found[shape] = _Difference(_MATRICES_ONLY) if matrices_only else _difference(subject, parameter, shape)
            difference = found[shape]
            if difference is not None:
                weak.setdefault(difference.kind, (difference, []))[1].append(parameter)
        for first, parameters in weak.values():
            yield WeakSample(trace, tuple(parameters), f"{first.kind}{first.seen}", first.evidence)


def _without(trace: Trace, names: frozenset[str]) -> SelectedTrace:
    return SelectedTrace(trace, lambda parameter: parameter.name not in names)


def cut_shape(shape: Shape) -> Shape:
    """Return the shape of the drawn tensor that stands for one of `shape`: few enough, and small enough.

    The two longest axes keep up to 136 entries, below that the power of two that they reach; all others up to 2. A
    vector keeps up to 136 * 136.
    """
    if len(shape) == 1:
        return (_at_most(shape[0], _LARGEST * _LARGEST),)
    longest = sorted(range(len(shape)), key=lambda axis: -shape[axis])[:2]
    return tuple(_at_most(size, _LARGEST if axis in longest else _OTHER) for axis, size in enumerate(shape))


def _at_most(size: int, limit: int) -> int:
    return limit if size >= limit else 1 << (size.bit_length() - 1)


def _difference(subject: Subject, parameter: Parameter, shape: Shape) -> _Difference | None:
    """Return how the coordinates of a tensor of `shape` move otherwise in a sample; None where they do not.

    None too where it cannot be told: the tensor cannot be stepped, or the optimizer draws random numbers, which no
    sample repeats. Whatever the precision of the subject, this is looked at in the widest that works: what a few steps
    show is below rounding in 16 bits, and in float32 where a rule starts slowly.
    """
    for dtype in dict.fromkeys((usual_dtype(subject.target), "float32")):
        whole, coordinates = _drawn(subject, parameter.name, shape, dtype)
        sample = _sample_of(whole, parameter.name, coordinates)
        try:
            expected = [{name: theta.reshape(-1)[coordinates] for name, theta in each.items()} for each in whole.plain]
        except _CANNOT:
            continue  # a device without float64, say
        try:
            distance = sample.farthest(expected, sample.plain)
        except _CANNOT as error:
            return _Difference(_NO_VECTOR, f": {error}")
        if distance.ratio <= 1.0 or not whole.reproducible or whole.explains(distance):
            return None
        seen = f": of a drawn tensor, coordinates alone and in company are {distance}"
        return _Difference(_DEPENDS, seen, distance.evidence())
    return None


def _drawn(subject: Subject, name: str, shape: Shape, dtype: str) -> tuple[Setting, np.ndarray[Any, np.dtype[np.intp]]]:
    """Return the walk over a drawn tensor, and the coordinates of its sample.

    Magnitudes spread over two decades: the norm of a sample is far from being that of the whole times a constant, by
    which a ratio of two norms would hide it. Half of every gradient is the same throughout: without a way to go, an
    estimate of how far it is stays at its start.
    """
    rng = np.random.Generator(np.random.PCG64([_SEED, *shape]))
    size = prod(shape)

    def spread() -> np.ndarray[Any, np.dtype[np.float64]]:
        signs = rng.choice((-1.0, 1.0), shape)
        return np.asarray(signs * 10.0 ** rng.uniform(-1.5, 0.5, shape))

    coordinates = np.sort(rng.choice(size, max(1, min(_SAMPLED, size // 2)), replace=False))
    shared = replace(subject, own_draws=False, dtype=dtype)
    theta = rounded({name: spread()}, shared.dtype)
    course = spread()
    steps = [
        Step(index, multiplier, {name: course + spread()}) for index, multiplier in enumerate(_MULTIPLIERS, start=1)
    ]
    return Setting(shared, theta, steps, _values(shared)), coordinates


def _values(subject: Subject) -> dict[str, Any]:
    """Return the probe's hyperparameters, with the learning rate of the user or the target where that is larger.

    Rules that estimate the distance to go (D-Adaptation, Prodigy) have 1 as their default, and at .05 the estimate does
    not leave its start for dozens of steps.
    """
    values, own = subject.probe(), subject.parity().get("lr", default_of(subject.target, "lr"))
    return {**values, "lr": max(values["lr"], own)} if isinstance(own, int | float) else values


def _sample_of(whole: Setting, name: str, coordinates: np.ndarray[Any, np.dtype[np.intp]]) -> Setting:
    """Return the walk over those coordinates of the tensor alone, as a vector."""
    steps = [
        replace(step, gradients={name: np.asarray(step.gradients[name]).reshape(-1)[coordinates]})
        for step in whole.steps
    ]
    return replace(whole, theta={name: whole.theta[name].reshape(-1)[coordinates]}, steps=steps)
