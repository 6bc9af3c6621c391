"""The reference against 50 digits, by sums over the whole history instead of recurrences.

Every moment is the explicit weighted sum of the gradients so far, every correction the sum of the
weights, the root a power of one half: nothing is carried from step to step, and no expression is the
reference's own. The reference must lie within half of the threshold, which is claimed to be twice a
bound on the distance of any float64 evaluation from this exact value.
"""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest

from optconform.reference import RULES, AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon, Momentum
from optconform.reference.rules import FLOAT64, track, tracked_step

STEPS = 7
DIGITS = 50


def history_sum(decay, terms):
    """sum over s of decay**(t - s) * term_s, for the last t."""
    return mpmath.fsum(decay ** (len(terms) - 1 - s) * term for s, term in enumerate(terms))


def entering_gradients(rule, grads, thetas, options):
    """The gradients as they enter the moments: with lambda*theta for L2."""
    decay = 0 if rule.decoupled else mpmath.mpf(options.weight_decay)
    return [mpmath.mpf(g) + decay * mpmath.mpf(theta) for g, theta in zip(grads, thetas, strict=True)]


def exact_sgd_update(grads, multipliers, options):
    rates = [mpmath.mpf(eta) * mpmath.mpf(options.lr) for eta in multipliers]
    inside = options.momentum_form is Momentum.LR_INSIDE
    mu = mpmath.mpf(options.momentum)
    dampened = [(1 - mpmath.mpf(options.dampening)) * g for g in grads]
    if not options.dampen_first_step:
        dampened[0] = grads[0]
    if inside:
        dampened = [rate * g for rate, g in zip(rates, dampened, strict=True)]
    buffer = history_sum(mu, dampened)
    if not options.nesterov:
        return buffer if inside else rates[-1] * buffer
    return rates[-1] * grads[-1] + mu * buffer if inside else rates[-1] * (grads[-1] + mu * buffer)


def weight_sum(beta, steps, options):
    """1 - beta**n as (1 - beta) * (1 + beta + ... + beta**(n - 1))."""
    if options.bias_correction is BiasCorrection.OFF:
        return mpmath.mpf(1)
    n = steps + (options.bias_correction is BiasCorrection.OFF_BY_ONE)
    return (1 - beta) * mpmath.fsum(beta**j for j in range(n))


def exact_adam_update(grads, multipliers, options):
    beta1, beta2, eps = (mpmath.mpf(x) for x in (options.beta1, options.beta2, options.eps))
    power1 = beta1 if options.correction_beta1 is None else mpmath.mpf(options.correction_beta1)
    power2 = beta2 if options.correction_beta2 is None else mpmath.mpf(options.correction_beta2)
    steps = len(grads)
    squares = [g**2 for g in grads]
    first = (1 - beta1) * history_sum(beta1, grads) / weight_sum(power1, steps, options)
    seconds = [(1 - beta2) * history_sum(beta2, squares[:s]) for s in range(1, steps + 1)]
    c2 = weight_sum(power2, steps, options)
    if options.amsgrad is AMSGrad.OFF:
        second = seconds[-1] / c2
    elif options.amsgrad is AMSGrad.RAW:
        second = max(seconds) / c2
    else:
        second = max(v / weight_sum(power2, s, options) for s, v in enumerate(seconds, start=1))
    half = mpmath.mpf(1) / 2
    below = {
        Epsilon.OUTSIDE: lambda: second**half + eps,
        Epsilon.HAT: lambda: ((second * c2) ** half + eps) / c2**half,
        Epsilon.INSIDE: lambda: (second + eps) ** half,
    }[options.epsilon]()
    return mpmath.mpf(multipliers[-1]) * mpmath.mpf(options.lr) * first / below


def exact_theta(rule, theta, update, multiplier, options):
    """theta_t with the decay written as a factor of its own (1 - c, or 1/(1 + c))."""
    theta = mpmath.mpf(theta)
    if not rule.decoupled:
        return theta - update
    eta, lr, decay = mpmath.mpf(multiplier), mpmath.mpf(options.lr), mpmath.mpf(options.weight_decay)
    c = {DecayLaw.LR_WD: eta * lr * decay, DecayLaw.SCHEDULE_WD: eta * decay, DecayLaw.WD: decay}[options.law]
    return {
        DecayOrder.PREVIOUS: (1 - c) * theta - update,
        DecayOrder.UPDATED: (1 - c) * (theta - update),
        DecayOrder.PROXIMAL: (theta - update) / (1 + c),
    }[options.order]


def exact_step(rule, grads, thetas, multipliers, options):
    """theta_t of one coordinate from the gradients and the parameters before each step so far."""
    entering = entering_gradients(rule, grads, thetas, options)
    update = (exact_adam_update if rule.family == "adam" else exact_sgd_update)(entering, multipliers, options)
    return exact_theta(rule, thetas[-1], update, multipliers[-1], options)


