"""One Keras optimizer over its own variables, on the JAX or the PyTorch backend: what it holds, and its plain step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .arrays import chosen, host_copies, host_dtype, present
from .errors import BuildFailed, StepFailed, foreign_code
from .execution import Opening
from .keras_construct import arguments_of, constructed, variable_names
from .keras_slots import slots_of
from .options import held_values
from .protocol import Array, Cast, Gradients, MissingGradient
from .text import escape_control

Entered = Callable[[], AbstractContextManager[Any]]
"""What has arrays created on one device, and in 64 bits where the parameters have them."""


class KerasBuilt:
    """A target's optimizer, built over Keras variables that hold copies of the parameters: a `Trajectory`.

    A parameter without a gradient is left out of a step, as `Optimizer.apply` itself leaves it out; the iteration
    count is the optimizer's and moves. With no gradient at all nothing moves.

    Raises `UnknownOption` and `BuildFailed` as `Adapter.build` does.
    """

    missing_gradient = MissingGradient.SKIPPED_SHARED_COUNT
    computes_in: str | None = None

    def __init__(
        self,
        keras: Any,
        opening: Opening,
        *,
        entered: Entered,
    ) -> None:
        target, dtype = opening.target, opening.dtype
        self._keras, self._dtype, self.entered = keras, dtype, entered
        self._spec = escape_control(target.spec)
        arguments = arguments_of(target, opening.hyperparameters)
        copies = host_copies(opening.parameters, dtype)
        names = variable_names(copies)
        with entered():
            self.optimizer = constructed(target, arguments)
            with foreign_code(BuildFailed, f"{self._spec}: creating its parameters"):
                self.variables = {
                    name: keras.Variable(array, dtype=dtype, name=names[name]) for name, array in copies.items()
                }
            with foreign_code(BuildFailed, f"{self._spec}: build()"):
                self.optimizer.build(list(self.variables.values()))
            held = held_values(target, arguments, self.optimizer)
            self.held = {name: self._plain(value) for name, value in held.items() if name != "name"}
        self.shapes = {name: np.shape(array) for name, array in copies.items()}
        rate = getattr(self.optimizer, "_learning_rate", None)
        rate_dtype = str(rate.dtype) if isinstance(rate, keras.Variable) else "float32"
        self.casts = (Cast("lr", rate_dtype),) if dtype == "float64" and rate_dtype != dtype else ()
        # Keras casts beta and the iteration to the variables' dtype before it takes the power.
        self.scalars_in = dtype if dtype in ("float16", "bfloat16") else None

    def tensors(self, gradients: Gradients) -> dict[str, Any]:
        """Return the gradients that are there, in the parameters' dtype and on their device.

        Raises `ValueError` and `NotSupported` as `arrays.present` does.
        """
        with np.errstate(over="ignore"):
            arrays = {
                name: np.asarray(array, host_dtype(self._dtype))
                for name, array in present(gradients, self.shapes).items()
            }
        with self.entered():
            return {name: self._keras.ops.convert_to_tensor(array, dtype=self._dtype) for name, array in arrays.items()}

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update by `Optimizer.apply`. Raises `StepFailed` where it raises."""
        there = self.tensors(gradients)
        if there:
            with self.reporting("apply()"), self.entered():
                self.optimizer.learning_rate = lr
                self.optimizer.apply(list(there.values()), [self.variables[name] for name in there])

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named)."""
        return {name: self._value(self.variables[name]) for name in chosen(names, self.shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of the state, under the names of `keras_slots.slots_of`."""
        return {
            slot: {name: self._value(variable) for name, variable in variables.items()}
            for slot, variables in slots_of(self.optimizer, self.variables).items()
        }

    def misplaced(self, holds: Callable[[Any], bool]) -> list[str]:
        """Return the names of parameters and state whose tensor is not one that `holds` says is in place.

        The step count and the learning rate are left out: Keras keeps such scalars where it wants.
        """
        found = dict(self.variables)
        for slot, variables in slots_of(self.optimizer, self.variables).items():
            found |= {f"{slot} of {name}": variable for name, variable in variables.items()}
        return [name for name, variable in found.items() if not holds(variable.value)]

    def reporting(self, doing: str) -> AbstractContextManager[None]:
        """Raise `StepFailed` for whatever the optimizer raises."""
        return foreign_code(StepFailed, f"{self._spec}: {doing}")

    def _value(self, variable: Any) -> Array:
        with self.entered():
            return np.array(self._keras.ops.convert_to_numpy(variable.value))

    def _plain(self, value: Any) -> Any:
        """Return a scalar variable as the number it holds, all else as it is."""
        is_scalar = isinstance(value, self._keras.Variable) and tuple(value.shape) == ()
        return self._value(value).item() if is_scalar else value
