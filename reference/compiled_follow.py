"""The compiled engine of `follow`: one call per block takes the step, bounds its errors and compares. Needs Numba."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .adam import bias_corrections
from .arithmetic import Arithmetic, Float64Array
from .bound_factors import (
    DecayFactors,
    adam_moment_factors,
    adam_step_factors,
    decay_factors,
    l2_factors,
    sgd_factors,
)
from .comparison import Beside, Comparison
from .compiled import element, loop
from .compiled_bound import Axes, adam_loop, roundings, sgd_loop
from .decay import decay_coefficient
from .options import AdamOptions, AdamWOptions, Momentum, SGDWOptions
from .rules import Options, Tracked

CHUNK = 1024
"""Elements stepped and then compared while their theta_t and bound are in the first-level cache."""
_INFINITY = np.int64(0x7FF0_0000_0000_0000)
_WITHOUT_SIGN = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_NOTHING: Float64Array = np.empty(0)
_NO_ELEMENTS: NDArray[np.intp] = np.empty(0, dtype=np.intp)
_NO_DECAY = DecayFactors(0.0, 0.0, 0.0, 0.0, 0.0)


class CompiledRule:
    """One rule in one arithmetic, with the numbers that stay the same over all steps."""

    def __init__(self, options: Options, arithmetic: Arithmetic, *, exact_theta: bool) -> None:
        self._options, self._arithmetic, self._exact_theta = options, arithmetic, exact_theta
        self._shared = (*roundings(arithmetic), *l2_factors(options.weight_decay, arithmetic))
        self._moments: tuple[float, ...] = ()
        if isinstance(options, AdamOptions):
            of_m, of_v = adam_moment_factors(options, arithmetic)
            beta1, beta2 = options.beta1, options.beta2
            self._moments = (beta1, 1.0 - beta1, beta2, 1.0 - beta2, *of_m, *of_v)

    def with_options(self, options: Options) -> CompiledRule:
        """Return the same with other hyperparameters."""
        return CompiledRule(options, self._arithmetic, exact_theta=self._exact_theta)

    def at(self, state: Any, schedule_multiplier: float) -> Advance | None:
        """Return what takes the step after `state`; None where only the NumPy form bounds it: no bias correction."""
        options, arithmetic = self._options, self._arithmetic
        coefficient, order, bounded, decayed = 0.0, None, options.weight_decay != 0.0, _NO_DECAY
        if isinstance(options, SGDWOptions | AdamWOptions):
            coefficient, order = decay_coefficient(options, schedule_multiplier), options.order
            bounded = coefficient != 0.0
            decayed = decay_factors(coefficient, order, arithmetic) if bounded else _NO_DECAY
        axes = Axes(order, bounded, self._exact_theta, arithmetic.stores_narrower)
        shared: tuple[float, ...] = (*self._shared, *decayed, coefficient)
        numbers: tuple[float, ...]
        if not isinstance(options, AdamOptions):
            inside = options.momentum_form is Momentum.LR_INSIDE
            kernel = sgd_loop(options.nesterov, inside, axes)
            numbers = (*shared, *sgd_factors(state, options, schedule_multiplier, arithmetic))
        else:
            factors = adam_step_factors(state.step + 1, options, schedule_multiplier, arithmetic)
            if factors is None:
                return None
            kernel = adam_loop(options.epsilon, options.amsgrad, axes)
            v_hat, denominator, update = factors
            corrections = bias_corrections(state.step + 1, options)
            numbers = (*shared, *corrections, *self._moments, *v_hat, *denominator, *update)
        return functools.partial(_advance, kernel, tuple(map(float, numbers)), arithmetic.allowance)


Advance = Callable[..., tuple[Comparison, tuple[Float64Array, Float64Array] | None]]


def _advance(
    kernel: Any,
    numbers: tuple[float, ...],
    allowance: float,
    theta: NDArray[Any],
    theta_error: Float64Array | float,
    grad: NDArray[Any],
    after: NDArray[Any],
    tracked: Tracked,
    beside: Beside | None,
    keep: NDArray[np.intp] | None,
) -> tuple[Comparison, tuple[Float64Array, Float64Array] | None]:
    """Take the step as `follow.advance_block` does."""
    free = isinstance(theta_error, np.ndarray)
    places = _NO_ELEMENTS if keep is None else keep
    kept = np.empty(len(places)), np.empty(len(places))
    ratio, worst, found, expected, bound, decidable = _walk(kernel)(
        _readable(theta), theta_error if free else _NOTHING, theta if free else _NOTHING, _readable(grad),
        _readable(after), _state(tracked), numbers, allowance,
        *((_NOTHING, _NOTHING) if beside is None else (beside.theta, beside.bound)), places, *kept,
    )  # fmt: skip
    counts = {"compared": decidable, "undecidable": len(theta) - decidable}
    comparison = Comparison(ratio, worst, found, expected, bound, **counts) if ratio else Comparison(**counts)
    return comparison, None if keep is None else kept


def _readable(values: NDArray[Any]) -> NDArray[Any]:
    """Return `values` as the loops read them: contiguous, and what Numba has no type for as float64."""
    native = values.dtype in (np.float32, np.float64) and values.dtype.isnative
    return np.ascontiguousarray(values, dtype=None if native else np.float64)


def _state(tracked: Tracked) -> tuple[Float64Array, ...]:
    state, error = tracked.state, tracked.error
    if hasattr(state, "buffer"):
        return state.buffer, error.buffer
    if state.v_max is None:
        return state.m, state.v, _NOTHING, error.m, error.v, _NOTHING
    return state.m, state.v, state.v_max, error.m, error.v, error.v_max


@functools.cache
def _comparison(with_beside: bool) -> tuple[Any, Any]:
    """Compile (what compares one chunk, what finds the first element of a ratio in it)."""

    @element
    def ratio_bits(before, found, expected, bound, beside_theta, beside_bound, i):  # type: ignore[no-untyped-def]
        """Bits of |found - expected| / bound, which as integers rise with it; NaN is cut off at infinity."""
        was, distance = abs(np.float64(before[i])), abs(np.float64(found[i]) - expected[i])
        counts = (bound[i] < np.inf) & (abs(expected[i]) < np.inf)
        decidable = counts & (bound[i] <= was + abs(expected[i]))
        if with_beside:
            counts = counts & (abs(expected[i] - beside_theta[i]) > beside_bound[i])
        ratio = distance / bound[i]
        ratio = ratio if counts & (distance != 0.0) else 0.0
        bits = np.float64(ratio).view(np.int64) & _WITHOUT_SIGN
        return (bits if bits < _INFINITY else _INFINITY), decidable

    @loop
    def compare(before, found, expected, bound, beside_theta, beside_bound):  # type: ignore[no-untyped-def]
        most, decidable = np.int64(0), np.int64(0)
        for i in range(expected.size):
            bits, says = ratio_bits(before, found, expected, bound, beside_theta, beside_bound, i)
            decidable += np.int64(says)
            most = bits if bits > most else most
        return most, decidable

    @loop
    def first(most, before, found, expected, bound, beside_theta, beside_bound):  # type: ignore[no-untyped-def]
        for i in range(expected.size):
            if ratio_bits(before, found, expected, bound, beside_theta, beside_bound, i)[0] == most:
                return i
        return -1

    return compare, first


@functools.cache
def _walk(step: Any) -> Any:
    """Compile the walk through one block for one rule's loop."""
    (compare, first), (compare_beside, first_beside) = _comparison(False), _comparison(True)

    @loop
    def walk(  # type: ignore[no-untyped-def]
        theta, theta_error, free_theta, grad, after, state, numbers, allowance, beside_theta, beside_bound, keep,
        kept_theta, kept_bound,
    ):  # fmt: skip
        expected_chunk, bound_chunk = np.empty(CHUNK), np.empty(CHUNK)
        most, decidable, worst, kept = np.int64(0), 0, -1, 0
        worst_found, worst_expected, worst_bound = 0.0, 0.0, 0.0
        for start in range(0, theta.size, CHUNK):
            stop = min(start + CHUNK, theta.size)
            expected, bound = expected_chunk[: stop - start], bound_chunk[: stop - start]
            step(start, stop, theta, theta_error, grad, state, expected, bound, numbers)
            if free_theta.size:
                theta_error[start:stop] = bound
            for i in range(bound.size):
                bound[i] = allowance * bound[i]
            before, found = theta[start:stop], after[start:stop]
            other_theta, other_bound = beside_theta[start:stop], beside_bound[start:stop]
            if beside_theta.size:
                here, says = compare_beside(before, found, expected, bound, other_theta, other_bound)
            else:
                here, says = compare(before, found, expected, bound, other_theta, other_bound)
            decidable += says
            if here > most:
                if beside_theta.size:
                    at = first_beside(here, before, found, expected, bound, other_theta, other_bound)
                else:
                    at = first(here, before, found, expected, bound, other_theta, other_bound)
                most, worst = here, start + at
                worst_found, worst_expected, worst_bound = np.float64(found[at]), expected[at], bound[at]
            while kept < keep.size and keep[kept] < stop:
                kept_theta[kept] = expected[keep[kept] - start]
                kept_bound[kept] = bound[keep[kept] - start]
                kept += 1
            if free_theta.size:
                free_theta[start:stop] = expected
        return np.int64(most).view(np.float64), worst, worst_found, worst_expected, worst_bound, decidable

    return walk
