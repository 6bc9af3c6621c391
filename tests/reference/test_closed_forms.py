"""Gradients for which the whole trajectory has a closed form: constant, zero, a single impulse, alternating signs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optconform.reference import (
    RULES,
    AdamOptions,
    AdamWOptions,
    AMSGrad,
    BiasCorrection,
    DecayLaw,
    DecayOrder,
    Epsilon,
    Momentum,
    SGDOptions,
    SGDWOptions,
)
from optconform.reference.rules import track, tracked_step

STEPS = 60
THETA = np.array([1.5, -0.25, 3.0, 0.0])
GRAD = np.array([0.5, -2.0, 1e-3, 7.0])
SCHEDULE = [1.0 if t < 20 else 0.1 if t < 40 else 0.5 for t in range(STEPS)]
ROUNDING = STEPS * 32 * 2.0**-53
"""32 roundings a step: more than any step takes, on terms that do not cancel; 2.1e-13."""


def trajectory(name, options, grads, multipliers=None, theta=THETA):
    """Return (list of theta_t, list of states) with theta_0 and no state first."""
    tracked, thetas, states = track(theta, options), [theta], [None]
    for t, grad in enumerate(grads):
        eta = 1.0 if multipliers is None else multipliers[t]
        after, _, tracked = tracked_step(RULES[name], thetas[-1], np.asarray(grad), tracked, options, eta)
        thetas.append(after)
        states.append(tracked.state)
    return thetas, states


def assert_close(actual, expected, *terms):
    """Within `ROUNDING` of the largest of the terms that were summed to `expected`."""
    scale = np.max([np.abs(np.broadcast_to(x, np.shape(expected))) for x in (expected, *terms)], axis=0)
    np.testing.assert_array_less(np.abs(actual - expected), ROUNDING * scale + 1e-300)


# --- Adam without decay --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adam_l2", "adamw"])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.0, 0.5), (0.5, 0.9)])
def test_constant_gradient_moments_and_steps(name, beta1, beta2):
    """M_t = g*(1 - beta1**t), v_t = g**2*(1 - beta2**t); corrected, every step is lr_t * g/(|g| + eps)."""
    options = RULES[name].options(lr=0.05, beta1=beta1, beta2=beta2, eps=1e-3)
    thetas, states = trajectory(name, options, [GRAD] * STEPS, SCHEDULE)
    for t in range(1, STEPS + 1):
        assert_close(states[t].m, -GRAD * math.expm1(t * math.log(beta1)) if beta1 else GRAD)
        assert_close(states[t].v, -(GRAD**2) * math.expm1(t * math.log(beta2)))
        walked = 0.05 * math.fsum(SCHEDULE[:t]) * GRAD / (np.abs(GRAD) + 1e-3)
        assert_close(thetas[t], THETA - walked, THETA, walked)


FIRST_STEPS = {  # (epsilon, bias correction) -> |u_1| / lr as a function of x = |g|, for betas b, c
    (Epsilon.OUTSIDE, BiasCorrection.ON): lambda x, e, b, c: x / (x + e),
    (Epsilon.HAT, BiasCorrection.ON): lambda x, e, b, c: x / (x + e / math.sqrt(1 - c)),
    (Epsilon.INSIDE, BiasCorrection.ON): lambda x, e, b, c: x / np.hypot(x, math.sqrt(e)),
    (Epsilon.OUTSIDE, BiasCorrection.OFF): lambda x, e, b, c: (1 - b) * x / (math.sqrt(1 - c) * x + e),
    (Epsilon.HAT, BiasCorrection.OFF): lambda x, e, b, c: (1 - b) * x / (math.sqrt(1 - c) * x + e),
    (Epsilon.INSIDE, BiasCorrection.OFF): lambda x, e, b, c: (1 - b) * x / np.hypot(math.sqrt(1 - c) * x, math.sqrt(e)),
    (Epsilon.OUTSIDE, BiasCorrection.OFF_BY_ONE): lambda x, e, b, c: x / (1 + b) / (x / math.sqrt(1 + c) + e),
    (Epsilon.HAT, BiasCorrection.OFF_BY_ONE): lambda x, e, b, c: (
        x / (1 + b) * math.sqrt(1 + c) / (x + e / math.sqrt(1 - c))
    ),
    (Epsilon.INSIDE, BiasCorrection.OFF_BY_ONE): lambda x, e, b, c: (
        x / (1 + b) / np.hypot(x / math.sqrt(1 + c), math.sqrt(e))
    ),
}


@pytest.mark.parametrize("amsgrad", AMSGrad)
@pytest.mark.parametrize(("epsilon", "correction"), FIRST_STEPS)
def test_first_step(epsilon, correction, amsgrad):
    options = AdamOptions(
        lr=0.1, beta1=0.8, beta2=0.9, eps=0.02, epsilon=epsilon, bias_correction=correction, amsgrad=amsgrad
    )
    thetas, _ = trajectory("adam_l2", options, [GRAD])
    step = 0.1 * np.sign(GRAD) * FIRST_STEPS[epsilon, correction](np.abs(GRAD), 0.02, 0.8, 0.9)
    assert_close(thetas[1], THETA - step, THETA, step)


def test_l2_alone_steps_by_the_sign_of_theta():
    """Without a gradient the first L2 step is lr * lambda*theta/(|lambda*theta| + eps), however small lambda."""
    options = AdamOptions(lr=0.1, weight_decay=1e-3, eps=1e-6)
    thetas, _ = trajectory("adam_l2", options, [np.zeros(4)])
    assert_close(thetas[1], THETA - 0.1 * THETA / (np.abs(THETA) + 1e-3), THETA)


@pytest.mark.parametrize("amsgrad", AMSGrad)
def test_impulse_then_nothing(amsgrad):
    """One gradient, then zeros: m = (1-b1)*b1**(t-1)*g, v = (1-b2)*b2**(t-1)*g**2; the maximum remembers step 1."""
    b1, b2, eps = 0.9, 0.99, 1e-4
    options = AdamWOptions(lr=0.1, beta1=b1, beta2=b2, eps=eps, amsgrad=amsgrad)
    thetas, states = trajectory("adamw", options, [GRAD] + [np.zeros(4)] * (STEPS - 1))
    walked = np.zeros(4)
    for t in range(1, STEPS + 1):
        corrected = -math.expm1(t * math.log(b2))
        v_hat = {
            AMSGrad.OFF: (1 - b2) * b2 ** (t - 1) / corrected * GRAD**2,
            AMSGrad.RAW: (1 - b2) / corrected * GRAD**2,
            AMSGrad.CORRECTED: GRAD**2,
        }[amsgrad]
        m_hat = (1 - b1) * b1 ** (t - 1) / -math.expm1(t * math.log(b1)) * GRAD
        walked = walked + 0.1 * m_hat / (np.sqrt(v_hat) + eps)
        assert_close(thetas[t], THETA - walked, THETA, walked)
        if amsgrad is not AMSGrad.OFF:
            assert_close(states[t].v_max, ((1 - b2) if amsgrad is AMSGrad.RAW else 1.0) * GRAD**2)


def test_alternating_gradient():
    """g, -g, g, ...: m_t = (1-b)/(1+b) * (b**t - (-1)**t) * g, while vhat stays g**2."""
    b = 0.9
    options = AdamOptions(lr=0.1, beta1=b)
    _, states = trajectory("adam_l2", options, [GRAD * (-1.0) ** t for t in range(STEPS)])
    for t in range(1, STEPS + 1):
        assert_close(states[t].m, (1 - b) / (1 + b) * (b**t - (-1) ** t) * GRAD, GRAD)


# --- decay alone, and decay with a constant step --------------------------------------------------


def coefficient(law, eta):
    return {DecayLaw.LR_WD: eta * 0.3 * 0.2, DecayLaw.SCHEDULE_WD: eta * 0.2, DecayLaw.WD: 0.2}[law]


DECOUPLED = {
    "adamw": lambda **axes: AdamWOptions(lr=0.3, weight_decay=0.2, eps=0.5, **axes),
    "sgdw": lambda **axes: SGDWOptions(lr=0.3, weight_decay=0.2, **axes),
}


@pytest.mark.parametrize("name", DECOUPLED)
@pytest.mark.parametrize("law", DecayLaw)
@pytest.mark.parametrize("order", DecayOrder)
def test_zero_gradient_leaves_a_product_of_factors(name, law, order):
    options = DECOUPLED[name](law=law, order=order)
    thetas, _ = trajectory(name, options, [np.zeros(4)] * STEPS, SCHEDULE)
    for t in range(1, STEPS + 1):
        factors = [coefficient(law, eta) for eta in SCHEDULE[:t]]
        if order is DecayOrder.PROXIMAL:
            expected = THETA / math.prod(1 + c for c in factors)
        else:
            expected = THETA * math.prod(1 - c for c in factors)
        assert_close(thetas[t], expected)


@pytest.mark.parametrize("name", DECOUPLED)
@pytest.mark.parametrize("law", DecayLaw)
@pytest.mark.parametrize("order", DecayOrder)
def test_constant_step_converges_to_its_fixed_point(name, law, order):
    """Theta_t = f + (theta_0 - f) * q**t: q = 1-c, f = -u/c (previous), -u*(1-c)/c (updated); q = 1/(1+c), f = -u/c."""
    options = DECOUPLED[name](law=law, order=order)
    u = 0.3 * GRAD / (np.abs(GRAD) + 0.5) if name == "adamw" else 0.3 * GRAD
    thetas, _ = trajectory(name, options, [GRAD] * STEPS)
    c = coefficient(law, 1.0)
    q = 1 / (1 + c) if order is DecayOrder.PROXIMAL else 1 - c
    fixed = -u * (q if order is DecayOrder.UPDATED else 1.0) / c
    for t in range(1, STEPS + 1):
        assert_close(thetas[t], fixed + (THETA - fixed) * q**t, fixed, THETA)


@pytest.mark.parametrize("weight_decay", [0.1, 0.5, 4.0])
@pytest.mark.parametrize("mu", [0.0, 0.3, 0.9])
def test_l2_without_gradient_is_a_linear_recurrence(mu, weight_decay):
    """theta_{t+1} = (1 + mu - x)*theta_t - mu*theta_{t-1}, x = lr*lambda: a sum of powers of two eigenvalues.

    The roots of z**2 - (1 + mu - x)*z + mu are real or complex, by the values here.
    """
    options = SGDOptions(lr=0.3, weight_decay=weight_decay, momentum=mu)
    thetas, _ = trajectory("sgd_l2", options, [np.zeros(4)] * STEPS)
    x = 0.3 * weight_decay
    z1, z2 = np.roots([1.0, -(1 + mu - x), mu]).astype(complex)
    first = (1 - x - z2) / (z1 - z2)
    for t in range(1, STEPS + 1):
        expected = THETA * (first * z1**t + (1 - first) * z2**t)
        np.testing.assert_allclose(expected.imag, 0.0, atol=1e-10)
        # The two powers cancel, and the roots carry the condition of their difference.
        allowed = ROUNDING * STEPS * (abs(first) + abs(1 - first)) * np.abs(THETA) / abs(z1 - z2)
        assert np.all(np.abs(thetas[t] - expected.real) <= allowed)


# --- SGD: geometric sums ---------------------------------------------------------------------------


def geometric(mu, n):
    """1 + mu + ... + mu**(n-1)."""
    return (1 - mu**n) / (1 - mu)


@pytest.mark.parametrize("form", Momentum)
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("dampen_first", [False, True])
@pytest.mark.parametrize("dampening", [0.0, 0.4])
def test_constant_gradient_makes_geometric_sums(form, nesterov, dampen_first, dampening):
    """b_t = (1-d)*g*(1-mu**t)/(1-mu), plus d*g*mu**(t-1) where the first gradient is whole; theta sums them."""
    mu, lr = 0.8, 0.3
    options = SGDOptions(
        lr=lr, momentum=mu, nesterov=nesterov, dampening=dampening, dampen_first_step=dampen_first, momentum_form=form
    )
    thetas, states = trajectory("sgd_l2", options, [GRAD] * STEPS)
    extra = 0.0 if dampen_first else dampening
    for t in range(1, STEPS + 1):
        buffer = (1 - dampening) * geometric(mu, t) + extra * mu ** (t - 1)
        assert_close(states[t].buffer, GRAD * buffer * (lr if form is Momentum.LR_INSIDE else 1.0))
        summed = (1 - dampening) * (t - mu * geometric(mu, t)) / (1 - mu) + extra * geometric(mu, t)
        walked = lr * GRAD * (t + mu * summed if nesterov else summed)
        assert_close(thetas[t], THETA - walked, THETA, walked)


@pytest.mark.parametrize("form", Momentum)
def test_where_the_rate_sits_shows_after_a_jump(form):
    """After k steps at eta = 1 and n at eta = r the step is lr*g times mu**n*G(k) + r*G(n) inside, r*G(k+n) outside."""
    mu, lr, k, r = 0.8, 0.3, 20, 0.1
    options = SGDOptions(lr=lr, momentum=mu, momentum_form=form)
    thetas, _ = trajectory("sgd_l2", options, [GRAD] * STEPS, [1.0] * k + [r] * (STEPS - k))
    for n in range(1, STEPS - k + 1):
        inside = mu**n * geometric(mu, k) + r * geometric(mu, n)
        step = lr * GRAD * (inside if form is Momentum.LR_INSIDE else r * geometric(mu, k + n))
        assert_close(thetas[k + n - 1] - thetas[k + n], step, thetas[k + n])
