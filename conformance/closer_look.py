"""A closer look at parameters whose decay is neither a multiple of theta nor L2 when runs go side by side.

Three runs, each paired step by step from its own state: the trace as it is; the same gradients from other
parameters; other gradients from other parameters. What they have in common tells on what the decay depends:

- c_t alike in all three: on the step count alone; it is decoupled, with a course of its own.
- one c_t per tensor, but another in another run: scaled by gradients or parameters, as by a trust ratio.
- r_t = -d_t * theta with element-wise d_t > 0, alike from other parameters: scaled element-wise.
- r_t = -P_t theta with a symmetric P_t, alike from other parameters: scaled by a matrix.
- r_t = -a_t * theta + b_t * (the step, or the gradient): the whole step is scaled anew, as by a trust ratio; or,
  where a_t and b_t are alike in all three, decay acts between the previous and the updated parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .comparisons import element_wise, is_float32, symmetric_map
from .courses import pauses
from .evidence import Evidence, StepEvidence
from .fits import LEAST_ELEMENTS, PlaneFit, fit_plane
from .identify import KindOfDecay, Scaling, kind_of_decay, measured_fits, with_gradient
from .pairing import PairedStep, paired_steps
from .result import Verdict
from .subject import Arrays, Float64Array, Subject, rounded
from .targets import DECOUPLED_TARGETS, Moved
from .traces.trace import Step

_SEED = 20190506
_NARROW = "float32"
_DIRECTIONS: Mapping[str, Callable[[Moved], Float64Array]] = {
    "the step": lambda moved: moved.free,
    "the gradient": lambda moved: moved.grad,
}
_FACTORS = (-2.0, -1.0, -0.5, 0.5, 2.0)
"""By which elements of theta_0 and of the gradients are multiplied in the other runs: of both signs, so that nothing
that only rescales whole tensors looks alike, and powers of two, by which no gradient loses a bit."""

_KNOWN = 0.1
"""Share of itself to which a coefficient is known where runs can be seen to have it alike."""

_FAR = 1e3
"""Roundings from which an element that decay moves shows that those it does not are not hidden by rounding."""

Planes = tuple[PlaneFit, PlaneFit, PlaneFit]
"""One step's fits to theta and one direction more, in the three runs."""


@dataclass(slots=True)
class _Alike:
    """How far the first run and another are from decaying alike: in the worst step, in what rounding explains."""

    element_wise: float = 0.0
    symmetric: float = 0.0

    def add(self, one: Moved, other: Moved | None) -> None:
        """Compare one step of both; a step that cannot be judged in the other is like nothing."""
        self.element_wise = np.inf if other is None else max(self.element_wise, element_wise(one, other))
        self.symmetric = np.inf if other is None else max(self.symmetric, symmetric_map(one, other))


