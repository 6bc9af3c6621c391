"""How far apart two correct float64 evaluations of one step can be: the acceptance threshold.

The reference and an implementation evaluate the same real-number formula in float64, in orders of
their own. Beside the reference run bounds on the distance of *any* such evaluation from the exact
value, element by element, built from nothing but the unit roundoff u = 2**-53 and the step count:

    gamma_k = k*u / (1 - k*u)   relative error of a product of k rounded factors (Higham 2002, Lemma 3.1)

A sum of terms that have each passed at most k roundings is off by at most gamma_k times the sum of
their magnitudes. The reference is itself such an evaluation, so it and a conforming implementation
differ by at most twice the bound; that is the threshold, and nothing in it is tuned.

The number of roundings per term allows the orders that frameworks use: m as beta1*m + (1-beta1)*g or
as m + (g - m)*(1-beta1) (at most 4 roundings in a term, one more on m); the corrections folded into
the learning rate (Keras) or into the denominator (torch); decay as theta*(1 - c) or theta - c*theta.
Powers beta**t are allowed repeated multiplication (2*t roundings) and 8 more for a library `pow`.
The parameters before the step are taken as exact: they are the implementation's own.

The bound is itself computed in float64. Sums of non-negative terms lose at most 16 roundings a step in
it; this, and everything of second order in u that is left out above, is less than 2**-20 of the bound
for any trace of up to 2**28 steps, and `EVALUATION` makes up for it. A difference of neighbouring
numbers has no such small error: where one occurs (the interval around the second moment and around the
denominator), its end points are moved apart by the roundings of their own evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .adam import AdamState, bias_corrections, denominator, second_moment
from .decay import Float64Array, decay_coefficient
from .options import AdamOptions, AdamWOptions, AMSGrad, BiasCorrection, Momentum, SGDOptions, SGDWOptions
from .sgd import SGDState, gradient_scale

UNIT_ROUNDOFF = 2.0**-53
UNDERFLOW = 8 * 2.0**-1022
"""Underflow, gradual or flushed to zero, loses at most the smallest normal number in one operation.

