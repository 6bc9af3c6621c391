"""Decoupled weight decay: how much the parameters shrink, and which parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .options import AdamWOptions, DecayLaw, DecayOrder, SGDWOptions

Float64Array = NDArray[np.float64]


def decay_coefficient(options: SGDWOptions | AdamWOptions, schedule_multiplier: float) -> float:
    """Return c_t, the fraction of the parameters that decay removes in one step.

    c_t is eta_t * alpha * lambda, eta_t * lambda or lambda, by `options.law`.
    """
    match options.law:
        case DecayLaw.LR_WD:
            return schedule_multiplier * options.lr * options.weight_decay
        case DecayLaw.SCHEDULE_WD:
            return schedule_multiplier * options.weight_decay
        case DecayLaw.WD:
            return options.weight_decay


def decayed_step(theta: Float64Array, update: Float64Array, coefficient: float, order: DecayOrder) -> Float64Array:
    """Return theta_t from theta_{t-1}, the step u_t without decay, and the coefficient c_t.

    previous: theta - (u + c*theta); updated: z - c*z with z = theta - u; proximal: (theta - u) / (1 + c).
    Arrays of one shape, float64.
    """
    match order:
        case DecayOrder.PREVIOUS:
            return theta - (update + coefficient * theta)
        case DecayOrder.UPDATED:
            moved = theta - update
            return moved - coefficient * moved
        case DecayOrder.PROXIMAL:
            return (theta - update) / (1.0 + coefficient)