@dataclass(slots=True)
class _Look:
    """What the three runs say of one tensor."""

    runs: tuple[Evidence, ...] = field(default_factory=lambda: tuple(Evidence() for _ in range(3)))
    in_float32: Evidence = field(default_factory=Evidence)
    """The first run, judged with float32's rounding."""
    narrow: int = 0
    """Steps whose every element is a float32 number, as float64 arithmetic hardly ever makes one."""
    theta_apart: _Alike = field(default_factory=_Alike)
    """Beside the run from other parameters."""
    all_apart: _Alike = field(default_factory=_Alike)
    """Beside the run that has other gradients too."""
    planes: dict[str, list[Planes]] = field(default_factory=lambda: {name: [] for name in _DIRECTIONS})
    """By direction; a direction is dropped in the first step that lies outside its plane."""
    shown: int = 0
    """Elements that decay moved by more than rounding explains, over all steps."""
    elements: int = 0
    strongest: float = 0.0
    """Largest displacement of an element, in what rounding explains."""

    def add(self, paired: tuple[PairedStep, ...], name: str) -> None:
        """Take one step of the three runs."""
        seen = [run.add(each, name) for run, each in zip(self.runs, paired, strict=True)]
        one, other_theta, other_gradients = seen
        if one is None:
            return
        self.in_float32.add(replace(paired[0], dtype=_NARROW), name)
        self.narrow += is_float32(one)
        self.shown += self.runs[0].steps[-1].displaced
        self.elements += one.theta.size
        self.strongest = max(self.strongest, float(np.max(np.abs(one.displacement) / one.rounding)))
        self.theta_apart.add(one, other_theta)
        self.all_apart.add(one, other_gradients)
        for direction in tuple(self.planes):
            fits = [_plane(moved, direction) for moved in seen if moved is not None]
            found = [each for each in fits if each is not None]
            if any(each.ratio > 1.0 for each in found):
                del self.planes[direction]
            elif len(found) == len(self.runs):
                self.planes[direction].append((found[0], found[1], found[2]))

    def kind(self, dtype: str) -> KindOfDecay:
        """Return the verdict on the tensor."""
        steps = self.runs[0].steps
        kind = replace(kind_of_decay(steps, dtype), local=True)
        if not kind.undecided:
            return kind
        found = self._of_the_undecided(kind)
        if found.undecided and dtype == "float64" and 2 * self.narrow >= len(steps):
            return self._in_float32(found)
        return found

    def _in_float32(self, kind: KindOfDecay) -> KindOfDecay:
        """Return the verdict on a tensor whose steps are float32 numbers: `kind`, unless rounding explains it."""
        coarse = kind_of_decay(self.in_float32.steps, _NARROW)
        if coarse.undecided and not coarse.multiple:
            return kind
        what = "a multiple of theta in every step" if coarse.undecided else coarse.verdict
        reason = (
            f"the optimizer computes in {_NARROW} although its parameters are float64; within {_NARROW} rounding decay "
            f"is {what}: audit it with --dtype {_NARROW}"
        )
        return replace(kind, verdict=Verdict.INCONCLUSIVE, reason=reason)

    def _of_the_undecided(self, kind: KindOfDecay) -> KindOfDecay:
        """Return the verdict on a tensor that fits neither of the first tests."""
        steps = self.runs[0].steps
        small = self.elements < LEAST_ELEMENTS * len(steps)
        if 2 * self.shown < self.elements and not small:
            # Any of the hypotheses to come might fit; rounding hides it, unless what shows is far above it.
            moves = f"it moves {self.shown} of {self.elements} elements"
            hidden = self.strongest < _FAR
            verdict = Verdict.INCONCLUSIVE if hidden else kind.verdict
            return replace(kind, verdict=verdict, reason=f"{kind.reason}; {moves}{' above rounding' if hidden else ''}")
        found = self._of_a_multiple(kind, steps) if kind.multiple else self._of_no_multiple(kind)
        return _too_small(found) if small and found.undecided and not self._alike("previous") else found

    def _alike(self, target: str) -> bool:
        """Whether decay takes the same share of `target` in all three runs, step by step."""
        course, *others = ([step.fits.get(target) for step in run.steps] for run in self.runs)
        return all(
            one is not None and each is not None and one.distance(each) <= 1.0
            for other in others
            for one, each in zip(course, other, strict=True)
        )

    @staticmethod
    def _known(steps: Sequence[StepEvidence], target: str) -> bool:
        """Whether the coefficient is known well enough, in two steps at least, to compare it with another run's."""
        fits = [step.fits[target] for step in steps]
        return sum(fit.measurable and fit.uncertainty <= _KNOWN * abs(fit.coefficient) for fit in fits) >= 2

    def _of_no_multiple(self, kind: KindOfDecay) -> KindOfDecay:
        """Return the verdict where decay is no multiple of theta in some step."""
        if self.theta_apart.element_wise <= 1.0:
            fixed = self.all_apart.element_wise <= 1.0
            return _preconditioned(kind, Scaling.FIXED if fixed else Scaling.ELEMENT_WISE)
        if self.theta_apart.symmetric <= 1.0 < self.all_apart.symmetric:
            return _preconditioned(kind, Scaling.MATRIX)
        for direction, planes in self.planes.items():
            one = [first for first, *_ in planes]
            dissipates = all(plane.first.coefficient + plane.first.uncertainty > 0.0 for plane in one)
            if not dissipates or not any(plane.first.measurable and plane.second.measurable for plane in one):
                continue
            if _apart(planes) > 1.0:
                reason = f"{Scaling.TRUST_RATIO_OF_STEP}: it moves theta by -a * theta + b * ({direction[4:]})"
                return replace(_preconditioned(kind, Scaling.TRUST_RATIO_OF_STEP), reason=reason)
            if direction == "the step" and all(_is_between(plane) for plane in one):
                reason = "decay acts on a point between the previous and the updated parameters"
                return replace(kind, verdict=Verdict.DECOUPLED, reason=reason, between=True)
        tried = (
            f"nor by a factor for each element ({self.theta_apart.element_wise:.2g}), a symmetric matrix "
            f"({self.theta_apart.symmetric:.2g}), or theta and the step or the gradient together"
        )
        return replace(kind, reason=f"{kind.reason}; {tried}")

    def _of_a_multiple(self, kind: KindOfDecay, steps: Sequence[StepEvidence]) -> KindOfDecay:
        """Return the verdict where each step, taken alone, decays by one multiple of theta."""
        target = next(name for name in DECOUPLED_TARGETS if _worst(steps, name) <= 1.0)
        if not all(step.finite for run in self.runs for step in run.steps):
            return kind
        course = [step.fits[target] for step in steps]
        # What stops acting now and then, or grows, is no course of a decay that anybody means.
        if pauses(course, with_gradient(steps)) or any(each.coefficient + each.uncertainty < 0.0 for each in course):
            return kind
        if not self._alike(target):
            of_gradients = self.theta_apart.element_wise <= 1.0
            by_size = not of_gradients and self.elements < LEAST_ELEMENTS * len(steps)
            return kind if by_size else _preconditioned(replace(kind, target=target), Scaling.TRUST_RATIO)
        if not all(self._known(run.steps, target) for run in self.runs):
            reason = "rounding hides whether the share of theta that decay takes depends on anything but the step"
            return replace(kind, verdict=Verdict.INCONCLUSIVE, reason=reason, exercised=False)
        late = next((index for index, each in enumerate(course) if each.measurable), 0)
        reason = (
            "decay moves theta by -c * theta, with a c that changes from step to step in a way of its own, whatever "
            f"the gradients and the parameters{f'; it starts in step {late + 1}' if late else ''}"
        )
        both = all(_worst(steps, name) <= 1.0 for name in DECOUPLED_TARGETS)
        figures: dict[str, Any] = {"target": target, "varies": True, **measured_fits(steps, target)}
        figures |= {"applied_to": "either" if both else target, "decoupling_ratio": _worst(steps, target)}
        return replace(kind, verdict=Verdict.DECOUPLED, reason=reason, **figures)


