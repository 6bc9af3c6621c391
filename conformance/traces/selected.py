"""Some of the parameters of a trace, for an optimizer that does not take them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from .trace import Array, Parameter, Step
from .view import TraceView


@dataclass(frozen=True, eq=False)
class SelectedTrace(TraceView):
    """The view of a `Trace` that holds only the parameters for which `keeps` is true.

    It shares every number with the whole.
    """

    keeps: Callable[[Parameter], bool]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters kept, in the order they were recorded in."""
        return tuple(parameter for parameter in self.whole.parameters if self.keeps(parameter))

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(parameter.name for parameter in self.parameters)

    @property
    def multipliers(self) -> tuple[float, ...]:
        """eta_1 .. eta_T."""
        return self.whole.multipliers

    @cached_property
    def missing(self) -> Mapping[int, frozenset[str]]:
        """Step -> names of the kept parameters without a gradient in it."""
        kept = {step: names & self._names for step, names in self.whole.missing.items()}
        return {step: names for step, names in kept.items() if names}

    @property
    def n_steps(self) -> int:
        """T."""
        return self.whole.n_steps

    def initial_parameters(self) -> dict[str, Array]:
        """theta_0 of the kept parameters by name, as fresh arrays."""
        return {name: value for name, value in self.whole.initial_parameters().items() if name in self._names}

    def steps(self, stop: int | None = None) -> Iterator[Step]:
        """Steps 1 .. min(`stop`, T) with the gradients of the kept parameters."""
        for step in self.whole.steps(stop):
            kept = {name: grad for name, grad in step.gradients.items() if name in self._names}
            yield replace(step, gradients=kept)

    def block(self, name: str, step: int, start: int, stop: int) -> Array | None:
        """Coordinates of the gradient of a kept parameter; see `Trace.block`."""
        if name not in self._names:
            raise KeyError(name)
        return self.whole.block(name, step, start, stop)
