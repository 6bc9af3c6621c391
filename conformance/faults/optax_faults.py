"""The rules of the collection for Optax, with a fault on request: factories of gradient transformations.

The parameters are needed to decay them, so `update` wants `params`. `learning_rate` is a number or a
schedule; the rate that a transformation "was built with" is that of its schedule at step 0. `mask` says which
parameters decay, as a tree of booleans or a function of the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from . import update_rules
from .decays import Rates
from .departures import departure
from .update_rules import Operations, Step, UpdateRule, advance

OPERATIONS = Operations(jnp.sqrt, jnp.sign, lambda tensor: jnp.sqrt(jnp.sum(jnp.square(tensor))))
_SLOTS = {"m": "mu", "v": "nu", "momentum": "trace"}
"""Slot of a rule -> field of the state that holds it."""


class State(NamedTuple):
    """Steps taken, the learning rate of the step before, and the slots of the rule; None are those it has not."""

    count: Any
    last_rate: Any
    mu: Any = None
    nu: Any = None
    trace: Any = None


def _ruled(
    rule: UpdateRule,
    learning_rate: Any,
    weight_decay: float,
    mask: Any,
    fault: str | None,
    options: Mapping[str, float],
) -> Any:
    """Return the transformation that steps every parameter by `rule`."""
    departs = departure(fault)
    rate = learning_rate if callable(learning_rate) else lambda count: learning_rate
    base_lr = rate(0)
    counted = [0]

    def init(params: Any) -> State:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return State(jnp.zeros([], jnp.int32), jnp.zeros([]), **{_SLOTS[slot]: zeros for slot in rule.slots})

    def update(updates: Any, state: State, params: Any) -> tuple[Any, State]:
        counted[0] += 1
        lr, t = rate(state.count), counted[0] if departs.unsaved else state.count + 1
        last_rate = jnp.where(state.count == 0, lr, state.last_rate)
        leaves, structure = jax.tree.flatten(params)
        chosen = mask(params) if callable(mask) else mask
        decayed = [1.0] * len(leaves) if chosen is None else [float(each) for each in jax.tree.leaves(chosen)]
        held = {slot: jax.tree.leaves(getattr(state, _SLOTS[slot])) for slot in rule.slots}
        moved, new = [], {slot: list[Any]() for slot in rule.slots}
        for index, (theta, grad) in enumerate(zip(leaves, jax.tree.leaves(updates), strict=True)):
            own = decayed[index] * weight_decay
            rates = Rates(lr, base_lr, last_rate, own, own, weight_decay)
            slots = {slot: values[index] for slot, values in held.items()}
            after, stepped = advance(rule, departs, OPERATIONS, Step(theta, grad, slots, t, rates, options))
            moved.append(after - theta)
            for slot, value in stepped.items():
                new[slot].append(value)
        slots_after = {_SLOTS[slot]: jax.tree.unflatten(structure, values) for slot, values in new.items()}
        return jax.tree.unflatten(structure, moved), State(state.count + 1, jnp.asarray(lr), **slots_after)

    return optax.GradientTransformation(init, update)


def adamw(
    learning_rate: Any,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    mask: Any = None,
    fault: str | None = None,
) -> Any:
    """Return Adam with decoupled weight decay, or with `fault` in it."""
    options = {"beta1": b1, "beta2": b2, "eps": eps}
    return _ruled(update_rules.ADAM, learning_rate, weight_decay, mask, fault, options)


def sgdw(
    learning_rate: Any,
    momentum: float = 0.9,
    weight_decay: float = 1e-2,
    mask: Any = None,
    fault: str | None = None,
) -> Any:
    """Return SGD with momentum and decoupled weight decay, or with `fault` in it."""
    return _ruled(update_rules.SGD, learning_rate, weight_decay, mask, fault, {"momentum": momentum})


def lion(
    learning_rate: Any,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-2,
    mask: Any = None,
    fault: str | None = None,
) -> Any:
    """Return Lion with decoupled weight decay, or with `fault` in it."""
    return _ruled(update_rules.LION, learning_rate, weight_decay, mask, fault, {"beta1": b1, "beta2": b2})


def rmsprop(
    learning_rate: Any,
    decay: float = 0.9,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    mask: Any = None,
    fault: str | None = None,
) -> Any:
    """Return RMSprop with decoupled weight decay, or with `fault` in it."""
    return _ruled(update_rules.RMSPROP, learning_rate, weight_decay, mask, fault, {"rho": decay, "eps": eps})


def trust_sgdw(
    learning_rate: Any,
    momentum: float = 0.9,
    weight_decay: float = 1e-2,
    mask: Any = None,
    fault: str | None = None,
) -> Any:
    """Return SGDW on normalised gradients with a damped trust ratio, or with `fault` in it."""
    return _ruled(update_rules.TRUST, learning_rate, weight_decay, mask, fault, {"momentum": momentum})


def sgd_decayed_last(learning_rate: Any, weight_decay: float = 1e-2, last: bool = True) -> Any:
    """Return SGD with decayed weights added after the step or, where not `last`, before it is scaled."""
    decay, step = optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate)
    return optax.chain(step, decay) if last else optax.chain(decay, step)
