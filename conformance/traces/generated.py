"""Traces of any size that are kept nowhere: every coordinate of every step is made when it is asked for.

A device makes the same gradients itself, to the bit (`adapters.generated_gradients`), so that a large case moves
none of them over the bus, and whoever judges makes the few coordinates that are judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...adapters.generated_gradients import (
    MOST_ELEMENTS,
    VERSION,
    generated_gradient,
    generated_parameters,
    in_blocks,
)
from .drawn_coordinates import drawn_coordinates
from .errors import TraceError, printable
from .synthetic import varied
from .trace import DTYPES, Array, Parameter, Step, check_range, clamp_stop

PREFIX = "generated"
FORM = f"{PREFIX}:SIZE[:SEED[:STEPS]]"
DESCRIPTION = "one vector of SIZE elements, made on demand from a counter: the same to the bit on every device"
N_STEPS = 10
_MOST = {"SIZE": MOST_ELEMENTS, "SEED": 10**18 - 1, "STEPS": 10**6}


@dataclass(frozen=True, eq=False)
class GeneratedTrace:
    """A `Trace` of one vector, `theta`, whose numbers are functions of (seed, step, coordinate).

    Both signs, several binades, one element in 32 exactly zero; the learning rate is another in every step.
    `coordinates` are those held, rising, where the trace is a sample of a vector of `size`. Raises `TraceError` for
    a size, seed or number of steps out of range, and for an unknown dtype.
    """

    size: int
    seed: int = 0
    n_steps: int = N_STEPS
    """T."""
    dtype: str = "float64"
    coordinates: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for what, value, least in (("SIZE", self.size, 1), ("SEED", self.seed, 0), ("STEPS", self.n_steps, 0)):
            if not least <= value <= _MOST[what]:
                raise TraceError(
                    self.name, f"{what} {value}", f"a number from {least} to {_MOST[what]}", f"Give another {what}."
                )
        if self.dtype not in DTYPES:
            raise TraceError(
                self.name, f"dtype '{printable(self.dtype)}'", f"one of {', '.join(DTYPES)}", "Give one of these."
            )

    @property
    def name(self) -> str:
        """The name by which `find_trace` makes it, of a sample that of the whole."""
        return f"{PREFIX}:{self.size}:{self.seed}:{self.n_steps}"

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """One vector."""
        if self.coordinates is None:
            return (Parameter("theta", (self.size,), self.dtype),)
        return (Parameter("theta", (len(self.coordinates),), self.dtype, (self.size,)),)

    @cached_property
    def multipliers(self) -> tuple[float, ...]:
        """eta_1 .. eta_T."""
        return tuple(varied(step, self.n_steps) for step in range(1, self.n_steps + 1))

    @property
    def missing(self) -> Mapping[int, frozenset[str]]:
        """Nothing: every step has a gradient."""
        return {}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over all that the numbers are a function of, the version of the function included."""
        said = [PREFIX, VERSION, self.size, self.seed, self.n_steps, self.dtype, list(self.multipliers)]
        digest = hashlib.sha256(json.dumps(said).encode())
        if self.coordinates is not None:
            digest.update(self.coordinates.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How it is made."""
        return {"source": PREFIX, "seed": self.seed, "generator": "MurmurHash3 finaliser", "version": VERSION}

    def initial_parameters(self) -> dict[str, Array]:
        """theta_0 by name, as fresh arrays."""
        return {"theta": self._made(0, 0, self.parameters[0].size)}

    def steps(self, stop: int | None = None) -> Iterator[Step]:
        """Steps 1 .. min(`stop`, T), each made when it is asked for."""
        for index in range(1, clamp_stop(stop, self.n_steps) + 1):
            yield Step(index, self.multipliers[index - 1], {"theta": self._made(index, 0, self.parameters[0].size)})

    def block(self, name: str, step: int, start: int, stop: int) -> Array | None:
        """Coordinates `start` .. `stop` - 1 of the gradient at `step`; see `Trace.block`."""
        if name != "theta":
            raise KeyError(name)
        check_range(self.parameters[0], self.n_steps, step, start, stop)
        return self._made(step, start, stop)

    def sampled(self, count: int, seed: int = 0) -> GeneratedTrace:
        """The trace of `count` of the coordinates, drawn by `seed`; itself where it has no more."""
        drawn = drawn_coordinates("theta", self.parameters[0].size, count, seed)
        if drawn is None:
            return self
        return replace(self, coordinates=drawn if self.coordinates is None else self.coordinates[drawn])

    def _made(self, step: int, start: int, stop: int) -> Array:
        """The gradient of a step, or theta_0 as that of step 0, at the coordinates held from `start` to `stop`."""

        def make(places: NDArray[np.int32]) -> Array:
            at = places if self.coordinates is None else self.coordinates[places].astype(np.int32)
            if step == 0:
                return generated_parameters(at, self.dtype, seed=self.seed)
            return generated_gradient(at, step, self.dtype, seed=self.seed)

        return in_blocks(make, start, stop, self.dtype)


def generated_trace(text: str) -> GeneratedTrace:
    """The trace that `generated:SIZE[:SEED[:STEPS]]` stands for. Raises `TraceError`."""
    _, *words = text.split(":")
    if not 1 <= len(words) <= 3 or not all(word.isascii() and word.isdigit() and len(word) <= 18 for word in words):
        raise TraceError(
            text, "no numbers where they belong", FORM, "Give digits only, such as generated:1000000:0:10."
        )
    size, seed, n_steps = (*map(int, words), *(0, N_STEPS)[len(words) - 1 :])
    return GeneratedTrace(size, seed, n_steps)
