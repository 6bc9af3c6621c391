"""The compiled engine with the bound: one fused loop takes a step, bounds its errors and compares. Needs Numba.

As in `compiled`, the loops evaluate the operations of `adam_bound`, `sgd_bound`, `step_bound` and `comparison`
in their order, element by element, and agree with them bit for bit. Everything that is one number per step is
computed by the functions of `bound_factors` and handed in.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from .arithmetic import LEAST_LEFT, Arithmetic
from .bound_factors import (
    DecayFactors,
    DenominatorFactors,
    L2Factors,
    MomentFactors,
    SGDFactors,
    UpdateFactors,
    VHatFactors,
)
from .compiled import element, loop
from .options import AMSGrad, DecayOrder, Epsilon

_EXPONENT_BITS = np.int64(0x7FF0_0000_0000_0000)


class Roundings(NamedTuple):
    """What rounding does in one `Arithmetic`: u and w of the working and of the storage format, and their limits."""

    u: float
    w: float
    storage_u: float
    storage_w: float
    largest: float
    largest_worked: float
    largest_stored: float


def roundings(arithmetic: Arithmetic) -> Roundings:
    """Return the numbers of `arithmetic` that the loops need."""
    largest = arithmetic.storage.largest
    return Roundings(
        arithmetic.u,
        arithmetic.w,
        arithmetic.storage_u,
        arithmetic.storage_w,
        min(arithmetic.working.largest, largest),
        arithmetic.working.largest,
        largest,
    )


@element
def _rounding(magnitude, u, w):  # type: ignore[no-untyped-def]
    power = np.float64(magnitude).view(np.int64) & _EXPONENT_BITS
    error = u * np.int64(power).view(np.float64)
    return error if error > w else w


class Axes(NamedTuple):
    """How decay enters a loop, as constants that the compiler folds: what would be branches inside it."""

    order: DecayOrder | None
    """Order of the reference's decoupled decay; None for L2."""
    bounded: bool
    """Whether decay is more than nothing: a coefficient, or for L2 the weight decay, that is not 0."""
    exact_theta: bool
    """Whether theta_{t-1} carries no error."""
    stores_narrower: bool


@functools.cache
def _theta_loop(axes: Axes) -> Any:
    """Compile theta_t and its bound from theta_{t-1}, u_t and their bounds."""
    previous, updated, proximal = (axes.order is each for each in DecayOrder)
    bounded, narrower = axes.bounded and axes.order is not None, axes.stores_narrower

    @element
    def moved_theta(theta, theta_error, step, step_error, coefficient, factors, rounded):  # type: ignore[no-untyped-def]
        u, w = rounded.u, rounded.w
        if previous:
            new = theta - (step + coefficient * theta)
        elif updated:
            new = theta - step
            new = new - coefficient * new
        elif proximal:
            new = (theta - step) / (1.0 + coefficient)
        else:
            new = theta - step
        magnitude = abs(new)
        if not bounded:
            error = theta_error + step_error
            error = error + _rounding(magnitude + error, u, w) + w
        else:
            if previous:
                reach = abs(theta) + theta_error
                error = factors.kept * theta_error + step_error + factors.factor * reach
                error = error + _rounding(factors.reach * reach, u, w) + factors.underflow
            else:
                moved_error = theta_error + step_error
                moved = abs(theta - step) + moved_error
                half_ulp = _rounding(moved, u, w)
                moved_error = moved_error + half_ulp
                moved = moved + half_ulp
                error = (factors.kept * moved_error + factors.factor * moved) / factors.raised + factors.underflow
            error = error + _rounding(magnitude + error, u, w)
        if narrower:
            error = error + _rounding(magnitude + error, rounded.storage_u, rounded.storage_w)
        return new, error

    return moved_theta


@element
def _l2(theta, theta_error, grad, l2, rounded):  # type: ignore[no-untyped-def]
    regularised = grad + l2.decay * theta
    error = l2.decay * theta_error + l2.product * (abs(theta) + theta_error) + rounded.w
    return regularised, error + _rounding(abs(regularised) + error, rounded.u, rounded.w)


@element
def _shared(numbers):  # type: ignore[no-untyped-def]
    """Read what every rule has from the flat tuple: nested ones take Numba 20 microseconds a call to recognise."""
    return Roundings(*numbers[:7]), L2Factors(*numbers[7:9]), DecayFactors(*numbers[9:14]), numbers[14]


