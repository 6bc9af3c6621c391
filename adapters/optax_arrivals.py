"""What arrives on the host while a recorded Optax run trains: settled step by step, and handed to the sink.

JAX calls back from inside a compiled program, which only sees one update at a time: whether its new state is kept
shows in the next update alone. Here a step is held until then. The number of updates that the state has had tells
what became of it:

    one more     the step was made; its parameters afterwards are those that the next update is given
    the same     its state was thrown away: a compilation's first run, a micro-step of `optax.MultiSteps`, or, where
                 the gradients are not finite, a step that loss scaling skipped
    any other    a checkpoint or another run was put in place; no single run any more, so the recording ends
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .protocol import Array
from .recording import GroupValues, Joined, Plan, Sink, TrainingStep

NOTHING, GRADIENTS, THETA, STATE = range(4)
"""What has to cross to the host for a step; each holds those before it."""

_ROUNDED = 2.0**-22
"""What rounding makes of zero in float32, relative to the largest learning rate."""

BEFORE = "step"
"""The slot of the number of updates that a parameter has had."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The recorded parameters of one traced update: their names by key path, whole shapes and dtypes by name."""

    names: Mapping[tuple[Any, ...], str]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Arrived:
    """What crossed for one step, in NumPy's arrays of its own; of sampled parameters the sampled coordinates."""

    gradients: Mapping[str, Array]
    lr: float | None
    """The learning rate, where it is known from the state or from a schedule."""
    hyperparameters: Mapping[str, Any]
    """Those that the state holds, under canonical names."""
    rejected: bool
    """Whether `optax.apply_if_finite` kept the step from being made."""
    theta: Mapping[str, Array] = field(default_factory=dict)
    state: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Held:
    """A step of which the next update tells what became."""

    step: TrainingStep
    after: bool
    """Whether theta after it is wanted."""

    @property
    def finite(self) -> bool:
        return all(np.isfinite(each).all() for each in self.step.gradients.values() if isinstance(each, np.ndarray))


class Arrivals:
    """Puts the steps of one run into `sink`, in order and each once. `constants` are hyperparameters that never change.

    Safe to call from any thread.
    """

    def __init__(self, sink: Sink, constants: Mapping[str, Any]) -> None:
        self._sink, self._constants = sink, dict(constants)
        self._lock = threading.RLock()
        self._over = False
        self._count: int | None = None
        """Updates before the one that arrived last."""
        self._plan: Plan | None = None
        self._held: _Held | None = None
        self._joined: set[str] = set()
        self._tries = self._usual_tries = 0
        """How often the state of the step at hand, and of the step before it, was thrown away."""
        self._largest_lr = 0.0
        self._coordinates: dict[tuple[str, tuple[int, ...]], NDArray[np.int64] | None] = {}

    @property
    def over(self) -> bool:
        """Whether nothing is recorded any more."""
        return self._over

    def coordinates(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """The coordinates that are kept of a parameter; None for all."""
        key = name, shape
        if key not in self._coordinates:
            self._coordinates[key] = self._sink.coordinates(name, shape)
        return self._coordinates[key]

    def stop(self, reason: str) -> None:
        """End the recording; what was settled is kept."""
        with self._lock:
            if not self._over:
                self._over, self._held = True, None
                self._sink.stop(reason)

    def need(self, layout: Layout, count: int) -> int:
        """Take notice of the update after `count` others; return what of it has to cross."""
        with self._lock:
            if self._over:
                return NOTHING
            before, self._count = self._count, count
            if before is not None and count not in (before, before + 1):
                self.stop(
                    f"after update {before + 1} came update {count + 1}: the state of a checkpoint or of another run "
                    "was put in place. Record each run to a path of its own"
                )
                return NOTHING
            if count != before:
                self._tries, self._usual_tries = 0, self._tries
            elif self._held is not None and not self._held.finite:
                self._held = replace(self._held, step=replace(self._held.step, gradients={}, skipped=True))
            else:
                self._tries += 1
                self._held = None
                return self._needed(layout)  # the same step of the run once more, which the sink has counted
            if self._held is not None and self._held.after:
                return THETA  # settled, and the sink asked about the next, once theta is here
            self._settle(None)
            self._plan = self._sink.next_step()
            return self._needed(layout)

    def take(self, layout: Layout, arrived: Arrived, updates: int) -> None:
        """Take what `need` asked for; `updates` is what the state's own counter says, for `BEFORE`."""
        with self._lock:
            if self._over:
                return
            if self._held is not None:
                self._settle(arrived.theta)
                self._plan = self._sink.next_step()  # which begins no stretch: the step before was recorded
            if self._plan is not None:
                self._held = _Held(self._step(layout, arrived, updates, self._plan), self._plan.after)

    def end(self, theta: Mapping[str, Array] | None = None) -> None:
        """Settle the last step, where it was one; `theta` is that after it, of every parameter."""
        with self._lock:
            # Fewer tries than for the step before: gradients that were still being accumulated. What is not finite
            # may have been skipped, and nothing comes any more that could tell.
            if self._held is not None and (self._tries != self._usual_tries or not self._held.finite):
                self._held = None
            self._settle(theta)
            self._over = True

    def _needed(self, layout: Layout) -> int:
        if self._plan is None:
            return NOTHING
        if self._plan.start:
            return STATE
        return THETA if layout.shapes.keys() - self._joined else GRADIENTS

    def _settle(self, theta: Mapping[str, Array] | None) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._joined |= {each.name for each in held.step.joined}
            kept = {name: value for name, value in (theta or {}).items() if name in self._joined}
            self._sink.put(replace(held.step, after=kept) if held.after and kept else held.step)

    def _step(self, layout: Layout, arrived: Arrived, updates: int, plan: Plan) -> TrainingStep:
        names = tuple(layout.shapes)
        scheduled = {} if arrived.lr is None else {"lr": arrived.lr}
        hyperparameters = {**self._constants, **scheduled, **arrived.hyperparameters}
        return TrainingStep(
            gradients={} if arrived.rejected else arrived.gradients,
            lr=self._rate(float(hyperparameters.get("lr", 1.0))),
            groups=(GroupValues(names, hyperparameters),) if hyperparameters else (),
            joined=[
                Joined(name, layout.shapes[name], layout.dtypes[name], arrived.theta[name])
                for name in names
                if name not in self._joined
            ],
            start=_start(names, arrived, updates) if plan.start else None,
            skipped=arrived.rejected,
        )

    def _rate(self, lr: float) -> float:
        """`lr`, or 0 where a schedule that ends there was rounded below it.

        Compiled, `optax.linear_schedule(.1, 0., 5)` ends at -1.5e-9; no trace holds a negative multiplier.
        """
        self._largest_lr = max(self._largest_lr, lr)
        return 0.0 if -_ROUNDED * self._largest_lr <= lr < 0.0 else lr


def _start(names: Sequence[str], arrived: Arrived, updates: int) -> dict[str, dict[str, Array]]:
    """Theta and state before a step. A state that `init` made all zeros says nothing and is left out."""
    slots = {slot: dict(each) for slot, each in arrived.state.items()}
    if updates == 0 and not any(np.any(value) for each in slots.values() for value in each.values()):
        slots = {}
    counts = {name: np.array(float(updates)) for name in names}
    return {**slots, "theta": dict(arrived.theta), BEFORE: counts}
