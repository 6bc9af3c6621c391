"""What paired runs say about one tensor, step by step; arrays are not kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..reference.formats import FORMATS
from .fits import Fit, fit
from .pairing import PairedStep, rounding_of
from .subject import Float64Array
from .targets import DECOUPLED_TARGETS, TARGETS, Moved


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """What one step says about one tensor."""

    multiplier: float
    """eta_t as the optimizer uses it, up to a constant factor."""
    has_gradient: bool
    unchanged: bool
    """Decay changed no bit."""
    displaced: int
    """Elements in which decay moved the parameter by more than rounding explains."""
    fits: Mapping[str, Fit]
    """By target; those of the decoupled targets always, others until a step contradicts them."""
    substitution_ratio: float
    enters_state: bool = False
    """Decay changed the tensor's state, which is known of local pairing alone."""
    not_finite: str | None = None
    """What was NaN or infinite, if anything was."""

    @property
    def finite(self) -> bool:
        """Whether there is anything to judge."""
        return self.not_finite is None

    def ratio(self, target: str) -> float:
        """Return how far the displacement is from a multiple of `target`; infinite where an earlier step was far."""
        return self.fits[target].ratio if target in self.fits else np.inf


@dataclass(slots=True)
class Evidence:
    """The steps of one tensor as they are added one by one."""

    steps: list[StepEvidence] = field(default_factory=list)
    largest_step: float = 0.0
    start: Float64Array | None = None
    """theta_0."""
    _alive: tuple[str, ...] = tuple(TARGETS)

    def add(self, paired: PairedStep, name: str) -> Moved | None:
        """Judge one paired step of the tensor `name`; return its arrays, None where there is nothing to judge."""
        arrays = (source[name] for source in (paired.before, paired.after, paired.free, paired.substituted))
        theta, after, free, substituted = arrays
        grad = paired.step.gradients[name]
        if not theta.size:
            return None
        self.start = theta if self.start is None else self.start
        if not all(bool(np.isfinite(value).all()) for value in (after, free, substituted)):
            why = self._why_not_finite(paired, name)
            self.steps.append(StepEvidence(paired.multiplier, grad is not None, False, 0, {}, np.inf, not_finite=why))
            return None
        moved = after - theta
        relative = rounding_of(paired.dtype)
        # Some platforms flush what lies below the smallest normal number to zero.
        rounding = relative * paired.roundoff_scale[name] + FORMATS[paired.dtype].smallest_normal
        fed_grad = np.zeros_like(theta) if grad is None else np.asarray(grad, dtype=np.float64)
        seen = Moved(theta, moved - free, free, fed_grad, self.start, rounding)
        self.largest_step = max(self.largest_step, float(np.max(np.abs(moved))), float(np.max(np.abs(substituted))))
        # g + lambda*theta is rounded once in each run; over t steps that moves a step by up to t roundings of it.
        fed = rounding + len(self.steps) * relative * self.largest_step
        fits = {target: fit(seen.displacement, TARGETS[target](seen), rounding) for target in self._alive}
        self._alive = tuple(name for name in fits if name in DECOUPLED_TARGETS or fits[name].ratio <= 1.0)
        self.steps.append(
            StepEvidence(
                multiplier=paired.multiplier,
                has_gradient=grad is not None,
                unchanged=not seen.displacement.any(),
                displaced=int(np.count_nonzero(np.abs(seen.displacement) > rounding)),
                fits=fits,
                substitution_ratio=float(np.max(np.abs(moved - substituted) / fed)),
                enters_state=name in paired.state_depends,
            )
        )
        return seen

    def _why_not_finite(self, paired: PairedStep, name: str) -> str:
        grad = paired.step.gradients[name]
        if not self.steps and not np.isfinite(paired.before[name]).all():
            return f"the trace has a parameter beyond the range of {paired.dtype}"
        if grad is not None and np.max(np.abs(grad)) > FORMATS[paired.dtype].largest:
            return f"the trace has a gradient beyond the range of {paired.dtype}"
        if np.isfinite(paired.after[name]).all() and np.isfinite(paired.free[name]).all():
            # Nobody asked the optimizer to take that gradient: no fault of its own.
            return f"feeding g + lambda*theta left the range of {paired.dtype}"
        return "the parameters became NaN or infinite"
