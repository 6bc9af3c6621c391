"""The compiled engine: one fused loop per step and block. Needs the extra `fast` (Numba).

Each loop evaluates the operations of the pure step functions in their order, element by element, so
the two agree bit for bit; Numba contracts nothing into fused multiply-adds unless told to. Everything
that is one number per step is computed by the same functions as there and handed in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from .adam import bias_corrections
from .decay import Float64Array, decay_coefficient
from .options import (
    AdamOptions,
    AdamWOptions,
    AMSGrad,
    DecayOrder,
    Epsilon,
    Momentum,
    SGDOptions,
    SGDWOptions,
)
from .rules import Options, Rule
from .sgd import SGDState, gradient_scale

loop = numba.njit(error_model="numpy", nogil=True)
"""NumPy's division: no check for a zero divisor, which would keep the loop from being vectorised."""
element = numba.njit(error_model="numpy", forceinline=True)
"""For what a loop does with one element: a call left in the loop would keep it from being vectorised as well."""


def replay_block(
    rule: Rule,
    theta: Float64Array,
    read: Callable[[int], NDArray[Any]],
    options: Options,
    multipliers: Sequence[float],
) -> None:
    """Replay one block through all steps in place; `read(t)` is the block's gradient in step t."""
    run = _replay_adam if isinstance(options, AdamOptions) else _replay_sgd
    run(theta, read, options, multipliers)  # type: ignore[arg-type]


def _decay(options: Options, multiplier: float) -> tuple[DecayOrder | None, float, float]:
    """Return (order of the decay or None for L2, c_t, lambda of the L2 term) of one step."""
    if isinstance(options, SGDWOptions | AdamWOptions):
        return options.order, decay_coefficient(options, multiplier), 0.0
    return None, 0.0, options.weight_decay


def _replay_adam(
    theta: Float64Array, read: Callable[[int], NDArray[Any]], options: AdamOptions, multipliers: Sequence[float]
) -> None:
    m, v, v_max = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    kernel = _adam_kernel(options.epsilon, options.amsgrad, _decay(options, 1.0)[0])
    for step, multiplier in enumerate(multipliers, start=1):
        c1, c2 = bias_corrections(step, options)
        eps = options.eps / math.sqrt(c2) if options.epsilon is Epsilon.HAT else options.eps
        _, coefficient, l2 = _decay(options, multiplier)
        grad = np.ascontiguousarray(read(step), dtype=np.float64)
        betas = (options.beta1, 1.0 - options.beta1, options.beta2, 1.0 - options.beta2)
        kernel(theta, grad, m, v, v_max, betas, c1, c2, eps, multiplier * options.lr, coefficient, l2)


def _replay_sgd(
    theta: Float64Array, read: Callable[[int], NDArray[Any]], options: SGDOptions, multipliers: Sequence[float]
) -> None:
    buffer = np.zeros_like(theta)
    inside = options.momentum_form is Momentum.LR_INSIDE
    kernel = _sgd_kernel(options.nesterov, _decay(options, 1.0)[0])
    for step, multiplier in enumerate(multipliers, start=1):
        rate = multiplier * options.lr
        scale = gradient_scale(SGDState(step - 1, buffer), options, multiplier)
        _, coefficient, l2 = _decay(options, multiplier)
        grad = np.ascontiguousarray(read(step), dtype=np.float64)
        entering, leaving = (rate, 1.0) if inside else (1.0, rate)
        kernel(theta, grad, buffer, options.momentum, scale, entering, leaving, coefficient, l2)


@functools.cache
def _decayed(order: DecayOrder | None) -> Any:
    """Compile theta_t from (theta_{t-1}, u_t, c_t) for one order of decay, or for none."""
    previous, updated, proximal = (order is each for each in DecayOrder)

    @element
    def decayed(theta, update, coefficient):  # type: ignore[no-untyped-def]
        if previous:
            return theta - (update + coefficient * theta)
        moved = theta - update
        if updated:
            return moved - coefficient * moved
        if proximal:
            return moved / (1.0 + coefficient)
        return moved

    return decayed


@functools.cache
def _adam_kernel(epsilon: Epsilon, amsgrad: AMSGrad, order: DecayOrder | None) -> Any:
    """Compile one step of Adam for one combination of axes: a branch left in the loop costs fivefold."""
    decayed = _decayed(order)
    l2_term, inside = order is None, epsilon is Epsilon.INSIDE
    raw, corrected = amsgrad is AMSGrad.RAW, amsgrad is AMSGrad.CORRECTED

    @loop
    def step(theta, grad, m, v, v_max, betas, c1, c2, eps, rate, coefficient, l2):  # type: ignore[no-untyped-def]
        beta1, a1, beta2, a2 = betas
        for i in range(theta.size):
            g = grad[i]
            if l2_term:
                g = g + l2 * theta[i]
            first = beta1 * m[i] + a1 * g
            second = beta2 * v[i] + a2 * (g * g)
            m[i] = first
            v[i] = second
            if raw:
                second = np.maximum(v_max[i], second)  # unlike `max`, hands on a NaN
                v_max[i] = second
            second = second / c2
            if corrected:
                second = np.maximum(v_max[i], second)
                v_max[i] = second
            denominator = np.sqrt(second + eps) if inside else np.sqrt(second) + eps
            theta[i] = decayed(theta[i], rate * ((first / c1) / denominator), coefficient)

    return step


@functools.cache
def _sgd_kernel(nesterov: bool, order: DecayOrder | None) -> Any:
    """Compile one step of SGD for one combination of axes."""
    decayed = _decayed(order)
    l2_term = order is None

    @loop
    def step(theta, grad, buffer, momentum, scale, entering, leaving, coefficient, l2):  # type: ignore[no-untyped-def]
        for i in range(theta.size):
            g = grad[i]
            if l2_term:
                g = g + l2 * theta[i]
            direction = momentum * buffer[i] + scale * g
            buffer[i] = direction
            if nesterov:
                direction = entering * g + momentum * direction
            theta[i] = decayed(theta[i], leaving * direction, coefficient)

    return step
