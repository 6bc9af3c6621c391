"""Adam: L2 regularisation and decoupled weight decay.

Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, Algorithm 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .decay import Float64Array, decay_coefficient, decayed_step
from .namespace import namespace_of
from .options import AdamOptions, AdamWOptions, AMSGrad, BiasCorrection, Epsilon


@dataclass(frozen=True, slots=True)
class AdamState:
    """What Adam carries from one step to the next: steps taken, the moments, AMSGrad's maximum."""

    step: int
    m: Float64Array
    v: Float64Array
    v_max: Float64Array | None = None
    """Maximum of v (AMSGrad.RAW) or of vhat (AMSGrad.CORRECTED) so far; None without AMSGrad."""


def adam_init(theta: Float64Array, options: AdamOptions) -> AdamState:
    """Return the state before the first step: m_0 = v_0 = 0."""
    xp = namespace_of(theta)
    zeros = xp.zeros_like(theta, dtype=xp.float64)
    return AdamState(0, zeros, zeros, None if options.amsgrad is AMSGrad.OFF else zeros)


def bias_corrections(step: int, options: AdamOptions) -> tuple[float, float]:
    """Return (c1, c2) = (1 - beta1**t, 1 - beta2**t) of step t, by `options.bias_correction`."""
    if options.bias_correction is BiasCorrection.OFF:
        return 1.0, 1.0
    exponent = step + 1 if options.bias_correction is BiasCorrection.OFF_BY_ONE else step
    beta1 = options.beta1 if options.correction_beta1 is None else options.correction_beta1
    beta2 = options.beta2 if options.correction_beta2 is None else options.correction_beta2
    return 1.0 - beta1**exponent, 1.0 - beta2**exponent


def denominator(v_hat: Float64Array, c2: float, options: AdamOptions) -> Float64Array:
    """Return Adam's denominator from the corrected second moment `v_hat` and the correction `c2` itself."""
    sqrt = namespace_of(v_hat).sqrt
    match options.epsilon:
        case Epsilon.OUTSIDE:
            return sqrt(v_hat) + options.eps
        case Epsilon.HAT:
            return sqrt(v_hat) + options.eps / math.sqrt(c2)
        case Epsilon.INSIDE:
            return sqrt(v_hat + options.eps)


def adam_advance(grad: Float64Array, state: AdamState, options: AdamOptions) -> AdamState:
    """Return the state after `grad` entered the moments (Algorithm 2 lines 7 and 8).

    m_t = beta1 * m_{t-1} + (1 - beta1) * g;  v_t = beta2 * v_{t-1} + (1 - beta2) * g * g
    """
    m = options.beta1 * state.m + (1.0 - options.beta1) * grad
    v = options.beta2 * state.v + (1.0 - options.beta2) * (grad * grad)
    v_max = state.v_max
    if v_max is not None:
        c2 = bias_corrections(state.step + 1, options)[1]
        v_max = namespace_of(v).maximum(v_max, v if options.amsgrad is AMSGrad.RAW else v / c2)
    return AdamState(state.step + 1, m, v, v_max)


def second_moment(state: AdamState, options: AdamOptions, c2: float) -> Float64Array:
    """Return vhat_t, the corrected second moment that the denominator uses."""
    if state.v_max is None:
        return state.v / c2
    return state.v_max / c2 if options.amsgrad is AMSGrad.RAW else state.v_max


def adam_update(state: AdamState, options: AdamOptions, schedule_multiplier: float = 1.0) -> Float64Array:
    """Return u_t = eta_t * alpha * mhat / (sqrt(vhat) + eps), the step without decay.

    `options.epsilon` places eps. Where the denominator is 0 (eps = 0 and no gradient yet) the result is
    NaN, as it is for an implementation that divides.
    """
    c1, c2 = bias_corrections(state.step, options)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = (state.m / c1) / denominator(second_moment(state, options, c2), c2, options)
    return (schedule_multiplier * options.lr) * direction


def adam_l2(
    theta: Float64Array,
    grad: Float64Array,
    state: AdamState,
    options: AdamOptions,
    schedule_multiplier: float = 1.0,
) -> tuple[Float64Array, AdamState]:
    """One step of Adam with L2 regularisation (Algorithm 2, the violet terms).

    g <- g + lambda * theta_{t-1};  m, v from g;  theta_t = theta_{t-1} - eta_t * alpha * mhat / (sqrt(vhat) + eps)

    `theta` and `grad` are float64 arrays of one shape; `state` is that of the step before (`adam_init`
    at first). Returns new arrays and a new state; nothing passed in is changed.
    """
    state = adam_advance(grad + options.weight_decay * theta, state, options)
    return theta - adam_update(state, options, schedule_multiplier), state


def adamw(
    theta: Float64Array,
    grad: Float64Array,
    state: AdamState,
    options: AdamWOptions,
    schedule_multiplier: float = 1.0,
) -> tuple[Float64Array, AdamState]:
    """One step of AdamW, Adam with decoupled weight decay (Algorithm 2, the green terms).

    m, v from g_t alone;
    theta_t = theta_{t-1} - eta_t * (alpha * mhat / (sqrt(vhat) + eps) + lambda * theta_{t-1})

    Arguments and results as for `adam_l2`; `options.law` and `options.order` say how implementations
    depart from the last line.
    """
    state = adam_advance(grad, state, options)
    update = adam_update(state, options, schedule_multiplier)
    return decayed_step(theta, update, decay_coefficient(options, schedule_multiplier), options.order), state
