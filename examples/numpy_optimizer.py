"""A hand-written NumPy optimizer: any object with `step(params, grads, lr) -> params` can be audited.

optconform audit examples/numpy_optimizer.py:RMSpropW
"""

from __future__ import annotations

import numpy as np


class RMSpropW:
    """RMSprop with decoupled decay: v <- rho*v + (1 - rho)*g*g; theta <- (1 - lr*wd)*theta - lr*g/(sqrt(v) + eps)."""

    def __init__(self, weight_decay=1e-2, rho=0.99, eps=1e-8):
        """Take the hyperparameters; the learning rate comes with every step."""
        self.weight_decay, self.rho, self.eps = weight_decay, rho, eps
        self.v = {}

    def step(self, params, grads, lr):
        """Return the new parameters; a missing gradient leaves its parameter as it is."""
        updated = dict(params)
        for name, grad in grads.items():
            if grad is None:
                continue
            self.v[name] = self.rho * self.v.get(name, 0.0) + (1 - self.rho) * grad * grad
            shrunk = (1 - lr * self.weight_decay) * params[name]
            updated[name] = shrunk - lr * grad / (np.sqrt(self.v[name]) + self.eps)
        return updated
