"""Running bound on the rounding errors of Adam and AdamW, along every axis of `options`.

`docs/bound.md` derives every constant. Small letters there are the reference's values, capitals the bounds
on how far an implementation's may be from them: M on m, V on v, C on the bias corrections, P on theta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .adam import AdamState, adam_update, bias_corrections, second_moment
from .arithmetic import LEAST_LEFT, Arithmetic, Float64Array
from .bound_factors import DenominatorFactors, UpdateFactors, VHatFactors, adam_moment_factors, adam_step_factors
from .decay import decay_coefficient
from .namespace import as_factor, is_numpy, namespace_of
from .options import AdamOptions, AdamWOptions, AMSGrad, DecayOrder, Epsilon
from .step_bound import decayed_error, l2_gradient


@dataclass(frozen=True, slots=True)
class AdamError:
    """Bounds on the distance of an implementation's moments from the reference's."""

    m: Float64Array
    v: Float64Array
    v_max: Float64Array | None = None


def adam_no_error(theta: Float64Array, options: AdamOptions) -> AdamError:
    """Return the bounds before the first step: zero."""
    xp = namespace_of(theta)
    zeros = xp.zeros_like(theta, dtype=xp.float64)
    return AdamError(zeros, zeros, None if options.amsgrad is AMSGrad.OFF else zeros)


def adam_bound(
    theta: Float64Array,
    grad: Float64Array,
    state: AdamState,
    error: AdamError,
    options: AdamOptions,
    schedule_multiplier: float,
    *,
    after: AdamState,
    new_theta: Float64Array,
    arithmetic: Arithmetic,
    theta_error: Float64Array | float = 0.0,
) -> tuple[Float64Array, AdamError]:
    """Return (P, error) after one step: how far an implementation's theta_t and moments may be.

    `theta`, `grad`, `state`, `error` and `theta_error` are those before the step, `after` and `new_theta` the
    reference's after it, in arrays of one shape; `AdamWOptions` means decoupled decay, plain `AdamOptions` L2.
    P is not finite where nothing can be said: a denominator or bias correction may vanish, or something may
    overflow the format on the way.
    """
    xp = namespace_of(new_theta)
    with np.errstate(all="ignore"):
        moments = _moments(theta, theta_error, grad, state, error, options, after, arithmetic)
        factors = adam_step_factors(after.step, options, schedule_multiplier, arithmetic)
        if factors is None:
            unknown = xp.full_like(new_theta, math.inf)
            return unknown, AdamError(moments.m, moments.v, None if error.v_max is None else unknown)
        c1, c2 = bias_corrections(after.step, options)
        v_hat = second_moment(after, options, c2)
        v_hat_error, v_max = _v_hat_error(v_hat, moments.v, error.v_max, after, c2, factors.v_hat, options, arithmetic)
        relative, least = _denominator_error(v_hat, v_hat_error, factors.denominator, options.epsilon)
        corrected = abs(after.m) / c1
        step_error, reach = _update_error(corrected, moments.m, relative, least, factors.update)

        coefficient, order, step, added = 0.0, None, None, 0.0
        if isinstance(options, AdamWOptions):
            coefficient, order = decay_coefficient(options, schedule_multiplier), options.order
            added = options.weight_decay
            if order is not DecayOrder.PREVIOUS:
                step = adam_update(after, options, schedule_multiplier)
        bound = decayed_error(theta, theta_error, step, step_error, new_theta, coefficient, order, arithmetic)
        # Before the learning rate is multiplied in, q may be formed on its own, and wd*theta added to it.
        largest = arithmetic.working.largest
        fits = (v_hat + v_hat_error <= largest) & (reach + added * abs(theta) * least <= largest * least)
        bound = xp.where(fits & (abs(new_theta) + bound <= arithmetic.storage.largest), bound, math.inf)
    return bound, AdamError(moments.m, moments.v, v_max)


def _moments(
    theta: Float64Array,
    theta_error: Float64Array | float,
    grad: Float64Array,
    state: AdamState,
    error: AdamError,
    options: AdamOptions,
    after: AdamState,
    arithmetic: Arithmetic,
) -> AdamError:
    """Return M and V after the step, infinite where something may overflow on the way.

    That is the difference g - m of an interpolation, g*g, and sums of it with v before a factor is multiplied in.
    """
    gradient, gradient_error = grad, None
    if not isinstance(options, AdamWOptions):
        gradient, gradient_error = l2_gradient(theta, theta_error, grad, options, arithmetic)
    size, size_m = abs(gradient), abs(state.m)
    square = size * size
    of_m, of_v = adam_moment_factors(options, arithmetic)
    m = of_m.carried * error.m + of_m.kept * size_m + of_m.entering * size
    v = of_v.carried * error.v + of_v.kept * state.v + of_v.entering * square
    if gradient_error is not None:
        excess = gradient_error * (2.0 * size + gradient_error)
        m = m + of_m.passed * gradient_error
        v = v + of_v.passed * excess
        square = square + excess
        size = size + gradient_error
    # Where all operands are zero, so is the result: nothing underflows. NaN is not zero.
    operands_m, operands_v = size + size_m + error.m, square + state.v + error.v
    active_m, active_v = as_factor(operands_m != 0.0), as_factor(size + state.v + error.v != 0.0)
    m = m + of_m.underflow * active_m
    v = v + of_v.underflow * active_v
    if arithmetic.stores_narrower:
        m = m + arithmetic.storing(abs(after.m) + m) * active_m
        v = v + arithmetic.storing(after.v + v) * active_v
    largest = min(arithmetic.working.largest, arithmetic.storage.largest)
    fits_v = (operands_v <= largest) & (after.v + v <= largest)
    where = namespace_of(m).where
    return AdamError(where(operands_m <= largest, m, math.inf), where(fits_v, v, math.inf))


def _v_hat_error(
    v_hat: Float64Array,
    v_error: Float64Array,
    v_max_error: Float64Array | None,
    after: AdamState,
    c2: float,
    factors: VHatFactors,
    options: AdamOptions,
    arithmetic: Arithmetic,
) -> tuple[Float64Array, Float64Array | None]:
    """Return (bound on vhat, new bound on the maximum); a maximum is off by at most the larger error.

    |v/c2 - v'/c2'| <= V / (c2 - C2) + (v/c2) * C2 / (c2 - C2). The division's own rounding is counted in the root.
    """
    if v_max_error is None:
        return v_error * factors.inverse + v_hat * factors.share, None
    if options.amsgrad is AMSGrad.RAW:
        v_max_error = namespace_of(v_error).maximum(v_max_error, v_error)
        return v_max_error * factors.inverse + v_hat * factors.share, v_max_error
    now = after.v / c2
    now_error = v_error * factors.inverse + now * factors.share
    now_error = now_error + factors.division * (now + now_error)
    if arithmetic.stores_narrower:
        now_error = now_error + arithmetic.storing(now + now_error) * as_factor(now_error > 0.0)
    v_max_error = namespace_of(v_error).maximum(v_max_error, now_error)
    return v_max_error, v_max_error


def _denominator_error(
    v_hat: Float64Array, v_hat_error: Float64Array, factors: DenominatorFactors, epsilon: Epsilon
) -> tuple[Float64Array, Float64Array]:
    """Return (relative, least): |1/d' - 1/d| <= relative / least for every denominator d' an implementation may have.

    1/d falls and is convex in vhat, so the side on which vhat is too small is the worse one. With
    sqrt(1 - r) >= 1 - r/2 - r*r/2 no difference of neighbours is taken. `least` is 0 where d' may vanish.
    """
    x, x_error = v_hat, v_hat_error
    if epsilon is Epsilon.INSIDE:
        x = v_hat + factors.eps
        x_error = x_error + factors.entering * (x + x_error) + factors.eps_error
    xp = namespace_of(x)
    root, ratio = xp.sqrt(x), x_error / x
    root_error = (0.5 * root) * (ratio + ratio * ratio)
    unknown = ~(ratio < 1.0)
    # Elsewhere the answer would have to come from the device first.
    any_unknown = not is_numpy(unknown) or bool(unknown.any())
    if any_unknown:  # the root may be anything from 0 to sqrt(x + x_error) <= sqrt(2 * x_error)
        root_error = xp.where(unknown, xp.sqrt(2.0 * x_error), root_error)
    exact, error = root, root_error + factors.rounded * (root + root_error)
    if epsilon is not Epsilon.INSIDE:
        exact = root + factors.eps
        error = error + factors.eps_error
        error = error + factors.u * (exact + error)
    least = exact - error
    least = least * as_factor(least > LEAST_LEFT * exact)
    relative = error / exact
    if any_unknown:
        least = xp.where(unknown, factors.floor, least)
        relative = xp.where(unknown, xp.clip(relative, None, 1.0), relative)
    return relative, least


def _update_error(
    corrected: Float64Array,
    m_error: Float64Array,
    relative: Float64Array,
    least: Float64Array,
    factors: UpdateFactors,
) -> tuple[Float64Array, Float64Array]:
    """Return (bound on the step's error from |mhat|, M and the denominator's, what mhat may be).

    The bound is infinite where the denominator may vanish.
    """
    corrected_error = m_error * factors.inverse + corrected * factors.share
    reach = corrected + corrected_error
    moves = as_factor(reach > 0.0)
    error = factors.rate * (corrected_error + corrected * relative + factors.roundings * reach)
    error = (error + factors.underflow_divided * moves) / least + factors.underflow * moves
    return namespace_of(error).where(least > 0.0, error, math.inf), reach