def combinations(name):
    """Every combination of the axes of one rule."""
    axes = {"law": DecayLaw, "order": DecayOrder} if RULES[name].decoupled else {}
    if RULES[name].family == "adam":
        axes |= {"epsilon": Epsilon, "bias_correction": BiasCorrection, "amsgrad": AMSGrad}
    else:
        axes |= {"nesterov": (False, True), "dampen_first_step": (False, True), "momentum_form": Momentum}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def random_hyperparameters(name, rng):
    chosen = {"lr": 10.0 ** rng.uniform(-6, 0), "weight_decay": rng.uniform(0, 1)}
    if RULES[name].family == "sgd":
        return chosen | {"momentum": rng.uniform(0, 0.99), "dampening": rng.uniform(0, 1)}
    chosen |= {"beta1": rng.uniform(0, 0.99), "beta2": rng.uniform(0.5, 0.9999), "eps": 10.0 ** rng.uniform(-12, -3)}
    if rng.random() < 0.25:
        chosen |= {"correction_beta1": rng.uniform(0, 0.99), "correction_beta2": rng.uniform(0.5, 0.9999)}
    return chosen


def random_history(rng, elements=3):
    """theta_0, gradients over sixteen decades with zeros among them, and a jumping schedule."""
    grads = rng.choice([-1.0, 1.0], (STEPS, elements)) * 10.0 ** rng.uniform(-12, 4, (STEPS, elements))
    grads[rng.random((STEPS, elements)) < 0.15] = 0.0
    return rng.standard_normal(elements), grads, rng.choice([1.0, 0.1, rng.uniform(0, 1)], STEPS)


@pytest.mark.parametrize("name", RULES)
def test_reference_is_within_half_the_threshold_of_the_exact_value(name):
    rule = RULES[name]
    worst = 0.0
    with mpmath.workdps(DIGITS):
        for case, axes in enumerate(combinations(name)):
            rng = np.random.default_rng([case, len(name)])
            options = rule.options(**random_hyperparameters(name, rng), **axes)
            theta, grads, multipliers = random_history(rng)
            thetas = [theta]
            tracked = track(theta, options)
            for step in range(1, STEPS + 1):
                eta = float(multipliers[step - 1])
                after, threshold, tracked = tracked_step(rule, thetas[-1], grads[step - 1], tracked, options, eta)
                threshold = FLOAT64.allowance * threshold
                for i in range(theta.size):
                    exact = exact_step(
                        rule,
                        [float(g) for g in grads[:step, i]],
                        [float(before[i]) for before in thetas],
                        [float(m) for m in multipliers[:step]],
                        options,
                    )
                    distance = abs(mpmath.mpf(float(after[i])) - exact)
                    assert distance <= threshold[i] / 2, f"{options}, step {step}: {after[i]!r}, exactly {exact}"
                    worst = max(worst, float(distance / threshold[i]))
                thetas.append(after)
    # A bound a thousand times too wide would pass above.
    assert worst > 0.02


def test_a_wrong_power_of_beta_is_seen():
    """The check above can fail: one step more in the bias correction is far outside."""
    rule = RULES["adamw"]
    rng = np.random.default_rng(0)
    right = rule.options(lr=0.05, weight_decay=0.5, beta2=0.99)
    wrong = rule.options(lr=0.05, weight_decay=0.5, beta2=0.99, bias_correction=BiasCorrection.OFF_BY_ONE)
    theta, grad = rng.standard_normal(1), rng.standard_normal(1)
    after, threshold, _ = tracked_step(rule, theta, grad, track(theta, right), right)
    threshold = FLOAT64.allowance * threshold
    with mpmath.workdps(DIGITS):
        exact = exact_step(rule, [float(grad[0])], [float(theta[0])], [1.0], wrong)
        assert abs(mpmath.mpf(float(after[0])) - exact) > 1e3 * threshold[0]


def test_a_buffer_that_stagnates_stays_within_half_the_threshold():
    """A constant gradient for long leaves the buffer many roundings short of its geometric sum."""
    rule = RULES["sgdw"]
    options = rule.options(lr=1.0, momentum=0.99)
    theta, grad = np.zeros(16), np.random.default_rng(0).uniform(0.5, 2.0, 16)
    tracked = track(theta, options)
    steps = 4000
    for _ in range(steps):
        after, threshold, tracked = tracked_step(rule, theta, grad, tracked, options)
        threshold = FLOAT64.allowance * threshold
    with mpmath.workdps(DIGITS):
        mu = mpmath.mpf(options.momentum)
        total = (1 - mu**steps) / (1 - mu)
        distances = [
            float(abs(mpmath.mpf(float(x)) + mpmath.mpf(float(g)) * total)) for x, g in zip(after, grad, strict=True)
        ]
    assert np.all(distances <= threshold / 2)
    # What a bound on the last step alone would allow is 15 roundings.
    assert np.max(distances / np.abs(after)) > 15 * 2.0**-53
