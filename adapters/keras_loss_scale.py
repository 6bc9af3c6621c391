"""Keras's `LossScaleOptimizer` around a target: scaled gradients, and steps skipped for one that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import checked, host_dtype, present, shapes_of
from .errors import NotSupported, StepFailed, foreign_code
from .keras_executed import BodyCalls
from .keras_import import keras, tf
from .keras_list import value_of
from .keras_tf import KerasOptimizer
from .keras_ways import in_graph
from .protocol import Array, Gradients

INITIAL_SCALE = 2.0**15
"""Keras's own default. Powers of two alone: scaling and unscaling then lose nothing, save where a product overflows."""
GROWTH_STEPS = 4
"""Steps after which the scale doubles; Keras's default of 2000 would never show in a course of some dozens."""


@dataclass(slots=True)
class _Tally:
    """What became of the steps."""

    applied: int = 0
    planted: int = 0
    """Steps with a planted infinity."""
    overflowed: int = 0
    """Steps whose own gradients overflowed when they were scaled; each was made again at half the scale."""
    wrong: str = ""
    """The first thing that was not as it should be."""


class LossScaleWay:
    """Steps through a `LossScaleOptimizer`, with two more in which a gradient is infinite: the first, and mid-course.

    A step that is skipped must leave every bit of parameters and inner state, the step count included, and halve the
    scale; one that is applied must count once and double the scale every `GROWTH_STEPS`.
    """

    def __init__(self, optimizer: KerasOptimizer, parameters: Mapping[str, Array], dtype: str, n_steps: int) -> None:
        inner = optimizer.optimizer
        (self._list,) = optimizer.lists
        self._shapes, self._dtype, self._device = shapes_of(parameters), dtype, optimizer.device
        self._spec = f"LossScaleOptimizer({type(inner).__name__})"
        n_before = len(inner.variables)
        with tf.device(self._device), foreign_code(StepFailed, f"{self._spec}: build()"):
            self._scaled = keras.optimizers.LossScaleOptimizer(
                inner, initial_scale=INITIAL_SCALE, dynamic_growth_steps=GROWTH_STEPS
            )
            self._scaled.build(list(self._list.variables.values()))
        if len(inner.variables) != n_before:
            raise NotSupported(f"{type(inner).__name__} makes its state anew whenever build() is called.")
        self._body = BodyCalls(inner, in_graph)
        self._plant_at = {0, n_steps // 2}
        self._at = self._since_change = self._asked = 0
        self._scale = INITIAL_SCALE
        self._tally = _Tally()

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update, after one with an infinite gradient where that is due.

        Where scaling made a gradient overflow, the step is made again at half the scale, until it is applied or the
        scale is 1.
        """
        checked(gradients, self._shapes)
        arrays = present(gradients, self._shapes)
        if self._at in self._plant_at and arrays:
            self._tally.planted += 1
            if self._apply(_with_infinity(arrays), lr):
                self._note("a step with an infinite gradient was applied")
        self._at += 1
        if not arrays:
            return
        while not self._apply(arrays, lr):
            self._tally.overflowed += 1
            if self._scale < 1.0:
                self._note("a gradient is not finite even at the scale 1")
                return
        self._tally.applied += 1
        self._asked += self._body.asked(gradients)

    def seen(self) -> tuple[bool, str]:
        """Return whether what was to be skipped was skipped without a trace, and the rest applied once."""
        tally, body = self._tally, self._body
        if body.with_values != self._asked or body.traced:
            self._note(
                f"{body.method} ran {body.with_values} times eagerly of {self._asked} asked for, {body.traced} traced"
            )
        said = (
            f"{tally.applied} scaled steps applied, {tally.planted} with a planted infinity and {tally.overflowed} "
            f"overflowed ones skipped, the loss scale now {self._scale:g}"
        )
        good = tally.applied > 0 and tally.planted > 0 and not tally.wrong
        return good, f"{said}; {tally.wrong}" if tally.wrong else said

    def _apply(self, arrays: Mapping[str, Array], lr: float) -> bool:
        """Apply scaled gradients, and return whether the optimizer inside counted a step."""
        named = {name: self._list.variables[name] for name in self._list.variables if name in arrays}
        count = int(self._scaled.iterations)
        with tf.device(self._device), foreign_code(StepFailed, f"{self._spec}: apply()"):
            self._scaled.learning_rate = lr
            before = self._bits()
            scaled = [self._scaled_gradient(arrays[name]) for name in named]
            self._scaled.apply(scaled, list(named.values()))
            applied = int(self._scaled.iterations) - count
        self._follow(bool(applied))
        if applied > 1:
            self._note(f"one step was counted {applied} times")
        if not applied and self._bits() != before:
            self._note("a skipped step changed parameters or state")
        if float(self._scaled.dynamic_scale) != self._scale:
            self._note(f"the loss scale is {float(self._scaled.dynamic_scale):g} where {self._scale:g} was due")
        return bool(applied)

    def _scaled_gradient(self, array: Array) -> Any:
        """Return a gradient as backpropagation from the scaled loss gives it."""
        with np.errstate(over="ignore"):
            gradient = tf.constant(np.asarray(array, host_dtype(self._dtype)))
        return tf.cast(self._scaled.scale_loss(gradient), gradient.dtype)

    def _follow(self, applied: bool) -> None:
        """Change the scale that is due as `LossScaleOptimizer` documents it."""
        self._since_change = self._since_change + 1 if applied else 0
        if not applied:
            self._scale /= 2.0
        elif self._since_change == GROWTH_STEPS:
            self._scale, self._since_change = 2.0 * self._scale, 0

    def _bits(self) -> list[bytes]:
        """Return the bits of every parameter and of every variable of the optimizer inside."""
        held = [*self._list.variables.values(), *self._scaled.inner_optimizer.variables]
        return [value_of(variable).tobytes() for variable in held]

    def _note(self, what: str) -> None:
        self._tally.wrong = self._tally.wrong or what


def _with_infinity(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the gradients with the first element of the first that has one made infinite."""
    name = next((name for name, array in arrays.items() if np.size(array)), next(iter(arrays)))
    poisoned = np.array(arrays[name])
    poisoned.flat[:1] = np.inf
    return {**arrays, name: poisoned}
