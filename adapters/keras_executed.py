"""A Keras optimizer on its way through a course of steps, on any backend, and what shows how it was executed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .execution import OfOptimizer, Proof
from .protocol import Gradients, Trajectory


class Way(Protocol):
    """One way of executing steps, which observes itself."""

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update, as `Trajectory.step` does."""

    def seen(self) -> tuple[bool, str]:
        """Return whether every step so far was executed this way, and what shows it, without a full stop."""


class KerasExecuted(OfOptimizer):
    """`Executed`: steps go `way`; the slots of the state bear the names of `keras_slots.slots_of`.

    `misplaced` returns the names of parameters and state that do not live on `device`; `backend` says whose they are.
    """

    def __init__(
        self, optimizer: Trajectory, way: Way, *, device: str, backend: str, misplaced: Callable[[], list[str]]
    ) -> None:
        super().__init__(optimizer)
        self._way = way
        self._device, self._backend, self._misplaced = device, backend, misplaced
        self._astray = misplaced()
        self._steps = 0

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. Raises `StepFailed` where it raises."""
        self._way.step(gradients, lr)
        self._steps += 1

    def proof(self) -> Proof:
        """Return what the way has seen, and where parameters and state lay before the first step and lie now."""
        on_path, seen = self._way.seen() if self._steps else (False, "no step was made yet")
        astray = sorted({*self._astray, *self._misplaced()})
        place = f"not on {self._device}: {', '.join(astray)}" if astray else f"all variables on {self._device}"
        return Proof(on_path, not astray, f"Keras on {self._backend}: {seen}; {place}.")


class BodyCalls:
    """Counts how often the Python body of an optimizer's update rule ran, with values and while being traced.

    Counted is `update_step`, once for every parameter, or `apply`, once a step, where the optimizer has no such rule.
    `tracing` says of the first argument whether it is being traced.
    """

    def __init__(self, optimizer: Any, tracing: Callable[[Any], bool]) -> None:
        owner = next((cls for cls in type(optimizer).__mro__ if "update_step" in vars(cls)), None)
        self.each_parameter = owner is not None and owner.__name__ != "BaseOptimizer"
        """Whether the body runs once for every parameter, and not once for all of them."""
        self.method = "update_step" if self.each_parameter else "apply"
        self._ran = [0, 0]
        rule = getattr(optimizer, self.method)

        def counted(first: Any, *args: Any, **kwargs: Any) -> Any:
            self._ran[tracing(first)] += 1
            return rule(first, *args, **kwargs)

        setattr(optimizer, self.method, counted)

    @property
    def with_values(self) -> int:
        """Times it ran eagerly."""
        return self._ran[False]

    @property
    def traced(self) -> int:
        """Times it ran while a graph was made of it."""
        return self._ran[True]

    def asked(self, gradients: Gradients) -> int:
        """Return how often one eager step with `gradients` runs the body."""
        there = sum(gradient is not None for gradient in gradients.values())
        return there if self.each_parameter else min(there, 1)


class EagerWay:
    """The Python body of the rule runs with values in every step: a `Way`.

    `rule` is the framework's own object behind `optimizer`; `tracing` is as for `BodyCalls`.
    """

    def __init__(self, optimizer: Trajectory, rule: Any, tracing: Callable[[Any], bool]) -> None:
        self._optimizer, self._body = optimizer, BodyCalls(rule, tracing)
        self._asked = 0

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update."""
        self._optimizer.step(gradients, lr)
        self._asked += self._body.asked(gradients)

    def seen(self) -> tuple[bool, str]:
        """Return whether the body ran as often as the steps so far ask for, and was never traced."""
        body = self._body
        said = f"{body.method} ran {body.with_values} times eagerly of {self._asked} asked for, {body.traced} traced"
        return body.with_values == self._asked > 0 and not body.traced, said
