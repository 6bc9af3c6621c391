"""Run an implementation beside the reference and its bound, in every mode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optconform.reference.rules import Tracked, track, tracked_step

MODES = ("theta-resync", "free-run", "full-resync")


@dataclass
class Outcome:
    """What a run showed, in units of the bound times its allowance."""

    theta: float = 0.0
    """Farthest theta over all steps and elements with a finite bound."""
    state: float = 0.0
    """Farthest moment; compared in full resync only."""
    finite: int = 0
    """Elements with a finite bound."""
    decidable: int = 0
    """Elements whose bound is smaller than the parameter before and after together."""
    total: int = 0
    apart: Any = 0.0
    """theta minus the reference's after the last step, per element."""

    @property
    def worst(self):
        return max(self.theta, self.state)


def run(rule, options, implementation, arithmetic, theta, grads, multipliers, mode="theta-resync"):
    """Return the `Outcome` of the implementation over all steps."""
    outcome, tracked, error = Outcome(), track(theta, options), 0.0
    ours = theta
    for grad, eta in zip(grads, multipliers, strict=True):
        before = ours if mode == "free-run" else theta
        theta = implementation.step(theta, grad, float(eta))
        ours, bound, tracked = tracked_step(rule, before, grad, tracked, options, float(eta), arithmetic, error)
        finite = np.isfinite(bound)
        outcome.theta = max(outcome.theta, farthest(theta, ours, arithmetic.allowance * bound, finite))
        outcome.finite += int(finite.sum())
        outcome.decidable += int((finite & (arithmetic.allowance * bound <= np.abs(before) + np.abs(ours))).sum())
        outcome.total += bound.size
        with np.errstate(invalid="ignore"):  # of two infinities
            outcome.apart = theta - ours
        if mode == "free-run":
            error = bound
        elif mode == "full-resync":
            reference, errors = tracked.state, tracked.error
            for name, found in implementation.state.items():
                allowed = arithmetic.allowance * getattr(errors, name)
                ratio = farthest(found, getattr(reference, name), allowed, np.isfinite(allowed))
                outcome.state = max(outcome.state, ratio)
            taken_over = {name: np.array(found) for name, found in implementation.state.items()}
            tracked = Tracked(
                replace(reference, **taken_over), replace(errors, **{n: np.zeros(len(grad)) for n in taken_over})
            )
    return outcome


def farthest(found, expected, bound, where):
    """Largest distance in bounds; equal numbers are no distance, whatever the bound; NaN is infinitely far.

    Where the reference itself is not finite, because what it took over was not, there is nothing to compare with.
    """
    where = where & np.isfinite(expected)
    with np.errstate(all="ignore"):
        distance = np.abs(found - expected)
        ratio = np.where(where & (distance != 0.0), distance / bound, 0.0)
    return float(np.max(np.where(np.isnan(ratio), np.inf, ratio), initial=0.0))


def gradients(rng, steps, elements, low=-12.0, high=4.0, zeros=None):
    """Sixteen decades with zeros; every other coordinate keeps its magnitude, so that sums cancel."""
    grads = rng.choice([-1.0, 1.0], (steps, elements)) * 10.0 ** rng.uniform(low, high, (steps, elements))
    grads[:, ::2] = np.sign(grads[:, ::2]) * np.abs(grads[:1, ::2]) * rng.uniform(0.5, 2.0, grads[:, ::2].shape)
    grads[rng.random((steps, elements)) < (rng.choice([0.0, 0.1, 0.6]) if zeros is None else zeros)] = 0.0
    return grads


def parameters(rng, elements):
    """Nine decades around one, both signs, and zeros."""
    return rng.choice([-1.0, 0.0, 1.0], elements, p=[0.45, 0.1, 0.45]) * 10.0 ** rng.uniform(-6, 3, elements)
