"""AdamW and SGDW in plain NumPy, as a user would write them: targets to be examined.

They share no code with the reference and compute in another order than it does, on purpose: what the
tool says of them must follow from their numbers alone. Both take and return dictionaries of arrays,
leave a parameter whose gradient is None alone, and apply decay with law lr * weight_decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Gradients = Mapping[str, NDArray[Any] | None]


class AdamW:
    """Adam with decoupled weight decay, moments in interpolation form.

        m <- m + (1 - beta1)*(g - m)
        v <- v + (1 - beta2)*(g*g - v)
        theta <- theta - lr*(m/(1 - beta1**t) / (sqrt(v)/sqrt(1 - beta2**t) + eps) + weight_decay*theta)

    `t` counts the steps in which the parameter had a gradient. Arrays keep the dtype of the parameters;
    bfloat16 ones are stored so, but NumPy computes with them and a Python float in float32.
    """

    def __init__(self, weight_decay: float = 1e-2, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.weight_decay = weight_decay
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.m: dict[str, NDArray[Any]] = {}
        self.v: dict[str, NDArray[Any]] = {}
        self.t: dict[str, int] = {}

    def step(self, params: Arrays, grads: Gradients, lr: float) -> dict[str, NDArray[Any]]:
        """Return the new parameters; the arrays given are not changed."""
        updated = dict(params)
        for name, grad in grads.items():
            if grad is None:
                continue
            theta = params[name]
            m = self.m.get(name, np.zeros_like(theta))
            v = self.v.get(name, np.zeros_like(theta))
            t = self.t.get(name, 0) + 1
            m = m + (1 - self.beta1) * (grad - m)
            v = v + (1 - self.beta2) * (grad * grad - v)
            m_hat = m / (1 - self.beta1**t)
            root = np.sqrt(v) / float(np.sqrt(1 - self.beta2**t))
            updated[name] = _stored(theta - lr * (m_hat / (root + self.eps) + self.weight_decay * theta), theta)
            self.m[name], self.v[name], self.t[name] = _stored(m, theta), _stored(v, theta), t
        return updated


class SGDW:
    """SGD with momentum and decoupled weight decay, the learning rate outside the buffer.

        b <- momentum*b + g      (the first step leaves b = g)
        theta <- theta - lr*b - lr*weight_decay*theta

    Arrays keep the dtype of the parameters, as in `AdamW`.
    """

    def __init__(self, weight_decay: float = 1e-2, momentum: float = 0.9) -> None:
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.momentum_buffer: dict[str, NDArray[Any]] = {}

    def step(self, params: Arrays, grads: Gradients, lr: float) -> dict[str, NDArray[Any]]:
        """Return the new parameters; the arrays given are not changed."""
        updated = dict(params)
        for name, grad in grads.items():
            if grad is None:
                continue
            theta = params[name]
            buffer = self.momentum_buffer.get(name)
            buffer = grad if buffer is None else self.momentum * buffer + grad
            updated[name] = _stored(theta - lr * buffer - (lr * self.weight_decay) * theta, theta)
            self.momentum_buffer[name] = _stored(buffer, theta)
        return updated


def _stored(value: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    return value.astype(like.dtype, copy=False)