@functools.cache
def adam_loop(epsilon: Epsilon, amsgrad: AMSGrad, axes: Axes) -> Any:
    """Compile one step of Adam with its bound for one combination of axes: a branch in the loop costs fivefold."""
    moved_theta = _theta_loop(axes)
    inside = epsilon is Epsilon.INSIDE
    raw, corrected_maximum = amsgrad is AMSGrad.RAW, amsgrad is AMSGrad.CORRECTED
    l2_term, l2_bounded = axes.order is None, axes.order is None and axes.bounded
    exact_theta, narrower = axes.exact_theta, axes.stores_narrower

    @loop
    def step(start, stop, theta, theta_error, grad, state, new_theta, bound, numbers):  # type: ignore[no-untyped-def]
        m, v, v_max, m_error, v_error, v_max_error = state
        theta, theta_error, grad = theta[start:stop], theta_error[start:stop], grad[start:stop]
        m, v, v_max = m[start:stop], v[start:stop], v_max[start:stop]
        m_error, v_error, v_max_error = m_error[start:stop], v_error[start:stop], v_max_error[start:stop]
        rounded, l2, decay_factors, coefficient = _shared(numbers)
        c1, c2, beta1, a1, beta2, a2 = numbers[15:21]
        of_m, of_v = MomentFactors(*numbers[21:26]), MomentFactors(*numbers[26:31])
        of_v_hat, of_root = VHatFactors(*numbers[31:34]), DenominatorFactors(*numbers[34:40])
        of_update = UpdateFactors(*numbers[40:46])
        for i in range(new_theta.size):
            before, p = np.float64(theta[i]), 0.0 if exact_theta else theta_error[i]
            g, g_error = np.float64(grad[i]), 0.0
            size = abs(g)
            if l2_bounded:
                g, g_error = _l2(before, p, g, l2, rounded)
                size = abs(g)
            elif l2_term:
                g = g + l2.decay * before
            # The reference's moments.
            old_m, old_v, old_m_error, old_v_error = m[i], v[i], m_error[i], v_error[i]
            first = beta1 * old_m + a1 * g
            second = beta2 * old_v + a2 * (g * g)
            m[i] = first
            v[i] = second
            if raw:
                highest = np.maximum(v_max[i], second)  # unlike `max`, hands on a NaN
                v_max[i] = highest
                v_hat = highest / c2
            else:
                now = second / c2
                v_hat = now
                if corrected_maximum:
                    v_hat = np.maximum(v_max[i], now)
                    v_max[i] = v_hat
            # Their errors.
            square = size * size
            size_m = abs(old_m)
            first_error = of_m.carried * old_m_error + of_m.kept * size_m + of_m.entering * size
            second_error = of_v.carried * old_v_error + of_v.kept * old_v + of_v.entering * square
            if l2_bounded:
                excess = g_error * (2.0 * size + g_error)
                first_error = first_error + of_m.passed * g_error
                second_error = second_error + of_v.passed * excess
                square = square + excess
                size = size + g_error
            operands_m, operands_v = size + size_m + old_m_error, square + old_v + old_v_error
            active_m, active_v = operands_m != 0.0, size + old_v + old_v_error != 0.0
            first_error = first_error + (of_m.underflow if active_m else 0.0)
            second_error = second_error + (of_v.underflow if active_v else 0.0)
            if narrower:
                stored = _rounding(abs(first) + first_error, rounded.storage_u, rounded.storage_w)
                first_error = first_error + stored * (1.0 if active_m else 0.0)
                stored = _rounding(second + second_error, rounded.storage_u, rounded.storage_w)
                second_error = second_error + stored * (1.0 if active_v else 0.0)
            fits_v = (operands_v <= rounded.largest) & (second + second_error <= rounded.largest)
            first_error = first_error if operands_m <= rounded.largest else np.inf
            second_error = second_error if fits_v else np.inf
            m_error[i] = first_error
            v_error[i] = second_error
            # The error of vhat.
            if raw:
                highest_error = np.maximum(v_max_error[i], second_error)
                v_max_error[i] = highest_error
                x_error = highest_error * of_v_hat.inverse + v_hat * of_v_hat.share
            elif corrected_maximum:
                now_error = second_error * of_v_hat.inverse + now * of_v_hat.share
                now_error = now_error + of_v_hat.division * (now + now_error)
                if narrower:
                    stored = _rounding(now + now_error, rounded.storage_u, rounded.storage_w)
                    now_error = now_error + stored * (1.0 if now_error > 0.0 else 0.0)
                x_error = np.maximum(v_max_error[i], now_error)
                v_max_error[i] = x_error
            else:
                x_error = second_error * of_v_hat.inverse + v_hat * of_v_hat.share
            fits = v_hat + x_error <= rounded.largest_worked
            # The error of the denominator.
            x = v_hat
            if inside:
                x = v_hat + of_root.eps
                x_error = x_error + of_root.entering * (x + x_error) + of_root.eps_error
            root, ratio = np.sqrt(x), x_error / x
            unknown = not ratio < 1.0
            root_error = np.sqrt(2.0 * x_error) if unknown else (0.5 * root) * (ratio + ratio * ratio)
            exact, error = root, root_error + of_root.rounded * (root + root_error)
            if not inside:
                exact = root + of_root.eps
                error = error + of_root.eps_error
                error = error + of_root.u * (exact + error)
            least = exact - error
            least = least if least > LEAST_LEFT * exact else 0.0
            least = of_root.floor if unknown else least
            relative = error / exact
            relative = 1.0 if unknown & (relative >= 1.0) else relative
            # The step and its error.
            m_hat = first / c1
            update = of_update.rate * (m_hat / exact)
            corrected = abs(m_hat)
            corrected_error = first_error * of_update.inverse + corrected * of_update.share
            reach = corrected + corrected_error
            step_error = of_update.rate * (corrected_error + corrected * relative + of_update.roundings * reach)
            step_error = (step_error + (of_update.underflow_divided if reach > 0.0 else 0.0)) / least
            step_error = step_error + (of_update.underflow if reach > 0.0 else 0.0)
            step_error = step_error if least > 0.0 else np.inf
            new, p = moved_theta(before, p, update, step_error, coefficient, decay_factors, rounded)
            new_theta[i] = new
            largest = rounded.largest_worked
            fits = fits & (reach + (0.0 if l2_term else l2.decay) * abs(before) * least <= largest * least)
            bound[i] = p if fits & (abs(new) + p <= rounded.largest_stored) else np.inf

    return step


