"""SGD with momentum: L2 regularisation and decoupled weight decay.

Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from .decay import Float64Array, decay_coefficient, decayed_step
from .namespace import namespace_of
from .options import Momentum, SGDOptions, SGDWOptions


@dataclass(frozen=True, slots=True)
class SGDState:
    """What SGD carries from one step to the next: steps taken, and the momentum buffer b."""

    step: int
    buffer: Float64Array


def sgd_init(theta: Float64Array) -> SGDState:
    """Return the state before the first step: b_0 = 0."""
    xp = namespace_of(theta)
    return SGDState(0, xp.zeros_like(theta, dtype=xp.float64))


def sgd_advance(grad: Float64Array, state: SGDState, options: SGDOptions, schedule_multiplier: float = 1.0) -> SGDState:
    """Return the state after `grad` entered the momentum buffer.

    b_t = mu * b_{t-1} + s * g, with s = (1 - dampening), times lr_t where the rate is inside the buffer.
    """
    return SGDState(
        state.step + 1, options.momentum * state.buffer + gradient_scale(state, options, schedule_multiplier) * grad
    )


def gradient_scale(state: SGDState, options: SGDOptions, schedule_multiplier: float) -> float:
    """Return s, the factor with which the next gradient enters the momentum buffer after `state`."""
    dampened = state.step > 0 or options.dampen_first_step
    scale = 1.0 - options.dampening if dampened else 1.0
    if options.momentum_form is Momentum.LR_INSIDE:
        scale *= schedule_multiplier * options.lr
    return scale


def sgd_update(
    grad: Float64Array, state: SGDState, options: SGDOptions, schedule_multiplier: float = 1.0
) -> Float64Array:
    """Return u_t, the step without decay, from the gradient and the state that already holds it.

    Plain: b_t. Nesterov: g + mu * b_t, g times lr_t where the rate is inside. Times lr_t where it is outside.
    """
    rate = schedule_multiplier * options.lr
    inside = options.momentum_form is Momentum.LR_INSIDE
    direction = state.buffer
    if options.nesterov:
        direction = (rate * grad if inside else grad) + options.momentum * state.buffer
    return direction if inside else rate * direction


def sgd_l2(
    theta: Float64Array,
    grad: Float64Array,
    state: SGDState,
    options: SGDOptions,
    schedule_multiplier: float = 1.0,
) -> tuple[Float64Array, SGDState]:
    """One step of SGD with momentum and L2 regularisation (Algorithm 1, the violet terms).

    g <- g + lambda * theta_{t-1};  m_t = mu * m_{t-1} + eta_t * alpha * g;  theta_t = theta_{t-1} - m_t

    `theta` and `grad` are float64 arrays of one shape; `state` is that of the step before (`sgd_init`
    at first). Returns new arrays and a new state; nothing passed in is changed.
    """
    regularised = grad + options.weight_decay * theta
    state = sgd_advance(regularised, state, options, schedule_multiplier)
    return theta - sgd_update(regularised, state, options, schedule_multiplier), state


def sgdw(
    theta: Float64Array,
    grad: Float64Array,
    state: SGDState,
    options: SGDWOptions,
    schedule_multiplier: float = 1.0,
) -> tuple[Float64Array, SGDState]:
    """One step of SGDW, SGD with momentum and decoupled weight decay (Algorithm 1, the green terms).

    m_t = mu * m_{t-1} + eta_t * alpha * g_t;  theta_t = theta_{t-1} - m_t - eta_t * lambda * theta_{t-1}

    Arguments and results as for `sgd_l2`; `options.law` and `options.order` say how implementations
    depart from the last line.
    """
    state = sgd_advance(grad, state, options, schedule_multiplier)
    update = sgd_update(grad, state, options, schedule_multiplier)
    return decayed_step(theta, update, decay_coefficient(options, schedule_multiplier), options.order), state
