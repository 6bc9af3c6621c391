"""Sound NumPy optimizers that do not look like the reference: other evaluation orders, other update rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = Any
"""A NumPy array of floating-point numbers; arithmetic on arrays of open dtype is untyped in any case."""
State = dict[str, Any]


class PerParameter:
    """Walks through the parameters that have a gradient, and keeps a dictionary of state for each.

    A subclass says in `stepped` what happens to one parameter; new state starts as zeros.
    """

    def __init__(
        self,
        lr: float = 1e-2,
        weight_decay: float = 1e-2,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self.base_lr, self.weight_decay = lr, weight_decay
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.state: dict[str, State] = {}

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array | None], lr: float) -> dict[str, Array]:
        """Return the new parameters; the arrays given are not changed."""
        updated = dict(params)
        for name, grad in grads.items():
            if grad is not None:
                zeros = np.zeros_like(grad)
                state = self.state.setdefault(name, {"t": 0, "m": zeros, "v": zeros})
                state["t"] += 1
                updated[name] = self.stepped(params[name], grad, state, lr)
        return updated

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t, and bring `state` up to date."""
        raise NotImplementedError

    def moments(self, grad: Array, state: State) -> tuple[Array, Array]:
        """Return m and v after `grad` entered them."""
        state["m"] = self.beta1 * state["m"] + (1.0 - self.beta1) * grad
        state["v"] = self.beta2 * state["v"] + (1.0 - self.beta2) * grad**2
        return state["m"], state["v"]


class AdamWInPlace(PerParameter):
    """AdamW with every operation in place, the decay multiplied in first."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta * (1 - lr*wd) - lr * mhat / (sqrt(vhat) + eps), evaluated in that order."""
        m, v = state["m"].copy(), state["v"].copy()
        m *= self.beta1
        m += (1.0 - self.beta1) * grad
        v *= self.beta2
        v += (1.0 - self.beta2) * grad * grad
        state["m"], state["v"] = m, v
        denominator, result = v.copy(), m.copy()
        denominator /= 1.0 - self.beta2 ** state["t"]
        np.sqrt(denominator, out=denominator)
        denominator += self.eps
        result /= 1.0 - self.beta1 ** state["t"]
        result /= denominator
        result *= -lr
        result += theta * (1.0 - lr * self.weight_decay)
        return result


class AdamWInterpolated(PerParameter):
    """AdamW with the moments as interpolations, m + (1 - beta1)*(g - m)."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t; the decay is subtracted last, of the parameters before the step."""
        state["m"] = state["m"] + (1.0 - self.beta1) * (grad - state["m"])
        state["v"] = state["v"] + (1.0 - self.beta2) * (np.square(grad) - state["v"])
        m_hat = state["m"] / (1.0 - self.beta1 ** state["t"])
        v_hat = state["v"] / (1.0 - self.beta2 ** state["t"])
        return theta - lr * m_hat / (np.sqrt(v_hat) + self.eps) - lr * (self.weight_decay * theta)


class AdamWFolded(PerParameter):
    """AdamW with both corrections folded into scalars: lr / c1 and sqrt(c2)."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t."""
        m, v = self.moments(grad, state)
        size = lr / (1.0 - self.beta1 ** state["t"])
        denominator = np.sqrt(v) / math.sqrt(1.0 - self.beta2 ** state["t"]) + self.eps
        return theta * (1.0 - lr * self.weight_decay) - size * (m / denominator)


class AdamWScaledEpsilon(PerParameter):
    """AdamW with the correction folded into the learning rate, and eps scaled so that it stays outside."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t with lr*sqrt(c2)/c1 * m / (sqrt(v) + eps*sqrt(c2))."""
        m, v = self.moments(grad, state)
        root = math.sqrt(1.0 - self.beta2 ** state["t"])
        size = lr * root / (1.0 - self.beta1 ** state["t"])
        return theta - (size * m / (np.sqrt(v) + self.eps * root) + lr * self.weight_decay * theta)


class AdamWHat(PerParameter):
    """AdamW with the correction folded into the learning rate alone: eps-hat."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t with lr*sqrt(c2)/c1 * m / (sqrt(v) + eps)."""
        m, v = self.moments(grad, state)
        size = lr * math.sqrt(1.0 - self.beta2 ** state["t"]) / (1.0 - self.beta1 ** state["t"])
        return theta - size * m / (np.sqrt(v) + self.eps) - lr * self.weight_decay * theta


