"""An optimizer whose random draws are its own: those of a second one built alike do not move them, nor the reverse.

Some rules draw from a global generator in every step: to perturb, or to decide what is renewed. Runs that are compared
must draw the same numbers, or what differs between them is chance. So every optimizer that an audit builds starts
from the state in which the audit found the generators, goes on from where its last step left them, and leaves them as
they were. Nothing else may draw from them meanwhile: draws of another thread between two steps would be taken for the
optimizer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..adapters import random_generators
from ..adapters.protocol import Array, Gradients, Optimizer
from ..adapters.random_generators import States


class OwnDraws:
    """An `Optimizer` with a course of the global generators of its own; what it draws belongs to its snapshots.

    Where a step seeds a generator anew, which is no drawing, that stays as the step has left it, for whoever looks
    after the process to see.
    """

    def __init__(self, build: Callable[[], Optimizer]) -> None:
        """Build the optimizer. Raises what `build` raises."""
        self._course: States | None = None
        """Where its draws have led; None where it has drawn nothing."""
        self._found = random_generators.states()
        """Where the generators stood when this was last looked at, which takes as long as a step of a few numbers."""
        with self._turn():
            self._inner = inner = build()
        self.held, self.casts, self.missing_gradient = inner.held, inner.casts, inner.missing_gradient
        self.computes_in, self.scalars_in, self.excluded = inner.computes_in, inner.scalars_in, inner.excluded

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let the generators stand where this optimizer's draws have led, and put them back afterwards."""
        started: States = self._found
        if self._course is not None:
            self._found, started = random_generators.states(), self._course
            random_generators.put_back(started)
        try:
            yield
        finally:
            reached = random_generators.states()
            drawn = random_generators.moved(started, reached)
            if drawn:
                self._course = reached
            if self._course is not None and not (drawn and random_generators.reseeded(started, reached)):
                random_generators.put_back(self._found)

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update, drawing on from where the last one ended."""
        with self._turn():
            self._inner.step(gradients, lr)

    def gradients_left(self) -> dict[str, Array]:
        """As the optimizer's own."""
        return self._inner.gradients_left()

    def set_weight_decay(self, value: float) -> None:
        """As the optimizer's own."""
        self._inner.set_weight_decay(value)

    def save(self) -> Any:
        """As the optimizer's own; generators are not in it."""
        return self._inner.save()

    def load(self, saved: Any) -> None:
        """As the optimizer's own."""
        self._inner.load(saved)

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """As the optimizer's own."""
        return self._inner.read_parameters(names)

    def read_state(self) -> dict[str, dict[str, Array]]:
        """As the optimizer's own."""
        return self._inner.read_state()

    def snapshot(self) -> Any:
        """Parameters, state and the course of the draws."""
        return self._inner.snapshot(), self._course

    def restore(self, snapshot: Any) -> None:
        """Return to `snapshot`, draws included."""
        inner, self._course = snapshot
        self._inner.restore(inner)