A step takes at most 8 operations to form any one number of it: two for g + lambda*theta, four for m or a buffer,
five for v, eight for theta_t."""
EVALUATION = 1.0 + 2.0**-20
"""Makes up for computing the bound in float64 (see above)."""


def gamma(roundings: int) -> float:
    """Return gamma_k = k*u / (1 - k*u), the relative error of k roundings in float64."""
    return roundings * UNIT_ROUNDOFF / (1.0 - roundings * UNIT_ROUNDOFF)


@dataclass(frozen=True, slots=True)
class SGDRoundoff:
    """Bound on the distance of a computed momentum buffer from the exact one."""

    buffer: Float64Array


@dataclass(frozen=True, slots=True)
class AdamRoundoff:
    """Bounds on the distance of computed moments from the exact ones."""

    m: Float64Array
    v: Float64Array
    v_max: Float64Array | None = None


def sgd_roundoff_init(theta: Float64Array) -> SGDRoundoff:
    """Return the bound before the first step: zero."""
    return SGDRoundoff(np.zeros_like(theta))


def adam_roundoff_init(theta: Float64Array, options: AdamOptions) -> AdamRoundoff:
    """Return the bounds before the first step: zero."""
    zeros = np.zeros_like(theta)
    return AdamRoundoff(zeros, zeros, None if options.amsgrad is AMSGrad.OFF else zeros)


def sgd_threshold(
    theta: Float64Array,
    grad: Float64Array,
    state: SGDState,
    roundoff: SGDRoundoff,
    options: SGDOptions,
    schedule_multiplier: float = 1.0,
) -> tuple[Float64Array, SGDRoundoff]:
    """Return how far two float64 evaluations of theta_t may lie apart, and the bound on the new state.

    `theta`, `grad`, `state` and `roundoff` are those *before* the step; `SGDWOptions` means decoupled
    decay, plain `SGDOptions` L2.
    """
    magnitude, error = _gradient_magnitude(theta, grad, options, isinstance(options, SGDWOptions))
    scale, rate = gradient_scale(state, options, schedule_multiplier), schedule_multiplier * options.lr
    kept = options.momentum * (np.abs(state.buffer) + roundoff.buffer)
    buffer = options.momentum * roundoff.buffer + scale * error + gamma(5) * (kept + scale * magnitude) + UNDERFLOW
    step, size = buffer, kept + scale * magnitude
    inside = options.momentum_form is Momentum.LR_INSIDE
    if options.nesterov:
        entering = rate if inside else 1.0
        step = entering * error + options.momentum * step
        size = entering * magnitude + options.momentum * size
    outer = 1.0 if inside else rate
    return _threshold(theta, outer * step, outer * size, options, schedule_multiplier), SGDRoundoff(buffer)


def adam_threshold(
    theta: Float64Array,
    grad: Float64Array,
    state: AdamState,
    roundoff: AdamRoundoff,
    options: AdamOptions,
    schedule_multiplier: float = 1.0,
    *,
    after: AdamState,
) -> tuple[Float64Array, AdamRoundoff]:
    """Return how far two float64 evaluations of theta_t may lie apart, and the bounds on the new state.

    `theta`, `grad`, `state` and `roundoff` are those *before* the step, `after` is the reference's state
    after it; `AdamWOptions` means decoupled decay, plain `AdamOptions` L2. Not finite where nothing can be said (the
    denominator or a bias correction may be 0, or something overflows).
    """
    magnitude, error = _gradient_magnitude(theta, grad, options, isinstance(options, AdamWOptions))
    a1, a2 = 1.0 - options.beta1, 1.0 - options.beta2
    with np.errstate(all="ignore"):
        m = options.beta1 * roundoff.m + a1 * error
        m = m + gamma(5) * (np.abs(state.m) + roundoff.m + a1 * magnitude) + UNDERFLOW
        v = options.beta2 * roundoff.v + a2 * error * (2.0 * magnitude + error)
        v = v + gamma(6) * (state.v + roundoff.v + a2 * magnitude * magnitude) + UNDERFLOW

        c1, c2 = bias_corrections(after.step, options)
        c1_error, c2_error = _correction_errors(after.step, c1, c2, options)
        if c1 <= c1_error or c2 <= c2_error:  # a beta so close to 1 that its correction has no digit left
            unbounded = np.full_like(theta, np.inf)
            return unbounded, AdamRoundoff(m, v, None if roundoff.v_max is None else unbounded)
        v_max, low, high = _second_moment_interval(v, roundoff.v_max, after, c2, c2_error, options)

        # 4 roundings in a denominator; 6 more in an end point: root, sum, the factor (2), two reciprocals.
        exact = denominator(second_moment(after, options, c2), c2, options)
        least = denominator(low, c2 + c2_error, options) * (1.0 - gamma(10))
        most = denominator(high, c2 - c2_error, options) * (1.0 + gamma(10))
        numerator = np.abs(after.m) / c1
        c1_least = c1 - c1_error
        step = (m / c1_least + numerator * (c1_error / c1_least)) / least
        step = step + numerator * np.maximum(1.0 / least - 1.0 / exact, 1.0 / exact - 1.0 / most)
        size = (np.abs(after.m) + m) / (c1_least * least)
        rate = schedule_multiplier * options.lr
        # The learning rate may be multiplied into the numerator first: what underflows there is then divided.
        threshold = _threshold(theta, rate * step + UNDERFLOW / least, rate * size, options, schedule_multiplier)
    return threshold, AdamRoundoff(m, v, v_max)


def _gradient_magnitude(
    theta: Float64Array, grad: Float64Array, options: SGDOptions | AdamOptions, decoupled: bool
) -> tuple[Float64Array, Float64Array]:
    """Return (magnitude, rounding error) of the gradient that enters the moments: g, or g + lambda*theta."""
    if decoupled:
        return np.abs(grad), np.zeros_like(theta)
    error = gamma(3) * (np.abs(grad) + options.weight_decay * np.abs(theta)) + UNDERFLOW
    return np.abs(grad + options.weight_decay * theta) + error, error


def _correction_errors(step: int, c1: float, c2: float, options: AdamOptions) -> tuple[float, float]:
    """Return the absolute errors of c1 and c2: pow by repeated multiplication or library, then 1 - power."""
    if options.bias_correction is BiasCorrection.OFF:
        return 0.0, 0.0
    relative = gamma(2 * (step + 1) + 8)
    return (1.0 - c1) * relative + UNIT_ROUNDOFF, (1.0 - c2) * relative + UNIT_ROUNDOFF


def _second_moment_interval(
    v_error: Float64Array,
    v_max_error: Float64Array | None,
    after: AdamState,
    c2: float,
    c2_error: float,
    options: AdamOptions,
) -> tuple[Float64Array | None, Float64Array, Float64Array]:
    """Return (new bound on v_max, lowest vhat, highest vhat); a maximum is off by at most the larger error.

    At most 3 roundings in vhat beyond those of v and c2, and 6 in the end point itself: the sum or
    difference of v and of c2, the quotient, the factor (2), and vhat, from which it is subtracted.
    """

    def corrected(value: Float64Array, error: Float64Array) -> tuple[Float64Array, Float64Array]:
        low = np.maximum(value - error, 0.0) / (c2 + c2_error) * (1.0 - gamma(9))
        return low, (value + error) / (c2 - c2_error) * (1.0 + gamma(9))

    if after.v_max is None or v_max_error is None:
        return None, *corrected(after.v, v_error)
    if options.amsgrad is AMSGrad.RAW:
        v_max_error = np.maximum(v_max_error, v_error)
        return v_max_error, *corrected(after.v_max, v_max_error)
    low, high = corrected(after.v, v_error)
    v_hat = after.v / c2
    v_max_error = np.maximum(v_max_error, np.maximum(high - v_hat, v_hat - low))
    return v_max_error, np.maximum(after.v_max - v_max_error, 0.0), after.v_max + v_max_error


def _threshold(
    theta: Float64Array,
    step_error: Float64Array,
    step_size: Float64Array,
    options: SGDOptions | AdamOptions,
    schedule_multiplier: float,
) -> Float64Array:
    """Return twice the bound on theta_t, from the error and the magnitude of the step without decay.

    At most 10 further roundings in a term. The longest is c*u of the updated order: learning rate and
    corrections into the step (5), theta - u (1), the coefficient (2), its product (1), the last subtraction
    (1); the proximal form has as many, with 1 + c and the division in place of the last two.
    """
    coefficient = 0.0
    if isinstance(options, SGDWOptions | AdamWOptions):
        coefficient = decay_coefficient(options, schedule_multiplier)
    magnitude = (1.0 + coefficient) * np.abs(theta) + (1.0 + coefficient) * (step_size + step_error)
    bound = (1.0 + coefficient) * step_error + gamma(10) * magnitude + UNDERFLOW
    return 2.0 * EVALUATION * bound
