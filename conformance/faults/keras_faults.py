"""AdamW, SGDW and a trust ratio for Keras with a fault on request: subclasses of `keras.optimizers.Optimizer`.

Decay is applied in `update_step`, where every fault can reach it, and not by Keras's own
`_apply_weight_decay`. Only the learning rate is held in float32, by Keras itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...adapters import keras_tf
from .decays import Rates
from .departures import SMALLEST_LENGTH, departure

keras: Any = keras_tf.keras
"""Taken from the adapter, which sees to the backend before Keras is imported first."""
ops: Any = keras.ops


class _Decaying(keras.optimizers.Optimizer):
    """What both share: the learning rates that a decay may be computed from."""

    def __init__(self, learning_rate: Any, weight_decay: float, fault: str | None, name: str, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self.rule = departure(fault)
        self.base_lr = learning_rate

    def build(self, variables: Sequence[Any]) -> None:
        """Create the variable that holds the learning rate of the step before."""
        if self.built:
            return
        super().build(variables)
        self._last_rate = self.add_variable((), keras.initializers.Constant(self.base_lr), name="last_rate")

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Apply one update and remember its learning rate."""
        super().apply(grads, trainable_variables)
        self._last_rate.assign(self.learning_rate)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Leave decay to `update_step`."""

    def _decayed(self, variable: Any, update: Any, lr: Any) -> None:
        """Assign theta_t from theta_{t-1}, the step without decay and the learning rate of the step."""
        last = ops.cast(self._last_rate, variable.dtype)
        theta = ops.convert_to_tensor(variable)
        coefficient = self.rule.coefficient(Rates(lr, self.base_lr, last, self.weight_decay))
        self.assign(variable, self.rule.decay(theta, -update if self.rule.ascent else update, coefficient))


class AdamW(_Decaying):
    """Adam with decoupled weight decay (`departures`), or with `fault` in it; the step count is shared."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        fault: str | None = None,
        name: str = "adamw",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, fault, name, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: Sequence[Any]) -> None:
        """Create both moments of every variable."""
        if self.built:
            return
        super().build(variables)
        self._momentums = [self.add_variable_from_reference(variable, "momentum") for variable in variables]
        self._velocities = [self.add_variable_from_reference(variable, "velocity") for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Apply one update to one variable."""
        rule, index, dtype = self.rule, self._get_variable_index(variable), variable.dtype
        lr, t = ops.cast(learning_rate, dtype), ops.cast(self.iterations + 1, dtype)
        m, v = self._momentums[index], self._velocities[index]
        beta1, beta2 = rule.betas(self.beta_1, self.beta_2)
        g = rule.gradient(gradient, ops.convert_to_tensor(variable), self.weight_decay)
        self.assign(m, beta1 * m + (1.0 - beta1) * g)
        self.assign(v, beta2 * v + (1.0 - beta2) * ops.square(g))
        c1, c2 = rule.corrections(beta1, beta2, t)
        denominator = rule.denominator(ops.convert_to_tensor(v), c2, self.epsilon, ops.sqrt)
        self._decayed(variable, lr * (m / c1) / denominator, lr)


class SGDW(_Decaying):
    """SGD with momentum and decoupled weight decay (`departures`), or with `fault` in it; rate outside the buffer."""

    def __init__(
        self,
        learning_rate: Any = 0.01,
        weight_decay: float = 0.004,
        momentum: float = 0.9,
        fault: str | None = None,
        name: str = "sgdw",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, fault, name, **kwargs)
        self.momentum = momentum

    def build(self, variables: Sequence[Any]) -> None:
        """Create the momentum buffer of every variable."""
        if self.built:
            return
        super().build(variables)
        self._momentums = [self.add_variable_from_reference(variable, "momentum") for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Apply one update to one variable."""
        rule, buffer = self.rule, self._momentums[self._get_variable_index(variable)]
        lr = ops.cast(learning_rate, variable.dtype)
        theta = ops.convert_to_tensor(variable)
        direction = self.direction(rule.gradient(gradient, theta, self.weight_decay))
        g = rule.entering(direction, theta, self.weight_decay)
        self.assign(buffer, self.momentum * buffer + (lr * g if rule.lr_inside else g))
        update = ops.convert_to_tensor(buffer) if rule.lr_inside else lr * self.trust(theta) * buffer
        self._decayed(variable, update, lr)

    def direction(self, gradient: Any) -> Any:
        """Return the gradient as it is."""
        return gradient

    def trust(self, theta: Any) -> Any:
        """Return 1: steps do not depend on the variables."""
        return 1.0


class TrustSGDW(SGDW):
    """SGDW on normalised gradients with a capped trust ratio (`departures`), or with `fault` in it."""

    def direction(self, gradient: Any) -> Any:
        """Return g / |g|."""
        return gradient / (_length(gradient) + SMALLEST_LENGTH)

    def trust(self, theta: Any) -> Any:
        """Return min(|theta|, 1)."""
        return ops.minimum(_length(theta), 1.0)


def _length(tensor: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(tensor)))
