"""The acceptance threshold where numbers underflow, on platforms that flush them to zero and on those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from optconform.reference import RULES, BiasCorrection, Momentum
from optconform.reference.arithmetic import arithmetic
from optconform.reference.platforms import PLATFORMS
from optconform.reference.rules import track, tracked_step

SMALLEST_NORMAL = 2.0**-1022


def flushed(value):
    return np.where(np.abs(value) < SMALLEST_NORMAL, 0.0, value)


def kept(value):
    return value


def tiny(rng, *shape):
    """Gradients around the smallest normal number, as well as some far above it."""
    return rng.choice([-1.0, 1.0], shape) * SMALLEST_NORMAL * 2.0 ** rng.uniform(-2, 6, shape)


PLATFORM_OF = {flushed: PLATFORMS["xla-cpu"], kept: PLATFORMS["cpu"]}


def farthest_in_thresholds(rule, options, implementation, grads, f):
    """Largest distance over steps and elements; theta starts from zero, where no rounding hides an underflow."""
    where, theta = arithmetic("float64", PLATFORM_OF[f]), np.zeros(grads.shape[1])
    tracked, largest = track(theta, options), 0.0
    for grad in grads:
        expected, threshold, tracked = tracked_step(RULES[rule], theta, grad, tracked, options, 1.0, where)
        threshold = where.allowance * threshold
        theta = implementation(theta, grad)
        largest = max(largest, float(np.max(np.abs(theta - expected) / threshold)))
    return largest


def sgd(options, f):
    buffer = np.zeros(())

    def step(theta, grad):
        nonlocal buffer
        grad = f(grad + f(options.weight_decay * theta))
        if options.momentum_form is Momentum.LR_INSIDE:
            grad = f(options.lr * grad)
        buffer = f(f(options.momentum * buffer) + f((1.0 - options.dampening) * grad))
        return f(theta - (buffer if options.momentum_form is Momentum.LR_INSIDE else f(options.lr * buffer)))

    return step


def adam_that_scales_first(options, f):
    """The learning rate goes into the numerator before the division, as in Keras; v underflows to zero."""
    m = np.zeros(())

    def step(theta, grad):
        nonlocal m
        grad = f(grad + f(options.weight_decay * theta))
        m = f(m + f(f(grad - m) * (1.0 - options.beta1)))
        return f(theta - f(f(m * options.lr) / options.eps))

    return step


@pytest.mark.parametrize("f", [flushed, kept])
@pytest.mark.parametrize("momentum_form", Momentum)
def test_sgd(momentum_form, f):
    options = RULES["sgd_l2"].options(
        lr=0.5, weight_decay=0.5, momentum=0.9, dampening=0.5, momentum_form=momentum_form
    )
    grads = tiny(np.random.default_rng(0), 20, 4096)
    assert farthest_in_thresholds("sgd_l2", options, sgd(options, f), grads, f) <= 1.0


@pytest.mark.parametrize("f", [flushed, kept])
@pytest.mark.parametrize("lr", [1.0, 1e-3])
def test_adam(lr, f):
    options = RULES["adam_l2"].options(lr=lr, beta1=0.5, eps=1e-8, bias_correction=BiasCorrection.OFF)
    grads = tiny(np.random.default_rng(0), 20, 4096)
    assert farthest_in_thresholds("adam_l2", options, adam_that_scales_first(options, f), grads, f) <= 1.0
