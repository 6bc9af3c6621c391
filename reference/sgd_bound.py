"""Running bound on the rounding errors of SGD and SGDW, along every axis of `options`.

`docs/bound.md` derives every constant; B bounds how far an implementation's momentum buffer b may be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .arithmetic import Arithmetic, Float64Array
from .bound_factors import sgd_factors
from .decay import decay_coefficient
from .namespace import as_factor, namespace_of
from .options import DecayOrder, SGDOptions, SGDWOptions
from .sgd import SGDState, sgd_update
from .step_bound import decayed_error, l2_gradient


@dataclass(frozen=True, slots=True)
class SGDError:
    """Bound on the distance of an implementation's momentum buffer from the reference's."""

    buffer: Float64Array


def sgd_no_error(theta: Float64Array) -> SGDError:
    """Return the bound before the first step: zero."""
    xp = namespace_of(theta)
    return SGDError(xp.zeros_like(theta, dtype=xp.float64))


def sgd_bound(
    theta: Float64Array,
    grad: Float64Array,
    state: SGDState,
    error: SGDError,
    options: SGDOptions,
    schedule_multiplier: float,
    *,
    after: SGDState,
    new_theta: Float64Array,
    arithmetic: Arithmetic,
    theta_error: Float64Array | float = 0.0,
) -> tuple[Float64Array, SGDError]:
    """Return (P, error) after one step: how far an implementation's theta_t and momentum buffer may be.

    Arguments as for `adam_bound`; `SGDWOptions` means decoupled decay, plain `SGDOptions` L2. P is infinite
    where something overflows the format.
    """
    factors, where = sgd_factors(state, options, schedule_multiplier, arithmetic), namespace_of(new_theta).where
    with np.errstate(all="ignore"):
        gradient, found_error = grad, None
        if not isinstance(options, SGDWOptions):
            gradient, found_error = l2_gradient(theta, theta_error, grad, options, arithmetic)
        gradient_error: Float64Array | float = 0.0 if found_error is None else found_error
        size, before = abs(gradient), abs(state.buffer)
        entering = factors.entering * size + (1.0 + factors.entering) * gradient_error
        buffer = factors.kept * error.buffer + factors.excess * before + factors.scale * entering
        operands = size + gradient_error + before + error.buffer
        active = as_factor(operands != 0.0)
        buffer = buffer + factors.underflow * active
        now = abs(after.buffer)
        if arithmetic.stores_narrower:
            buffer = buffer + arithmetic.storing(now + buffer) * active

        step = sgd_update(gradient, after, options, schedule_multiplier)
        step_error = buffer
        if options.nesterov:
            step_error = factors.momentum * (buffer + factors.of_buffer * (now + buffer))
            of_gradient = gradient_error + factors.of_gradient * (size + gradient_error)
            step_error = step_error + factors.direct * of_gradient
            step_error = step_error + factors.nesterov_underflow * active
        step_error = factors.rate * step_error
        step_error = step_error + factors.leaving * (abs(step) + step_error) + factors.leaving_underflow

        coefficient, order = 0.0, None
        if isinstance(options, SGDWOptions):
            coefficient, order = decay_coefficient(options, schedule_multiplier), options.order
        moved = step if order in (DecayOrder.UPDATED, DecayOrder.PROXIMAL) else None
        bound = decayed_error(theta, theta_error, moved, step_error, new_theta, coefficient, order, arithmetic)
        # Sums are formed before factors below 1 are multiplied in, and wd*theta may be one of their terms.
        peak = operands + now + buffer
        if options.nesterov:
            peak = peak + factors.momentum * (now + buffer) + factors.direct * (size + gradient_error)
        if order is not None:
            peak = peak + options.weight_decay * (abs(theta) + theta_error)
        fits = peak <= arithmetic.storage.largest
        bound = where(fits & (abs(new_theta) + bound <= arithmetic.storage.largest), bound, math.inf)
    return bound, SGDError(where(fits, buffer, math.inf))
