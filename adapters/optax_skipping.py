"""Optax with steps that are skipped, since `optax.apply_if_finite` finds an infinite gradient."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import optax

from .optax_jax import OptaxOptimizer
from .optax_observed import Seen, compiled
from .optax_state import OptaxSnapshot, saved
from .optax_stepped import Asked, Stepped
from .protocol import Gradients, Target

MOST_IN_A_ROW = 5
"""Steps in a row that may be skipped before one is let through; never more than one is put in."""


def skips_infinite(target: Target) -> Target:
    """Return `target` with a factory that puts its transformation into `optax.apply_if_finite`."""
    factory = target.attribute

    @functools.wraps(factory)
    def guarded(**options: Any) -> Any:
        return optax.apply_if_finite(factory(**options), max_consecutive_errors=MOST_IN_A_ROW)

    return replace(target, attribute=guarded)


class Skipping(Stepped):
    """A course with an infinite gradient before its first step and before that in the middle, to be skipped."""

    def __init__(self, optimizer: OptaxOptimizer, asked: Asked) -> None:
        super().__init__(optimizer, asked, self._skipped)
        self._poisoned = {0, len(asked.feeds) // 2}
        self._at = 0
        self._put_in = 0
        self._moved = 0

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update, after one that must change nothing where it is due. Raises as `OptaxOptimizer.step`."""
        if self._at in self._poisoned:
            before = self.optimizer.snapshot()
            infinite = {name: np.full(each.shape, np.inf) for name, each in before.parameters.items()}
            super().step(infinite, lr)
            self._put_in += 1
            self._moved += not _alike(before, self.optimizer.snapshot())
        self._at += 1
        super().step(gradients, lr)

    def _skipped(self, seen: Seen) -> tuple[bool, str]:
        on_path, observed = compiled(seen)
        counted = int(self.optimizer.snapshot().state.total_notfinite)
        left = (
            f"{self._moved} of them moved something" if self._moved else "parameters and state were left as they were"
        )
        return (
            on_path and counted == self._put_in > 0 and not self._moved,
            f"{observed}; of {self._put_in} steps with infinite gradients {counted} were skipped, and {left}",
        )


def _alike(one: OptaxSnapshot, other: OptaxSnapshot) -> bool:
    """Return whether parameters and inner state are the same, bit for bit but for the sign of zeros.

    A skipped step adds zeros, which turns a parameter of -0.0 into 0.0.
    """
    kept = (saved((dict(each.parameters), each.state.inner_state)).leaves for each in (one, other))
    return all(np.array_equal(mine, theirs, equal_nan=True) for mine, theirs in zip(*kept, strict=True))
