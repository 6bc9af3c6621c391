"""Rounding errors of what SGD and Adam share: the L2 term that enters the gradient, and the decayed step.

`docs/bound.md` derives every constant; magnitudes and errors are float64 arrays of the parameters' shape.
"""

from __future__ import annotations

from .arithmetic import Arithmetic, Float64Array
from .bound_factors import decay_factors, l2_factors
from .options import AdamOptions, DecayOrder, SGDOptions


def l2_gradient(
    theta: Float64Array,
    theta_error: Float64Array | float,
    grad: Float64Array,
    options: SGDOptions | AdamOptions,
    arithmetic: Arithmetic,
) -> tuple[Float64Array, Float64Array | None]:
    """Return (g + lambda*theta, bound on its error); None, for no error, where lambda is 0.

    lambda is rounded, multiplied and added: gamma_2 of the product, and half an ulp of the sum.
    """
    if options.weight_decay == 0.0:
        return grad, None
    factors, w = l2_factors(options.weight_decay, arithmetic), arithmetic.w
    regularised = grad + factors.decay * theta
    error = factors.decay * theta_error + factors.product * (abs(theta) + theta_error) + w
    return regularised, error + arithmetic.rounding(abs(regularised) + error)


def decayed_error(
    theta: Float64Array,
    theta_error: Float64Array | float,
    step: Float64Array | None,
    step_error: Float64Array,
    new_theta: Float64Array,
    coefficient: float,
    order: DecayOrder | None,
    arithmetic: Arithmetic,
) -> Float64Array:
    """Return the bound on the error of theta_t, from theta_{t-1}, the step u_t and the coefficient c_t.

    `order` is None where no decay is applied to the parameters (L2), `new_theta` the reference's theta_t; `step`
    is needed where decay acts on the parameters after it.
    Covers theta*(1 - c) - u, theta - c*theta - u, theta - (u + c*theta), and their like for the other orders.
    """
    rounding = arithmetic.rounding
    magnitude = abs(new_theta)
    if order is None or coefficient == 0.0:
        error = theta_error + step_error
        return _stored(magnitude, error + rounding(magnitude + error) + arithmetic.w, arithmetic)
    factors = decay_factors(coefficient, order, arithmetic)
    if order is DecayOrder.PREVIOUS:
        reach = abs(theta) + theta_error
        error = factors.kept * theta_error + step_error + factors.factor * reach
        error = error + rounding(factors.reach * reach) + factors.underflow
    else:
        assert step is not None, "decay acts on the parameters after the step"
        moved_error = theta_error + step_error
        moved = abs(theta - step) + moved_error
        rounded = rounding(moved)
        moved_error, moved = moved_error + rounded, moved + rounded
        error = (factors.kept * moved_error + factors.factor * moved) / factors.raised + factors.underflow
    return _stored(magnitude, error + rounding(magnitude + error), arithmetic)


def _stored(magnitude: Float64Array, error: Float64Array, arithmetic: Arithmetic) -> Float64Array:
    """Return `error` with that of storing a number of `magnitude`, where storage is narrower than the work."""
    return error + arithmetic.storing(magnitude + error) if arithmetic.stores_narrower else error
