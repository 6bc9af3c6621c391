"""The traces on which the collection is judged: small, and every fault shows in the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

from ..traces import MemoryTrace, Parameter

SHAPES = {"w": (5, 3), "u": (2, 3), "s": ()}
MULTIPLIERS = (1.0, 0.25, 0.5, 1.0, 0.75, 0.125)
"""Neighbours differ, so that a decay that ignores the schedule, or lags behind it, shows."""
_SEED = 1711


@cache
def fault_trace() -> MemoryTrace:
    """Return six steps over two matrices and a 0-d parameter, float64, with a learning rate that changes.

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


@cache
def still_trace() -> MemoryTrace:
    """Return two steps over one matrix of zeros whose gradients are zeros: no decay can show."""
    zeros = np.zeros((2, 3))
    return MemoryTrace(
        name="nothing-moves",
        parameters=(Parameter("w", zeros.shape, "float64"),),
        multipliers=(1.0, 0.5),
        initial={"w": zeros},
        gradients=({"w": zeros}, {"w": zeros}),
        provenance={"source": "synthetic"},
    )


TRACES: Mapping[str, Callable[[], MemoryTrace]] = MappingProxyType(
    {"planted-faults": fault_trace, "nothing-moves": still_trace}
)
"""Name -> trace, made when it is called for the first time."""
