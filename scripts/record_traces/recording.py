"""What the recordings share: data, initial values, and the trace they end in."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optconform.conformance.traces import MemoryTrace, Parameter
from optconform.reference.schedules import Schedule

RECORDED_ON = "2026-11-22"
"""Date in the provenance of the shipped traces, to be renewed with them. Today's would change their digest daily."""
N_STEPS = 60
"""Steps of the shipped traces. Schedules are laid out over these, however few steps are recorded."""

Array = NDArray[Any]


def digits() -> tuple[Array, Array]:
    """Load scikit-learn's handwritten digits: images [1797, 8, 8] float32 in 0..1, labels [1797] int64."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16.0).astype(np.float32), data.target.astype(np.int64)


def batches(rng: np.random.Generator, n_examples: int, batch_size: int, n_steps: int) -> list[Array]:
    """Indices of the examples of each step: one permutation after the other, incomplete batches left out."""
    per_epoch = n_examples // batch_size
    result: list[Array] = []
    while len(result) < n_steps:
        order = rng.permutation(n_examples)[: per_epoch * batch_size]
        result.extend(order.reshape(per_epoch, batch_size))
    return result[:n_steps]


def scaled_normal(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Array:
    """Initial weights: normal with variance 1 / fan_in, float32.

    Drawn by NumPy and not by the framework, whose generators change with its version (JAX 0.5 changed its
    default), so that a later recording starts from the same theta_0.
    """
    weights: Array = rng.standard_normal(shape) / np.sqrt(fan_in)
    return weights.astype(np.float32)


def multipliers(schedule: Schedule, n_steps: int) -> tuple[float, ...]:
    """eta_1 .. eta_n to 12 decimals, where the last bits of one platform's cosine are gone."""
    return tuple(round(schedule(step), 12) for step in range(1, n_steps + 1))


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, NumPy and these `packages`, by the names they are installed under."""
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), "numpy": np.__version__, **found}


def as_trace(
    name: str,
    schedule: Sequence[float],
    initial: Mapping[str, Array],
    gradients: Sequence[Mapping[str, Array]],
    losses: Sequence[float],
    packages: Mapping[str, str],
    provenance: Mapping[str, Any],
) -> MemoryTrace:
    """The recorded arrays as a trace, with the versions of `packages` and the first and last loss in its provenance."""
    return MemoryTrace(
        name=name,
        parameters=tuple(Parameter(key, value.shape, value.dtype.name) for key, value in initial.items()),
        multipliers=tuple(schedule),
        initial=dict(initial),
        gradients=tuple(dict(step) for step in gradients),
        provenance={
            "source": "training",
            **provenance,
            "loss": {"first_step": losses[0], "last_step": losses[-1]},
            "versions": {**versions(), **packages},
            "date": RECORDED_ON,
        },
    )
