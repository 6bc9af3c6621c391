"""What a trace holds, in numbers that fit on a screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .trace import DTYPES, Array, Parameter, Trace


@dataclass(frozen=True, slots=True)
class GradientSummary:
    """Range of one parameter's gradients over all steps that have one.

    `smallest` and `largest` are the least non-zero and the greatest |g|, None where there is no such value.
    `zero_fraction` is None where the parameter has no value at all. `steps` counts the steps with a gradient.
    """

    parameter: Parameter
    steps: int
    smallest: float | None
    largest: float | None
    zero_fraction: float | None


def trace_bytes(trace: Trace) -> int:
    """Bytes of theta_0 and all gradients, missing ones not counted off."""
    step = sum(p.size * DTYPES[p.dtype].itemsize for p in trace.parameters)
    return step * (1 + trace.n_steps)


def summarize_gradients(trace: Trace) -> tuple[GradientSummary, ...]:
    """One `GradientSummary` for each parameter, in one pass over the steps that keeps none of them."""
    running = {p.name: _Running() for p in trace.parameters}
    for step in trace.steps():
        for name, gradient in step.gradients.items():
            if gradient is not None:
                running[name].add(gradient)
    return tuple(running[p.name].summary(p) for p in trace.parameters)


class _Running:
    """The range of the gradients seen so far."""

    def __init__(self) -> None:
        self.steps = 0
        self.values = 0
        self.zeros = 0
        self.smallest = np.inf
        self.largest = 0.0

    def add(self, gradient: Array) -> None:
        magnitudes: np.ndarray[Any, np.dtype[np.float64]] = np.abs(gradient.astype(np.float64).reshape(-1))
        nonzero = magnitudes[magnitudes > 0.0]
        self.steps += 1
        self.values += magnitudes.size
        self.zeros += magnitudes.size - nonzero.size
        if nonzero.size:
            self.smallest = min(self.smallest, float(nonzero.min()))
            self.largest = max(self.largest, float(nonzero.max()))

    def summary(self, parameter: Parameter) -> GradientSummary:
        any_nonzero = self.zeros < self.values
        return GradientSummary(
            parameter=parameter,
            steps=self.steps,
            smallest=self.smallest if any_nonzero else None,
            largest=self.largest if any_nonzero else None,
            zero_fraction=self.zeros / self.values if self.values else None,
        )
