"""Synthetic traces: gradients that training rarely shows and that optimizers get wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import TraceError, printable
from .memory import MemoryTrace
from .trace import DTYPES, Array, Parameter, check_parameters

Maker = Callable[[np.random.Generator, tuple[int, ...], int], Array]
"""(generator, shape, step counted from 1) -> the float64 gradient of that step."""

DEFAULT_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({"weight": (16, 8), "bias": (8,), "scale": ()})


def _normal(rng: np.random.Generator, shape: tuple[int, ...], step: int) -> Array:
    return rng.standard_normal(shape) * 0.1


def _wide_range(rng: np.random.Generator, shape: tuple[int, ...], step: int) -> Array:
    return rng.choice((-1.0, 1.0), shape) * 10.0 ** rng.uniform(-12.0, 4.0, shape)


def _sparse(rng: np.random.Generator, shape: tuple[int, ...], step: int) -> Array:
    return np.where(rng.uniform(size=shape) < 0.05, rng.standard_normal(shape), 0.0)


def _zero(rng: np.random.Generator, shape: tuple[int, ...], step: int) -> Array:
    return np.zeros(shape)


def _sign_changes(rng: np.random.Generator, shape: tuple[int, ...], step: int) -> Array:
    return (-1.0) ** step * (0.1 + 0.01 * rng.standard_normal(shape))


def _spikes(rng: np.random.Generator, shape: tuple[int, ...], step: int) -> Array:
    """Values near 1e-3, a million times as much in every fifth step."""
    return rng.standard_normal(shape) * (1e3 if step % 5 == 0 else 1e-3)


def _constant(step: int, n_steps: int) -> float:
    return 1.0


def _jump(step: int, n_steps: int) -> float:
    """1 in the first half, .1 from the middle on."""
    return 1.0 if 2 * (step - 1) < n_steps else 0.1


def varied(step: int, n_steps: int) -> float:
    """Another value in every step, neighbours at least a third apart, between 1/8 and 1."""
    return (1.0, 0.5, 0.75, 0.25, 0.625, 0.125, 0.875, 0.375)[(step - 1) % 8]


def _never(position: int, step: int) -> bool:
    return False


def _every_third(position: int, step: int) -> bool:
    """Parameters take turns, so that no step is without a gradient where there is more than one parameter."""
    return (position + step) % 3 == 0


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of synthetic trace is made; parameters take the `makers` in turn."""

    description: str
    makers: tuple[Maker, ...] = (_normal,)
    multiplier: Callable[[int, int], float] = _constant
    missing: Callable[[int, int], bool] = _never
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: DEFAULT_SHAPES)
    n_steps: int = 20


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "wide_range": Kind("magnitudes from 1e-12 to 1e4, evenly on a logarithmic scale", (_wide_range,)),
        "sparse": Kind("19 of 20 coordinates are zero", (_sparse,)),
        "zero": Kind("all gradients are zero", (_zero,)),
        "sign_changes": Kind("every coordinate changes sign in every step", (_sign_changes,)),
        "spikes": Kind("every fifth step is a million times as large", (_spikes,)),
        "schedule_jump": Kind("the learning rate falls to a tenth in the middle", multiplier=_jump),
        "small": Kind(
            "a small matrix and a vector, another learning rate in every step: enough to identify decay by",
            multiplier=varied,
            shapes=MappingProxyType({"matrix": (6, 4), "vector": (5,)}),
            n_steps=12,
        ),
        "missing": Kind("every parameter is without a gradient in every third step", missing=_every_third),
        "mixed": Kind(
            "all of these, parameters taking turns",
            (_wide_range, _sparse, _sign_changes, _spikes, _normal, _zero),
            _jump,
            _every_third,
        ),
    }
)


def synthetic_kinds() -> tuple[str, ...]:
    """The names that `synthetic_trace` knows."""
    return tuple(KINDS)


def synthetic_trace(
    kind: str,
    *,
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    n_steps: int | None = None,
    dtype: str = "float64",
) -> MemoryTrace:
    """A trace of `kind` (a key of `KINDS`) over parameters of these `shapes`, stored as `dtype`.

    Shapes and number of steps are the kind's own where they are None.

    The numbers are drawn in float64 from `numpy.random.Generator(PCG64(seed))`, theta_0 first and then step by
    step, and rounded to `dtype`: equal arguments give equal traces, and a shorter trace is the beginning of a
    longer one (but for the schedule, which knows the length). theta_0 has magnitudes from 1e-3 to 10, both
    signs, and every eighth coordinate zero. Raises `TraceError` for an unknown kind or dtype, a negative
    number of steps or seed, or shapes that cannot be.
    """
    source = f"synthetic:{kind}"
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "`optconform trace list` describes them."
        raise TraceError(source, f"the unknown kind '{printable(kind)}'", f"one of {', '.join(KINDS)}", hint)
    rule = KINDS[kind]
    shapes = rule.shapes if shapes is None else shapes
    n_steps = rule.n_steps if n_steps is None else n_steps
    for what, value in (("n_steps", n_steps), ("seed", seed)):
        if value < 0:
            raise TraceError(source, f"{what}={value}", "a number >= 0", f"Give another {what}.")
    parameters = tuple(Parameter(name, tuple(shape), dtype) for name, shape in shapes.items())
    check_parameters(parameters, source)
    rng = np.random.Generator(np.random.PCG64(seed))
    initial = {p.name: _initial(rng, p.shape).astype(DTYPES[dtype]) for p in parameters}
    steps = []
    for step in range(1, n_steps + 1):
        gradients: dict[str, Array | None] = {}
        for position, p in enumerate(parameters):
            made = rule.makers[position % len(rule.makers)](rng, p.shape, step)
            gradients[p.name] = None if rule.missing(position, step) else np.asarray(made).astype(DTYPES[dtype])
        steps.append(gradients)
    return MemoryTrace(
        name=f"{source}:{seed}",
        parameters=parameters,
        multipliers=tuple(rule.multiplier(step, n_steps) for step in range(1, n_steps + 1)),
        initial=initial,
        gradients=tuple(steps),
        provenance=_provenance(kind, seed),
    )


def _initial(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    signs = rng.choice((-1.0, 1.0), shape)
    values = np.atleast_1d(signs * 10.0 ** rng.uniform(-3.0, 1.0, shape))
    values.reshape(-1)[7::8] = 0.0
    return values.reshape(shape)


def _provenance(kind: str, seed: int) -> dict[str, Any]:
    return {
        "source": "synthetic",
        "kind": kind,
        "description": KINDS[kind].description,
        "seed": seed,
        "generator": "numpy.random.PCG64",
        "numpy": np.__version__,
    }