def look_closer(
    subject: Subject,
    theta: Arrays,
    steps: Callable[[], Iterable[Step]],
    values: Mapping[str, Any],
    names: Iterable[str],
    parameter_slots: frozenset[str],
) -> dict[str, KindOfDecay]:
    """Return the verdict on the parameters `names`, which the first tests left open, from three runs.

    `steps` yields the same steps of a trace whenever it is called; `values` and `parameter_slots` are those of
    `paired_steps`. Raises what building and stepping raise.
    """
    rng = np.random.default_rng(_SEED)
    elsewhere = rounded({name: _elsewhere(value, rng) for name, value in theta.items()}, subject.dtype)
    looks = {name: _Look() for name in names}
    starts = ((theta, steps()), (elsewhere, steps()), (elsewhere, _with_other_gradients(steps(), rng)))
    runs = (
        paired_steps(subject, start, path, values, local=True, parameter_slots=parameter_slots)
        for start, path in starts
    )
    for paired in zip(*runs, strict=True):
        for name, look in looks.items():
            look.add(paired, name)
    return {name: look.kind(subject.dtype) for name, look in looks.items()}


def _elsewhere(theta: Float64Array, rng: np.random.Generator) -> Float64Array:
    """Return other parameters of about the same magnitude: large where `theta` is small, and nowhere zero.

    So whatever acts above or below a threshold acts elsewhere.
    """
    sizes = np.abs(theta).reshape(-1)
    order = np.argsort(sizes)
    turned = np.empty_like(sizes)
    turned[order] = sizes[order][::-1]
    turned += 5.0 / 32.0 * (float(np.max(sizes, initial=0.0)) or 1.0)
    return np.asarray(turned.reshape(theta.shape) * rng.choice(_FACTORS, theta.shape))


def _with_other_gradients(steps: Iterable[Step], rng: np.random.Generator) -> Iterator[Step]:
    """Yield the steps with every element of every gradient multiplied by a factor of its own."""
    for step in steps:
        changed = {
            name: None if grad is None else np.asarray(grad * rng.choice(_FACTORS, np.shape(grad)), dtype=grad.dtype)
            for name, grad in step.gradients.items()
        }
        yield replace(step, gradients=changed)


def _plane(moved: Moved, direction: str) -> PlaneFit | None:
    return fit_plane(moved.displacement, (moved.theta, _DIRECTIONS[direction](moved)), moved.rounding)


def _apart(planes: Iterable[Planes]) -> float:
    """Return how far the coefficients of the other runs are from the first's, in what rounding explains."""
    return max(
        max(one.first.distance(other.first), one.second.distance(other.second))
        for one, *others in planes
        for other in others
    )


def _is_between(plane: PlaneFit) -> bool:
    """Whether -a*theta + b*u is -a*(theta + k*u) with 0 <= k <= 1."""
    share, error = -plane.second.coefficient, plane.first.uncertainty + plane.second.uncertainty
    return -error <= share <= plane.first.coefficient + error


def _too_small(kind: KindOfDecay) -> KindOfDecay:
    """Return the verdict on a tensor in which a trust ratio fits whatever decay does."""
    reason = f"with fewer than {LEAST_ELEMENTS} elements, a trust ratio cannot be told from any other decay"
    return replace(kind, verdict=Verdict.INCONCLUSIVE, reason=reason, exercised=False)


def _preconditioned(kind: KindOfDecay, scaling: Scaling) -> KindOfDecay:
    return replace(kind, verdict=Verdict.PRECONDITIONED, reason=str(scaling), scaling=scaling)


def _worst(steps: Sequence[StepEvidence], target: str) -> float:
    return max(step.ratio(target) for step in steps)
