"""The rules of the collection in NumPy, with a fault on request: objects with `step(params, grads, lr) -> params`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import update_rules
from .decays import Rates
from .departures import departure
from .update_rules import Operations, Step, UpdateRule, advance

Arrays = Mapping[str, NDArray[Any]]
Gradients = Mapping[str, NDArray[Any] | None]

OPERATIONS = Operations(np.sqrt, np.sign, np.linalg.norm)
_SLOTS = {"m": "m", "v": "v", "momentum": "momentum_buffer"}
"""Slot of a rule -> attribute that holds it, by parameter name."""


class _Ruled:
    """Steps every parameter that has a gradient by `rule`; all others are left alone, their step count included.

    Arrays keep their dtype. Parameters in `undecayed` have no decay.
    """

    rule: ClassVar[UpdateRule]

    def __init__(
        self, lr: float, weight_decay: float, fault: str | None, undecayed: Sequence[str], **options: float
    ) -> None:
        self.departure = departure(fault)
        self.base_lr = lr
        self.weight_decay = self.base_weight_decay = weight_decay
        self.undecayed = undecayed
        self.options = options
        for slot in self.rule.slots:
            setattr(self, _SLOTS[slot], {})
        self.t: dict[str, int] = {}
        self.last_rate: dict[str, float] = {}

    def step(self, params: Arrays, grads: Gradients, lr: float) -> dict[str, NDArray[Any]]:
        """Return the new parameters; the arrays given are not changed, unless that is the fault."""
        updated = dict(params)
        for name, theta in params.items():
            grad = grads[name]
            if grad is None and self.departure.missing_as_zero:
                grad = np.zeros_like(theta)
            if grad is None:
                continue
            held = {slot: getattr(self, _SLOTS[slot]) for slot in self.rule.slots}
            state = {slot: values.get(name, np.zeros_like(theta)) for slot, values in held.items()}
            t = self.t.get(name, 0) + 1
            step = Step(theta, grad, state, t, self._rates(name, lr), self.options)
            with np.errstate(invalid="ignore", divide="ignore"):
                updated[name], new = advance(self.rule, self.departure, OPERATIONS, step)
            for slot, values in held.items():
                values[name] = new[slot]
            self.t[name], self.last_rate[name] = t, lr
            if self.departure.reuses_gradient:
                grad *= 0.5
        return updated

    def _rates(self, name: str, lr: float) -> Rates:
        decayed = float(name not in self.undecayed)
        return Rates(
            lr,
            self.base_lr,
            self.last_rate.get(name, lr),
            decayed * self.weight_decay,
            decayed * self.base_weight_decay,
            self.weight_decay,
        )


class AdamW(_Ruled):
    """Adam with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.ADAM

    def __init__(
        self,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        fault: str | None = None,
        undecayed: Sequence[str] = (),
    ) -> None:
        super().__init__(lr, weight_decay, fault, undecayed, beta1=beta1, beta2=beta2, eps=eps)


class SGDW(_Ruled):
    """SGD with momentum and decoupled weight decay, or with `fault` in it; the learning rate is outside the buffer."""

    rule = update_rules.SGD

    def __init__(
        self,
        lr: float = 1e-2,
        weight_decay: float = 1e-2,
        momentum: float = 0.9,
        fault: str | None = None,
        undecayed: Sequence[str] = (),
    ) -> None:
        super().__init__(lr, weight_decay, fault, undecayed, momentum=momentum)


class Lion(_Ruled):
    """Lion with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.LION

    def __init__(
        self,
        lr: float = 1e-4,
        weight_decay: float = 1e-2,
        beta1: float = 0.9,
        beta2: float = 0.99,
        fault: str | None = None,
        undecayed: Sequence[str] = (),
    ) -> None:
        super().__init__(lr, weight_decay, fault, undecayed, beta1=beta1, beta2=beta2)


class RMSprop(_Ruled):
    """RMSprop with decoupled weight decay, or with `fault` in it."""

    rule = update_rules.RMSPROP

    def __init__(
        self,
        lr: float = 1e-2,
        weight_decay: float = 1e-2,
        rho: float = 0.99,
        eps: float = 1e-8,
        fault: str | None = None,
        undecayed: Sequence[str] = (),
    ) -> None:
        super().__init__(lr, weight_decay, fault, undecayed, rho=rho, eps=eps)


class TrustSGDW(SGDW):
    """SGDW on normalised gradients with a damped trust ratio, or with `fault` in it."""

    rule = update_rules.TRUST