@functools.cache
def sgd_loop(nesterov: bool, lr_inside: bool, axes: Axes) -> Any:
    """Compile one step of SGD with its bound for one combination of axes."""
    moved_theta = _theta_loop(axes)
    l2_term, l2_bounded = axes.order is None, axes.order is None and axes.bounded
    exact_theta, narrower = axes.exact_theta, axes.stores_narrower

    @loop
    def step(start, stop, theta, theta_error, grad, state, new_theta, bound, numbers):  # type: ignore[no-untyped-def]
        buffer, buffer_error = state
        theta, theta_error, grad = theta[start:stop], theta_error[start:stop], grad[start:stop]
        buffer, buffer_error = buffer[start:stop], buffer_error[start:stop]
        rounded, l2, decay_factors, coefficient = _shared(numbers)
        of = SGDFactors(*numbers[15:28])
        for i in range(new_theta.size):
            before, p = np.float64(theta[i]), 0.0 if exact_theta else theta_error[i]
            raw, g_error = np.float64(grad[i]), 0.0
            g, size = raw, abs(raw)
            if l2_bounded:
                g, g_error = _l2(before, p, raw, l2, rounded)
                size = abs(g)
            elif l2_term:
                g = g + l2.decay * before
            old, old_error = buffer[i], buffer_error[i]
            new_buffer = of.momentum * old + of.scale * g
            buffer[i] = new_buffer
            entering = of.entering * size + (1.0 + of.entering) * g_error
            error = of.kept * old_error + of.excess * abs(old) + of.scale * entering
            operands = size + g_error + abs(old) + old_error
            active = operands != 0.0
            error = error + (of.underflow if active else 0.0)
            now = abs(new_buffer)
            if narrower:
                stored = _rounding(now + error, rounded.storage_u, rounded.storage_w)
                error = error + stored * (1.0 if active else 0.0)
            peak = operands + now + error
            update, step_error = new_buffer, error
            if nesterov:
                update = (of.direct * g if lr_inside else g) + of.momentum * new_buffer
                step_error = of.momentum * (error + of.of_buffer * (now + error))
                step_error = step_error + of.direct * (g_error + of.of_gradient * (size + g_error))
                step_error = step_error + (of.nesterov_underflow if active else 0.0)
                peak = peak + of.momentum * (now + error) + of.direct * (size + g_error)
            update = update if lr_inside else of.rate * update
            step_error = of.rate * step_error
            step_error = step_error + of.leaving * (abs(update) + step_error) + of.leaving_underflow
            if not l2_term:
                peak = peak + l2.decay * (abs(before) + p)
            new, p = moved_theta(before, p, update, step_error, coefficient, decay_factors, rounded)
            new_theta[i] = new
            largest = rounded.largest_stored
            fits = peak <= largest
            buffer_error[i] = error if fits else np.inf
            bound[i] = p if fits & (abs(new) + p <= largest) else np.inf

    return step
