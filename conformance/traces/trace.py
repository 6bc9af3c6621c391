"""What a trace is: parameters, their initial values, and for each step a multiplier and gradients.

A trace is recorded open loop: its gradients do not depend on the parameters that a replay produces. Steps
count from 1, as t does in the papers; step t holds g_t and the learning-rate multiplier eta_t, so that the
learning rate of the step is eta_t * alpha.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...adapters.arrays import HOST_DTYPES
from .errors import TraceError, printable

Array = NDArray[Any]

DTYPES: Mapping[str, np.dtype[Any]] = HOST_DTYPES
"""Name in a trace -> NumPy dtype. Values are stored as recorded, never converted."""

MAX_DIMENSIONS = 32
"""NumPy 1.26 holds no array of more."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter tensor: its name, its shape (`()` for a scalar) and its dtype, a key of `DTYPES`.

    A sample of a larger tensor's coordinates is a vector, and `sampled_from` that tensor's shape.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    sampled_from: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """Number of coordinates: 1 for a scalar, 0 where a dimension is 0."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Step:
    """One training step.

    `index` counts from 1. `multiplier` is eta_t. `gradients` maps every parameter's name to g_t in the
    parameter's shape and dtype, or to None where the parameter had no gradient in this step. The arrays
    belong to whoever receives them: changing them changes no trace. `changed` are hyperparameters besides the
    learning rate, by canonical name, that a recorded run had in this step in place of those it is judged by.
    """

    index: int
    multiplier: float
    gradients: dict[str, Array | None]
    changed: Mapping[str, float] = field(default_factory=dict)


class Trace(Protocol):
    """What every trace offers, wherever its numbers are kept."""

    @property
    def name(self) -> str:
        """A short name for reports."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in the order they were recorded in."""

    @property
    def multipliers(self) -> tuple[float, ...]:
        """eta_1 .. eta_T."""

    @property
    def missing(self) -> Mapping[int, frozenset[str]]:
        """Step -> names of the parameters that had no gradient in it; only steps in which one had none."""

    @property
    def n_steps(self) -> int:
        """T. Zero is legal: an empty trace decides nothing."""

    @property
    def sha256(self) -> str:
        """A digest of everything the trace says, as 64 hexadecimal digits."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the trace comes from: model, data, seed, optimizer, versions, script."""

    def initial_parameters(self) -> dict[str, Array]:
        """theta_0 by name, as fresh arrays."""

    def steps(self, stop: int | None = None) -> Iterator[Step]:
        """Steps 1 .. min(`stop`, T) in order (None: all), each made when it is asked for and then forgotten."""

    def block(self, name: str, step: int, start: int, stop: int) -> Array | None:
        """Coordinates `start` .. `stop` - 1 (C order) of the gradient of `name` at `step`, 1-d.

        None where the parameter had no gradient in this step. Raises KeyError for a name and IndexError
        for a step or coordinate that the trace does not have.
        """


def check_parameters(parameters: Sequence[Parameter], file: object) -> None:
    """Raise `TraceError` unless there are parameters, with distinct names, possible shapes and known dtypes."""
    if not parameters:
        raise TraceError(file, "no parameters", "at least one parameter", "Record the trace again with its parameters.")
    seen: set[str] = set()
    for parameter in parameters:
        name = parameter.name
        if not name or name == "__metadata__" or not _encodes(name):
            raise TraceError(
                file,
                f"parameter name '{printable(name)}'",
                "a non-empty name that UTF-8 can write, other than __metadata__, which the file format reserves",
                "Rename the parameter and write the trace again.",
                name,
            )
        if name in seen:
            raise TraceError(
                file, "the name twice", "every parameter name once", "Rename one and write the trace again.", name
            )
        seen.add(name)
        if not _possible(parameter.shape):
            raise TraceError(
                file,
                f"shape {printable(parameter.shape)}",
                f"at most {MAX_DIMENSIONS} non-negative dimensions and fewer than 2**48 elements",
                "Choose a smaller shape; if the index says so, it is corrupt: record or copy the trace again.",
                name,
            )
        whole = parameter.sampled_from
        vector = len(parameter.shape) == 1
        if whole is not None and not (vector and _possible(whole) and parameter.size <= math.prod(whole)):
            raise TraceError(
                file,
                f"shape {printable(parameter.shape)} sampled from {printable(whole)}",
                "a vector of no more elements than the tensor it is taken from",
                "The index is corrupt: record or copy the trace again.",
                name,
            )
        if parameter.dtype not in DTYPES:
            raise TraceError(
                file,
                f"dtype '{printable(parameter.dtype)}'",
                f"one of {', '.join(DTYPES)}",
                "Convert the values before writing the trace.",
                name,
            )


def _possible(shape: tuple[int, ...]) -> bool:
    return len(shape) <= MAX_DIMENSIONS and all(n >= 0 for n in shape) and math.prod(max(n, 1) for n in shape) < 2**48


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_multipliers(multipliers: Sequence[float], file: object) -> None:
    """Raise `TraceError` unless every eta_t is finite and not negative."""
    for step, multiplier in enumerate(multipliers, start=1):
        if not (math.isfinite(multiplier) and multiplier >= 0.0):
            raise TraceError(
                file,
                f"learning-rate multiplier {multiplier!r} at step {step}",
                "a finite number >= 0",
                "Correct the schedule and write the trace again.",
            )


def check_array(array: Array, parameter: Parameter, file: object, what: str) -> None:
    """Raise `TraceError` unless `array`, called `what`, is finite and has the parameter's shape and dtype."""
    if tuple(array.shape) != parameter.shape or array.dtype != DTYPES[parameter.dtype]:
        raise TraceError(
            file,
            f"{array.dtype.name} {tuple(array.shape)} as {what}",
            f"{parameter.dtype} {parameter.shape}",
            "Give the values in the shape and dtype that the parameter is declared with.",
            parameter.name,
        )
    check_finite(array, parameter.name, file, what, 0)


def check_finite(array: Array, name: str, file: object, what: str, offset: int) -> None:
    """Raise `TraceError` with the first non-finite value of `array`, whose flat indices count from `offset`."""
    finite = np.isfinite(array)
    if finite.all():
        return
    index = int(np.argmin(finite))
    raise TraceError(
        file,
        f"{array.reshape(-1)[index]!s} in {what} at flat index {offset + index}",
        "finite values",
        "Record a run without overflow, or leave the overflowed steps out.",
        name,
    )


def check_range(parameter: Parameter, n_steps: int, step: int, start: int, stop: int) -> None:
    """Raise IndexError unless `step` is in 1..n_steps and 0 <= start <= stop <= the parameter's size."""
    if not 1 <= step <= n_steps:
        raise IndexError(f"step {step} of a trace with steps 1..{n_steps}")
    if not 0 <= start <= stop <= parameter.size:
        raise IndexError(f"coordinates {start}..{stop} of '{printable(parameter.name)}' with {parameter.size}")


def clamp_stop(stop: int | None, n_steps: int) -> int:
    """The number of steps that `Trace.steps(stop)` yields. Raises ValueError when `stop` is negative."""
    if stop is None:
        return n_steps
    if stop < 0:
        raise ValueError(f"stop={stop}, but should be >= 0 or None for all steps")
    return min(stop, n_steps)
