"""Ways to apply weight decay, one of them sound, in operators that arrays of every framework have.

Two things make up a decay: its coefficient c_t, out of the learning rates at hand, and what it does to the
parameters with it. Symbols: theta parameters before the step, u the step without decay (to be subtracted).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any
"""An array of any framework: only +, -, *, /, ** and abs() are used."""
Scalar = Any
"""A Python float, or a 0-d array of the framework."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a decay's coefficient may be made of in one step."""

    lr: Scalar
    """Learning rate of this step, eta_t * alpha."""
    base_lr: Scalar
    """Learning rate the optimizer was built with, alpha."""
    previous_lr: Scalar
    """Learning rate of the step before; in the first step its own."""
    weight_decay: float
    """This parameter's own, as it stands in this step: 0 where the parameter is excluded from decay."""
    base_weight_decay: float = 0.0
    """This parameter's own, as it was when the optimizer was built."""
    default_weight_decay: float = 0.0
    """The optimizer's, whatever this parameter is excluded from."""


Coefficient = Callable[[Rates], Scalar]
"""Rates of the step -> c_t."""
Decay = Callable[[Array, Array, Scalar], Array]
"""(theta_{t-1}, u_t, c_t) -> theta_t."""

_SMALL = 1e-30
"""Keeps theta / |theta| defined at 0; exact in float32 and wider for |theta| above 1e-14."""


def lr_wd(rates: Rates) -> Scalar:
    """Return lr * weight_decay, the sound coefficient."""
    return rates.lr * rates.weight_decay


def nothing(rates: Rates) -> Scalar:
    """Return 0: the option is never read."""
    return 0.0


def wd(rates: Rates) -> Scalar:
    """Return weight_decay: the learning rate is dropped."""
    return rates.weight_decay


def schedule_wd(rates: Rates) -> Scalar:
    """Return eta_t * weight_decay: the paper's law, not that of the frameworks."""
    return rates.lr / rates.base_lr * rates.weight_decay


def half_lr_wd(rates: Rates) -> Scalar:
    """Return lr * weight_decay / 2, as if the penalty were (weight_decay / 4) * theta**2."""
    return 0.5 * rates.lr * rates.weight_decay


def double_lr_wd(rates: Rates) -> Scalar:
    """Return 2 * lr * weight_decay, as the gradient of weight_decay * theta**2 has it; once, not applied twice."""
    return 2.0 * rates.lr * rates.weight_decay


def lr_squared_wd(rates: Rates) -> Scalar:
    """Return lr**2 * weight_decay: the learning rate enters twice."""
    return rates.lr * rates.lr * rates.weight_decay


def lr_wd_squared(rates: Rates) -> Scalar:
    """Return lr * weight_decay**2."""
    return rates.lr * rates.weight_decay * rates.weight_decay


def negative_lr_wd(rates: Rates) -> Scalar:
    """Return -lr * weight_decay: the sign is wrong."""
    return -rates.lr * rates.weight_decay


def build_lr_wd(rates: Rates) -> Scalar:
    """Return alpha * weight_decay, computed once: the schedule is not followed."""
    return rates.base_lr * rates.weight_decay


def stale_lr_wd(rates: Rates) -> Scalar:
    """Return lr_{t-1} * weight_decay: one step late."""
    return rates.previous_lr * rates.weight_decay


def lr_base_wd(rates: Rates) -> Scalar:
    """Return lr * the weight_decay of construction: a later change is not seen."""
    return rates.lr * rates.base_weight_decay


def lr_default_wd(rates: Rates) -> Scalar:
    """Return lr * the optimizer's weight_decay: parameters that are excluded decay like all others."""
    return rates.lr * rates.default_weight_decay


def before_update(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return theta - u - c*theta, the sound form."""
    return theta - update - coefficient * theta


def after_update(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return (theta - u) * (1 - c)."""
    moved = theta - update
    return moved - coefficient * moved


def proximal(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return (theta - u) / (1 + c)."""
    return (theta - update) / (1.0 + coefficient)


def twice(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return theta * (1 - c)**2 - u."""
    once = theta - coefficient * theta
    return once - coefficient * once - update


def three_times(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return theta * (1 - c)**3 - u."""
    return twice(theta - coefficient * theta, update, coefficient)


def by_a_constant(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return theta - u - c: every weight moves down by the same amount."""
    return theta - update - coefficient


def by_the_sign(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return theta - u - c*sign(theta): an L1 penalty."""
    return theta - update - coefficient * (theta / (abs(theta) + _SMALL))


def where_it_agrees(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return theta - u - c*theta where u*theta >= 0 and theta - u elsewhere: cautious decay, a sound form."""
    along = update * theta
    agrees = 1.0 - (abs(along) - along) / (2.0 * abs(along) + _SMALL)
    return theta - update - coefficient * (agrees * theta)


def half_for_vectors(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return theta - u - c*theta, with c/2 in place of c for parameters of fewer than two dimensions."""
    return before_update(theta, update, coefficient if len(theta.shape) > 1 else 0.5 * coefficient)


def half_for_small(theta: Array, update: Array, coefficient: Scalar) -> Array:
    """Return theta - u - c*theta, with c/2 in place of c for parameters of fewer than ten elements."""
    return before_update(theta, update, coefficient if math.prod(theta.shape) >= 10 else 0.5 * coefficient)
