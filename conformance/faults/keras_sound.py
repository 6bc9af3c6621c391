"""Sound Keras optimizers that do not look like Keras's own: other evaluation orders, other update rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...adapters import keras_import

keras: Any = keras_import.keras
"""Taken from the adapter, which sees to the backend before Keras is imported first."""
ops: Any = keras.ops


class _Moments(keras.optimizers.Optimizer):
    """Both moments of every variable; decay is Keras's own, before `update_step`."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "sound",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: Sequence[Any]) -> None:
        """Create the moments."""
        if self.built:
            return
        super().build(variables)
        self._momentums = [self.add_variable_from_reference(variable, "momentum") for variable in variables]
        self._velocities = [self.add_variable_from_reference(variable, "velocity") for variable in variables]


class AdamW(_Moments):
    """AdamW with the moments as interpolations, eps outside, in the variables' own precision."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Apply one update to one variable, which Keras has decayed already."""
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        lr, t = ops.cast(learning_rate, variable.dtype), ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(m, (gradient - m) * (1.0 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1.0 - self.beta_2))
        v_hat = v / (1.0 - self.beta_2**t)
        self.assign_sub(variable, lr / (1.0 - self.beta_1**t) * m / (ops.sqrt(v_hat) + self.epsilon))


class Lion(_Moments):
    """Lion: the sign of an interpolation, decay decoupled."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Apply one update to one variable, which Keras has decayed already."""
        m, lr = self._momentums[self._get_variable_index(variable)], ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, lr * ops.sign(self.beta_1 * m + (1.0 - self.beta_1) * gradient))
        self.assign(m, self.beta_2 * m + (1.0 - self.beta_2) * gradient)
