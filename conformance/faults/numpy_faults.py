"""AdamW, SGDW and a trust ratio in NumPy with a fault on request: objects with `step(params, grads, lr) -> params`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .decays import Rates
from .departures import SMALLEST_LENGTH, departure

Arrays = Mapping[str, NDArray[Any]]
Gradients = Mapping[str, NDArray[Any] | None]


class AdamW:
    """Adam with decoupled weight decay (`departures`), or with `fault` in it.

    A parameter whose gradient is None is left alone, its step count included. Arrays keep their dtype.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        fault: str | None = None,
    ) -> None:
        self.rule = departure(fault)
        self.base_lr, self.weight_decay, self.eps = lr, weight_decay, eps
        self.beta1, self.beta2 = beta1, beta2
        self.m: dict[str, NDArray[Any]] = {}
        self.v: dict[str, NDArray[Any]] = {}
        self.t: dict[str, int] = {}
        self.last_rate: dict[str, float] = {}

    def step(self, params: Arrays, grads: Gradients, lr: float) -> dict[str, NDArray[Any]]:
        """Return the new parameters; the arrays given are not changed."""
        rule, updated = self.rule, dict(params)
        beta1, beta2 = rule.betas(self.beta1, self.beta2)
        for name, grad in grads.items():
            if grad is None:
                continue
            theta = params[name]
            g = rule.gradient(grad, theta, self.weight_decay)
            m = beta1 * self.m.get(name, np.zeros_like(theta)) + (1.0 - beta1) * g
            v = beta2 * self.v.get(name, np.zeros_like(theta)) + (1.0 - beta2) * g * g
            t = self.t.get(name, 0) + 1
            c1, c2 = rule.corrections(beta1, beta2, t)
            with np.errstate(invalid="ignore", divide="ignore"):
                update = lr * (m / c1) / rule.denominator(v, c2, self.eps, np.sqrt)
            rates = Rates(lr, self.base_lr, self.last_rate.get(name, lr), self.weight_decay)
            updated[name] = rule.decay(theta, -update if rule.ascent else update, rule.coefficient(rates))
            self.m[name], self.v[name], self.t[name], self.last_rate[name] = m, v, t, lr
        return updated


class SGDW:
    """SGD with momentum and decoupled weight decay (`departures`), or with `fault` in it.

    The learning rate is outside the buffer. A parameter whose gradient is None is left alone.
    """

    def __init__(
        self, lr: float = 1e-2, weight_decay: float = 1e-2, momentum: float = 0.9, fault: str | None = None
    ) -> None:
        self.rule = departure(fault)
        self.base_lr, self.weight_decay, self.momentum = lr, weight_decay, momentum
        self.momentum_buffer: dict[str, NDArray[Any]] = {}
        self.last_rate: dict[str, float] = {}

    def step(self, params: Arrays, grads: Gradients, lr: float) -> dict[str, NDArray[Any]]:
        """Return the new parameters; the arrays given are not changed."""
        rule, updated = self.rule, dict(params)
        for name, grad in grads.items():
            if grad is None:
                continue
            theta = params[name]
            direction = self.direction(rule.gradient(grad, theta, self.weight_decay))
            g = rule.entering(direction, theta, self.weight_decay)
            buffer = self.momentum * self.momentum_buffer.get(name, np.zeros_like(theta))
            buffer = buffer + (lr * g if rule.lr_inside else g)
            update = buffer if rule.lr_inside else lr * self.trust(theta) * buffer
            rates = Rates(lr, self.base_lr, self.last_rate.get(name, lr), self.weight_decay)
            updated[name] = rule.decay(theta, -update if rule.ascent else update, rule.coefficient(rates))
            self.momentum_buffer[name], self.last_rate[name] = buffer, lr
        return updated

    def direction(self, grad: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient as it is."""
        return grad

    def trust(self, theta: NDArray[Any]) -> float:
        """Return 1: steps do not depend on the parameters."""
        return 1.0


class TrustSGDW(SGDW):
    """SGDW on normalised gradients with a capped trust ratio (`departures`), or with `fault` in it."""

    def direction(self, grad: NDArray[Any]) -> NDArray[Any]:
        """Return g / |g|."""
        return np.asarray(grad / (np.linalg.norm(grad) + SMALLEST_LENGTH))

    def trust(self, theta: NDArray[Any]) -> float:
        """Return min(|theta|, 1)."""
        return min(float(np.linalg.norm(theta)), 1.0)
