"""AdamW, SGDW and a trust ratio for Optax with a fault on request: factories of gradient transformations.

The parameters are needed to decay them, so `update` wants `params`. `learning_rate` is a number or a
schedule; the rate that a transformation "was built with" is that of its schedule at step 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .decays import Rates
from .departures import SMALLEST_LENGTH, departure


class AdamWState(NamedTuple):
    """Steps taken, both moments, and the learning rate of the step before."""

    count: Any
    mu: Any
    nu: Any
    last_rate: Any


class SGDWState(NamedTuple):
    """Steps taken, the momentum buffer, and the learning rate of the step before."""

    count: Any
    trace: Any
    last_rate: Any


def adamw(
    learning_rate: Any,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    fault: str | None = None,
) -> Any:
    """Return Adam with decoupled weight decay (`departures`), or with `fault` in it."""
    rule, rate = departure(fault), _schedule(learning_rate)
    base_lr = rate(0)
    beta1, beta2 = rule.betas(b1, b2)

    def init(params: Any) -> AdamWState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamWState(jnp.zeros([], jnp.int32), zeros, zeros, jnp.zeros([]))

    def update(updates: Any, state: AdamWState, params: Any) -> tuple[Any, AdamWState]:
        lr, t = rate(state.count), state.count + 1
        grads = jax.tree.map(lambda g, theta: rule.gradient(g, theta, weight_decay), updates, params)
        mu = jax.tree.map(lambda m, g: beta1 * m + (1.0 - beta1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: beta2 * v + (1.0 - beta2) * jnp.square(g), state.nu, grads)
        c1, c2 = rule.corrections(beta1, beta2, t)
        step = jax.tree.map(lambda m, v: lr * (m / c1) / rule.denominator(v, c2, eps, jnp.sqrt), mu, nu)
        rates = Rates(lr, base_lr, _last(state, lr), weight_decay)
        return _decayed(rule, params, step, rates), AdamWState(t, mu, nu, jnp.asarray(lr))

    return optax.GradientTransformation(init, update)


def sgdw(
    learning_rate: Any,
    momentum: float = 0.9,
    weight_decay: float = 1e-2,
    fault: str | None = None,
) -> Any:
    """Return SGD with momentum and decoupled weight decay (`departures`), or with `fault` in it."""
    return _sgdw(learning_rate, momentum, weight_decay, fault, lambda grad: grad, lambda theta: 1.0)


def trust_sgdw(
    learning_rate: Any,
    momentum: float = 0.9,
    weight_decay: float = 1e-2,
    fault: str | None = None,
) -> Any:
    """Return SGDW on normalised gradients with a capped trust ratio (`departures`), or with `fault` in it."""

    def direction(grad: Any) -> Any:
        return grad / (_length(grad) + SMALLEST_LENGTH)

    def trust(theta: Any) -> Any:
        return jnp.minimum(_length(theta), 1.0)

    return _sgdw(learning_rate, momentum, weight_decay, fault, direction, trust)


def _sgdw(
    learning_rate: Any, momentum: float, weight_decay: float, fault: str | None, direction: Any, trust: Any
) -> Any:
    rule, rate = departure(fault), _schedule(learning_rate)
    base_lr = rate(0)

    def init(params: Any) -> SGDWState:
        return SGDWState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params), jnp.zeros([]))

    def entering(grad: Any, theta: Any) -> Any:
        return rule.entering(direction(rule.gradient(grad, theta, weight_decay)), theta, weight_decay)

    def update(updates: Any, state: SGDWState, params: Any) -> tuple[Any, SGDWState]:
        lr = rate(state.count)
        into, out_of = (lr, 1.0) if rule.lr_inside else (1.0, lr)
        grads = jax.tree.map(entering, updates, params)
        trace = jax.tree.map(lambda b, g: momentum * b + into * g, state.trace, grads)
        step = jax.tree.map(lambda b, theta: out_of * trust(theta) * b, trace, params)
        rates = Rates(lr, base_lr, _last(state, lr), weight_decay)
        return _decayed(rule, params, step, rates), SGDWState(state.count + 1, trace, jnp.asarray(lr))

    return optax.GradientTransformation(init, update)


def _length(tensor: Any) -> Any:
    return jnp.sqrt(jnp.sum(jnp.square(tensor)))


def _schedule(learning_rate: Any) -> Any:
    """Return a callable of the step count, whichever of the two was given."""
    return learning_rate if callable(learning_rate) else lambda count: learning_rate


def _last(state: AdamWState | SGDWState, lr: Any) -> Any:
    """Return the learning rate of the step before, in the first step its own."""
    return jnp.where(state.count == 0, lr, state.last_rate)


def _decayed(rule: Any, params: Any, step: Any, rates: Rates) -> Any:
    """Return what is to be added to the parameters: theta_t - theta_{t-1}."""
    sign, coefficient = -1.0 if rule.ascent else 1.0, rule.coefficient(rates)
    return jax.tree.map(lambda theta, u: rule.decay(theta, sign * u, coefficient) - theta, params, step)
