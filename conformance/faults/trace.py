"""The trace on which the collection is judged: small, and every fault shows in it."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..traces import MemoryTrace, Parameter

SHAPES = {"w": (5, 3), "u": (2, 3), "b": (4,), "s": ()}
MULTIPLIERS = (1.0, 0.25, 0.5, 1.0, 0.75, 0.125, 0.5, 0.25)
"""Neighbours differ, so that a decay that ignores the schedule, or lags behind it, shows."""
_SEED = 1711


@cache
def fault_trace() -> MemoryTrace:
    """Return eight steps over two matrices, a vector and a 0-d parameter, float64, with a learning rate that changes.

    theta_0 has both signs and magnitudes from 0.25 to 2; gradients are near 1, but the first element of `w`
    never has one, which is where a missing epsilon shows.
    """
    rng = np.random.Generator(np.random.PCG64(_SEED))
    initial = {
        name: rng.choice((-1.0, 1.0), shape) * np.asarray(rng.uniform(0.25, 2.0, shape))
        for name, shape in SHAPES.items()
    }
    gradients = []
    for _ in MULTIPLIERS:
        step = {name: np.asarray(rng.standard_normal(shape)) for name, shape in SHAPES.items()}
        step["w"][0, 0] = 0.0
        gradients.append(step)
    return MemoryTrace(
        name="planted-faults",
        parameters=tuple(Parameter(name, shape, "float64") for name, shape in SHAPES.items()),
        multipliers=MULTIPLIERS,
        initial={name: np.asarray(value) for name, value in initial.items()},
        gradients=tuple(gradients),
        provenance={"source": "synthetic", "generator": "numpy.random.PCG64", "seed": _SEED},
    )