class AdamWRunningPowers(PerParameter):
    """AdamW with beta**t as a running product."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t."""
        m, v = self.moments(grad, state)
        state["p1"] = state.get("p1", 1.0) * self.beta1
        state["p2"] = state.get("p2", 1.0) * self.beta2
        update = (m / (1.0 - state["p1"])) / (np.sqrt(v / (1.0 - state["p2"])) + self.eps)
        return theta - lr * (update + self.weight_decay * theta)


class AdamWPaper(PerParameter):
    """AdamW by the paper: decay follows the schedule multiplier, not the learning rate."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta - eta * (alpha*mhat/(sqrt(vhat) + eps) + wd*theta)."""
        m, v = self.moments(grad, state)
        m_hat, v_hat = m / (1.0 - self.beta1 ** state["t"]), v / (1.0 - self.beta2 ** state["t"])
        direction = self.base_lr * m_hat / (np.sqrt(v_hat) + self.eps)
        return theta - (lr / self.base_lr) * (direction + self.weight_decay * theta)


class AdaBelief(PerParameter):
    """AdaBelief with decoupled decay: v averages (g - m)**2."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t."""
        m, _ = self.moments(grad, state)
        belief = state.get("belief", np.zeros_like(grad))
        state["belief"] = self.beta2 * belief + (1.0 - self.beta2) * (grad - m) ** 2 + self.eps
        m_hat = m / (1.0 - self.beta1 ** state["t"])
        root = np.sqrt(state["belief"] / (1.0 - self.beta2 ** state["t"]))
        return theta * (1.0 - lr * self.weight_decay) - lr * m_hat / (root + self.eps)


class Lion(PerParameter):
    """Lion: the sign of an interpolation, decay decoupled."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t."""
        direction = np.sign(self.beta1 * state["m"] + (1.0 - self.beta1) * grad)
        state["m"] = self.beta2 * state["m"] + (1.0 - self.beta2) * grad
        return theta - lr * (direction + self.weight_decay * theta)


class RMSpropL2(PerParameter):
    """RMSprop with L2."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta - lr * g / (sqrt(v) + eps), g with weight_decay*theta in it."""
        regularised = grad + self.weight_decay * theta
        _, v = self.moments(regularised, state)
        return theta - lr * regularised / (np.sqrt(v) + self.eps)


class AdagradDecoupled(PerParameter):
    """Adagrad with decoupled decay."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta_t; v is a sum."""
        state["v"] = state["v"] + grad * grad
        return theta - lr * self.weight_decay * theta - lr * grad / (np.sqrt(state["v"]) + self.eps)


class TrustRatioPostponed(PerParameter):
    """A step scaled by |theta| over its own length, decay outside of the scaling."""

    def stepped(self, theta: Array, grad: Array, state: State, lr: float) -> Array:
        """Return theta - lr * (|theta|/|m| * m + wd*theta): the step reads the parameters, the decay is sound."""
        m, _ = self.moments(grad, state)
        trust = np.linalg.norm(theta) / (np.linalg.norm(m) + self.eps)
        return theta - lr * (trust * m + self.weight_decay * theta)


class SGDWVelocity:
    """SGDW with a velocity, the learning rate inside: q <- momentum*q - lr*g; theta <- theta + q - lr*wd*theta."""

    def __init__(self, weight_decay: float = 1e-2, momentum: float = 0.9, nesterov: bool = False) -> None:
        self.weight_decay, self.momentum, self.nesterov = weight_decay, momentum, nesterov
        self.velocity: dict[str, Array] = {}

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array | None], lr: float) -> dict[str, Array]:
        """Return the new parameters; the arrays given are not changed."""
        updated = dict(params)
        for name, grad in grads.items():
            if grad is not None:
                theta = params[name]
                velocity = self.momentum * self.velocity.get(name, np.zeros_like(theta)) - lr * grad
                self.velocity[name] = velocity
                moved = self.momentum * velocity - lr * grad if self.nesterov else velocity
                updated[name] = theta * (1.0 - lr * self.weight_decay) + moved
        return updated
