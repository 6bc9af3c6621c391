"""A trace whose numbers are arrays in memory: made by a recorder, a test or the synthetic maker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .errors import TraceError
from .trace import Array, Parameter, Step, check_array, check_multipliers, check_parameters, check_range, clamp_stop


@dataclass(frozen=True, eq=False)
class MemoryTrace:
    """A `Trace` over arrays in memory, checked when it is made.

    `initial` maps each name to theta_0, `gradients[t - 1]` maps each name to g_t or to None. The arrays are
    kept, not copied; nothing that the trace hands out shares memory with them. Raises `TraceError` when
    names, shapes, dtypes or step counts do not fit together or a value is not finite.
    """

    name: str
    parameters: tuple[Parameter, ...]
    multipliers: tuple[float, ...]
    initial: Mapping[str, Array]
    gradients: tuple[Mapping[str, Array | None], ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        file = f"<trace '{self.name}' in memory>"
        check_parameters(self.parameters, file)
        check_multipliers(self.multipliers, file)
        if len(self.gradients) != len(self.multipliers):
            raise TraceError(
                file,
                f"gradients of {len(self.gradients)} steps and {len(self.multipliers)} multipliers",
                "as many steps as multipliers",
                "Give one multiplier for each step.",
            )
        check_names(self.initial, self.parameters, file, "theta_0")
        for parameter in self.parameters:
            check_array(self.initial[parameter.name], parameter, file, "theta_0")
        for step, gradients in enumerate(self.gradients, start=1):
            check_gradients(gradients, self.parameters, file, step)

    @property
    def n_steps(self) -> int:
        """T."""
        return len(self.multipliers)

    @cached_property
    def missing(self) -> Mapping[int, frozenset[str]]:
        """Step -> names of the parameters without a gradient in it."""
        names = (frozenset(p.name for p in self.parameters if grads[p.name] is None) for grads in self.gradients)
        return {step: absent for step, absent in enumerate(names, start=1) if absent}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over names, shapes, dtypes, multipliers, missing gradients, provenance and every value.

        It is not the digest of the same trace written to a directory, which is that of its `index.json`.
        """
        digest = hashlib.sha256()
        description = {
            "name": self.name,
            "parameters": [[p.name, list(p.shape), p.dtype] for p in self.parameters],
            "multipliers": list(self.multipliers),
            "missing": [[p.name for p in self.parameters if g[p.name] is None] for g in self.gradients],
            "provenance": dict(self.provenance),
        }
        digest.update(json.dumps(description, sort_keys=True).encode())
        for arrays in (self.initial, *self.gradients):
            for parameter in self.parameters:
                array = arrays[parameter.name]
                if array is not None:
                    digest.update(array.tobytes())
        return digest.hexdigest()

    def initial_parameters(self) -> dict[str, Array]:
        """theta_0 by name, as fresh arrays."""
        return {p.name: np.array(self.initial[p.name], order="C") for p in self.parameters}

    def steps(self, stop: int | None = None) -> Iterator[Step]:
        """Steps 1 .. min(`stop`, T), each with copies of its gradients."""
        for index in range(1, clamp_stop(stop, self.n_steps) + 1):
            gradients = {p.name: _copy(self.gradients[index - 1][p.name]) for p in self.parameters}
            yield Step(index, self.multipliers[index - 1], gradients)

    def block(self, name: str, step: int, start: int, stop: int) -> Array | None:
        """Coordinates `start` .. `stop` - 1 of the gradient of `name` at `step`; see `Trace.block`."""
        parameter = next((p for p in self.parameters if p.name == name), None)
        if parameter is None:
            raise KeyError(name)
        check_range(parameter, self.n_steps, step, start, stop)
        gradient = self.gradients[step - 1][name]
        return None if gradient is None else np.array(gradient.reshape(-1)[start:stop])


def _copy(array: Array | None) -> Array | None:
    return None if array is None else np.array(array, order="C")


def check_names(found: Mapping[str, Any], parameters: tuple[Parameter, ...], file: object, what: str) -> None:
    """Raise `TraceError` unless the keys of `found` are exactly the parameters' names."""
    names = {p.name for p in parameters}
    for name in sorted(names ^ set(found)):
        state = "no entry" if name in names else "an entry of an unknown parameter"
        raise TraceError(
            file,
            f"{state} in {what}",
            "one entry for each declared parameter",
            "Give None where a parameter had no gradient.",
            name,
        )


def check_gradients(
    gradients: Mapping[str, Array | None], parameters: tuple[Parameter, ...], file: object, step: int
) -> None:
    """Raise `TraceError` unless each parameter, and nothing else, has None or a finite array of its shape and dtype."""
    check_names(gradients, parameters, file, f"step {step}")
    for parameter in parameters:
        gradient = gradients[parameter.name]
        if gradient is not None:
            check_array(gradient, parameter, file, f"step {step}")
