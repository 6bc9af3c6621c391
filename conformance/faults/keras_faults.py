"""The rules of the collection for Keras, with a fault on request: subclasses of `keras.optimizers.Optimizer`.

Decay is applied in `update_step`, where every fault can reach it, and not by Keras's own
`_apply_weight_decay`. Only the learning rate is held in float32, by Keras itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ...adapters import keras_import
from . import update_rules
from .decays import Rates
from .departures import departure
from .update_rules import Operations, Step, UpdateRule, advance

keras: Any = keras_import.keras
"""Taken from the adapter, which sees to the backend before Keras is imported first."""
ops: Any = keras.ops

OPERATIONS = Operations(ops.sqrt, ops.sign, lambda tensor: ops.sqrt(ops.sum(ops.square(tensor))))
_SLOTS = {"m": "_momentums", "v": "_velocities", "momentum": "_momentums"}
"""Slot of a rule -> attribute that lists its variables."""


class _Ruled(keras.optimizers.Optimizer):
    """Steps every variable by `rule`; the step count is shared."""

    rule: ClassVar[UpdateRule]

    def __init__(
        self, learning_rate: Any, weight_decay: float, fault: str | None, options: dict[str, float], **kwargs: Any
    ) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        self.departure = departure(fault)
        self.base_lr, self.base_weight_decay = learning_rate, weight_decay
        self.options = options
        self.count = 0
        """Steps taken, where the departure counts them here and not in a variable."""

    def build(self, variables: Sequence[Any]) -> None:
        """Create the rule's slots, and the variable that holds the learning rate of the step before."""
        if self.built:
            return
        super().build(variables)
        self._last_rate = self.add_variable((), keras.initializers.Constant(self.base_lr), name="last_rate")
        for slot in self.rule.slots:
            name = "velocity" if slot == "v" else "momentum"
            created = [self.add_variable_from_reference(variable, name) for variable in variables]
            setattr(self, _SLOTS[slot], created)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Apply one update, or accumulate one micro-step, and remember its learning rate."""
        if self.departure.decay_by_micro_step:
            for variable in trainable_variables:
                lr = ops.cast(self.learning_rate, variable.dtype)
                self.assign_sub(variable, lr * self.weight_decay * variable)
        self.count += 1
        super().apply(grads, trainable_variables)
        self._last_rate.assign(self.learning_rate)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Apply one update to one variable."""
        dtype, index = variable.dtype, self._get_variable_index(variable)
        slots = {slot: getattr(self, _SLOTS[slot])[index] for slot in self.rule.slots}
        lr, last = ops.cast(learning_rate, dtype), ops.cast(self._last_rate, dtype)
        decays = 0.0 if self.departure.decay_by_micro_step else float(self._use_weight_decay(variable))
        step = Step(
            ops.convert_to_tensor(variable),
            gradient,
            {slot: ops.convert_to_tensor(held) for slot, held in slots.items()},
            self.count if self.departure.unsaved else ops.cast(self.iterations + 1, dtype),
            Rates(
                lr,
                self.base_lr,
                last,
                decays * self.weight_decay,
                decays * self.base_weight_decay,
                self.weight_decay,
            ),
            self.options,
        )
        theta, state = advance(self.rule, self.departure, OPERATIONS, step)
        for slot, held in slots.items():
            self.assign(held, state[slot])
        self.assign(variable, theta)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Leave decay to `update_step`."""


class AdamW(_Ruled):
    """Adam with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.ADAM

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        fault: str | None = None,
        **kwargs: Any,
    ) -> None:
        options = {"beta1": beta_1, "beta2": beta_2, "eps": epsilon}
        super().__init__(learning_rate, weight_decay, fault, options, **kwargs)


class SGDW(_Ruled):
    """SGD with momentum and decoupled weight decay, or with `fault` in it; the learning rate is outside the buffer."""

    rule = update_rules.SGD

    def __init__(
        self,
        learning_rate: Any = 0.01,
        weight_decay: float = 0.004,
        momentum: float = 0.9,
        fault: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, fault, {"momentum": momentum}, **kwargs)


class Lion(_Ruled):
    """Lion with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.LION

    def __init__(
        self,
        learning_rate: Any = 0.0001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        fault: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, fault, {"beta1": beta_1, "beta2": beta_2}, **kwargs)


class RMSprop(_Ruled):
    """RMSprop with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.RMSPROP

    def __init__(
        self,
        learning_rate: Any = 0.01,
        weight_decay: float = 0.004,
        rho: float = 0.9,
        epsilon: float = 1e-7,
        fault: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, fault, {"rho": rho, "eps": epsilon}, **kwargs)


class TrustSGDW(SGDW):
    """SGDW on normalised gradients with a damped trust ratio, or with `fault` in it."""

    rule = update_rules.TRUST
