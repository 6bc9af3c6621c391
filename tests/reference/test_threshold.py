"""The acceptance threshold: no legitimate evaluation order leaves it.

The orders are those of the frameworks, written here in NumPy float64 and mixed freely: how the moments
are accumulated, how beta**t is computed, where the corrections are folded in, how decay is applied.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings, target
from hypothesis import strategies as st

from optconform.reference import RULES, AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon, Momentum
from optconform.reference.rules import track, tracked_step

# --- evaluation orders ---------------------------------------------------------------------------


def repeated_product(beta, n):
    power = 1.0
    for _ in range(n):
        power = power * beta
    return power


POWERS = {
    "pow": lambda beta, n: beta**n,
    "repeated multiplication": repeated_product,
    "numpy power": lambda beta, n: float(np.power(np.float64(beta), np.float64(n))),
    "squaring": lambda beta, n: 1.0 if n == 0 else (beta if n % 2 else 1.0) * POWERS["squaring"](beta * beta, n // 2),
}

AVERAGES = {  # (average, new value, beta) -> new average
    "two products": lambda a, x, beta: beta * a + (1.0 - beta) * x,
    "difference (Keras)": lambda a, x, beta: a + (x - a) * (1.0 - beta),
    "lerp (torch)": lambda a, x, beta: (
        a + (1.0 - beta) * (x - a) if 1.0 - beta < 0.5 else x - (x - a) * (1.0 - (1.0 - beta))
    ),
}

SQUARES = {  # (v, g, beta2) -> new v
    "square first (Optax)": lambda v, g, beta: (1.0 - beta) * (g * g) + beta * v,
    "addcmul (torch)": lambda v, g, beta: v * beta + ((1.0 - beta) * g) * g,
    "difference (Keras)": lambda v, g, beta: v + (g * g - v) * (1.0 - beta),
}


def corrected_moments(rate, m, v, c1, c2, eps):
    """Algorithm 2 and Optax; `eps` is already what is added to the root of vhat."""
    return rate * ((m / c1) / (np.sqrt(v / c2) + eps))


def torch_step(rate, m, v, c1, c2, eps):
    return (rate / c1) * (m / (np.sqrt(v) / math.sqrt(c2) + eps))


def torch_capturable_step(rate, m, v, c1, c2, eps):
    """Numerator and denominator are both multiplied by the negative step size's inverse."""
    size = rate / c1
    return m / (np.sqrt(v) / (math.sqrt(c2) * size) + eps / size) if size > 0 else 0.0 * m


def keras_step(rate, m, v, c1, c2, eps):
    """Epsilon hat: `eps` is recovered as what is added to the uncorrected root."""
    return (m * (rate * math.sqrt(c2) / c1)) / (np.sqrt(v) + eps)


def reciprocal_step(rate, m, v, c1, c2, eps):
    return rate * (m * (1.0 / c1)) * (1.0 / (np.sqrt(v * (1.0 / c2)) + eps))


STEPS = {
    Epsilon.OUTSIDE: {
        "corrected moments": corrected_moments,
        "torch": torch_step,
        "torch capturable": torch_capturable_step,
        "reciprocals": reciprocal_step,
    },
    Epsilon.HAT: {
        "keras": keras_step,
        "eps rescaled": lambda rate, m, v, c1, c2, eps: corrected_moments(rate, m, v, c1, c2, eps / math.sqrt(c2)),
        "torch": lambda rate, m, v, c1, c2, eps: torch_step(rate, m, v, c1, c2, eps / c2**0.5),
    },
    Epsilon.INSIDE: {
        "plain": lambda rate, m, v, c1, c2, eps: rate * (m / c1) / np.sqrt(v / c2 + eps),
        "folded": lambda rate, m, v, c1, c2, eps: (rate / c1) * m / np.sqrt(v * (1.0 / c2) + eps),
    },
}

DECAYS = {  # (theta, u, c) -> theta_t
    DecayOrder.PREVIOUS: {
        "factor first (torch)": lambda theta, u, c: theta * (1.0 - c) - u,
        "subtract first (Keras)": lambda theta, u, c: (theta - theta * c) - u,
        "step first": lambda theta, u, c: (theta - u) - c * theta,
        "one sum (Optax)": lambda theta, u, c: theta + -(u + c * theta),
    },
    DecayOrder.UPDATED: {
        "factor": lambda theta, u, c: (theta - u) * (1.0 - c),
        "subtract": lambda theta, u, c: (theta - u) - c * (theta - u),
        "distributed": lambda theta, u, c: theta * (1.0 - c) - u * (1.0 - c),
    },
    DecayOrder.PROXIMAL: {
        "divide": lambda theta, u, c: (theta - u) / (1.0 + c),
        "multiply": lambda theta, u, c: (theta - u) * (1.0 / (1.0 + c)),
        "distributed": lambda theta, u, c: theta / (1.0 + c) - u / (1.0 + c),
    },
}

COEFFICIENTS = {
    DecayLaw.LR_WD: (lambda eta, lr, wd: eta * lr * wd, lambda eta, lr, wd: eta * (lr * wd)),
    DecayLaw.SCHEDULE_WD: (lambda eta, lr, wd: eta * wd, lambda eta, lr, wd: wd * (eta * lr) / lr),
    DecayLaw.WD: (lambda eta, lr, wd: wd,),
}


def decay_by(draw, rule, options):
    """Draw how theta_t is formed from (theta, u, eta)."""
    if not rule.decoupled:
        return lambda theta, u, eta: theta - u
    form = DECAYS[options.order][draw(st.sampled_from(sorted(DECAYS[options.order])))]
    coefficient = draw(st.sampled_from(COEFFICIENTS[options.law]))
    return lambda theta, u, eta: form(theta, u, coefficient(eta, options.lr, options.weight_decay))


def adam_by(draw, rule, options):
    """Draw an evaluation order of Adam; return its step (theta, grad, eta) -> theta_t, which keeps its own moments."""
    names = [draw(st.sampled_from(sorted(table))) for table in (POWERS, AVERAGES, SQUARES, STEPS[options.epsilon])]
    power, average, square = POWERS[names[0]], AVERAGES[names[1]], SQUARES[names[2]]
    step_form, decay = STEPS[options.epsilon][names[3]], decay_by(draw, rule, options)
    event(f"adam: {names[3]}")
    m = v = v_max = 0.0
    taken = 0

    def step(theta, grad, eta):
        nonlocal m, v, v_max, taken
        taken += 1
        g = grad if rule.decoupled else grad + options.weight_decay * theta
        m, v = average(m, g, options.beta1), square(v, g, options.beta2)
        exponent = taken + (options.bias_correction is BiasCorrection.OFF_BY_ONE)
        c1, c2 = 1.0 - power(options.beta1, exponent), 1.0 - power(options.beta2, exponent)
        if options.bias_correction is BiasCorrection.OFF:
            c1 = c2 = 1.0
        used = np.maximum(v, 0.0)  # the difference form can leave -0.0 or a rounding below zero
        if options.amsgrad is AMSGrad.RAW:
            used = v_max = np.maximum(v_max, used)
        elif options.amsgrad is AMSGrad.CORRECTED:
            v_max = np.maximum(v_max, used / c2)
            used = v_max * c2
        return decay(theta, step_form(eta * options.lr, m, used, c1, c2, options.eps), eta)

    return step


def sgd_by(draw, rule, options):
    """Draw an evaluation order of SGD; return its step (theta, grad, eta) -> theta_t."""
    decay, order = decay_by(draw, rule, options), draw(st.sampled_from(["buffer of steps", "negative", "late"]))
    inside = options.momentum_form is Momentum.LR_INSIDE
    event(f"sgd: {order}")
    buffer = 0.0
    first = True

    def step(theta, grad, eta):
        nonlocal buffer, first
        g = grad if rule.decoupled else grad + options.weight_decay * theta
        rate, kept = eta * options.lr, 1.0 - options.dampening
        scale = 1.0 if first and not options.dampen_first_step else kept
        first = False
        if order == "negative" and inside:  # Keras accumulates minus the step
            buffer = options.momentum * buffer - (g * rate) * scale
            u = -(options.momentum * buffer - g * rate) if options.nesterov else -buffer
        elif inside:
            buffer = buffer * options.momentum + scale * (rate * g)
            u = rate * g + buffer * options.momentum if options.nesterov else buffer
        elif order == "late":
            buffer = scale * g + options.momentum * buffer
            u = rate * g + (rate * options.momentum) * buffer if options.nesterov else buffer * rate
        else:
            buffer = buffer * options.momentum + g * scale
            u = (g + options.momentum * buffer) * rate if options.nesterov else rate * buffer
        return decay(theta, u, eta)

    return step


# --- the threshold holds -------------------------------------------------------------------------


def decades(low, high):
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


@st.composite
def drawn_options(draw, rule):
    values = {"lr": draw(decades(-6, 0)), "weight_decay": draw(st.one_of(st.just(0.0), st.floats(0, 1)))}
    if rule.family == "adam":
        values |= {
            "beta1": draw(st.one_of(st.just(0.0), st.floats(0, 0.99))),
            "beta2": draw(st.one_of(st.floats(0.5, 0.9999), st.sampled_from([0.5, 0.999, 0.9999]))),
            "eps": draw(decades(-12, -3)),
            "epsilon": draw(st.sampled_from(Epsilon)),
            "bias_correction": draw(st.sampled_from(BiasCorrection)),
            "amsgrad": draw(st.sampled_from(AMSGrad)),
        }
    else:
        values |= {
            "momentum": draw(st.floats(0, 0.99)),
            "dampening": draw(st.one_of(st.just(0.0), st.floats(0, 1))),
            "dampen_first_step": draw(st.booleans()),
            "nesterov": draw(st.booleans()),
            "momentum_form": draw(st.sampled_from(Momentum)),
        }
    if rule.decoupled:
        values |= {"law": draw(st.sampled_from(DecayLaw)), "order": draw(st.sampled_from(DecayOrder))}
    return rule.options(**values)


def drawn_gradients(rng, steps, elements):
    """Sixteen decades with zeros; some coordinates keep their magnitude, so that sums cancel."""
    grads = rng.choice([-1.0, 1.0], (steps, elements)) * 10.0 ** rng.uniform(-12, 4, (steps, elements))
    grads[:, ::2] = np.sign(grads[:, ::2]) * np.abs(grads[:1, ::2]) * rng.uniform(0.5, 2.0, grads[:, ::2].shape)
    grads[rng.random((steps, elements)) < rng.choice([0.0, 0.1, 0.6])] = 0.0
    return grads


@pytest.mark.parametrize("name", RULES)
def test_no_evaluation_order_leaves_the_threshold(name):
    rule = RULES[name]

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(st.data())
    def run(data):
        options = data.draw(drawn_options(rule))
        implementation = (adam_by if rule.family == "adam" else sgd_by)(data.draw, rule, options)
        steps = data.draw(st.integers(1, 40))
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        grads = drawn_gradients(rng, steps, 8)
        theta = rng.choice([-1.0, 0.0, 1.0], 8, p=[0.4, 0.2, 0.4]) * 10.0 ** rng.uniform(-6, 3, 8)
        tracked, worst = track(theta, options), 0.0
        for grad in grads:
            eta = float(rng.choice([1.0, 0.1, rng.random()]))
            expected, threshold, tracked = tracked_step(rule, theta, grad, tracked, options, eta)
            actual = implementation(theta, grad, eta)
            assert np.all(np.isfinite(threshold))
            ratio = np.abs(actual - expected) / threshold
            assert np.all(ratio <= 1.0), f"{ratio.max()} thresholds away"
            worst = max(worst, float(ratio.max()))
            theta = actual  # its own parameters are taken over after every step
        target(worst)

    run()


@pytest.mark.parametrize("amsgrad", AMSGrad)
@pytest.mark.parametrize("values", [{"beta1": 1 - 2.0**-53}, {"beta2": 1 - 2.0**-53}, {"eps": 0.0}])
def test_nothing_is_claimed_where_nothing_is_known(values, amsgrad):
    """A correction without a correct digit; a denominator of zero."""
    options = RULES["adamw"].options(lr=0.1, weight_decay=0.1, epsilon=Epsilon.HAT, amsgrad=amsgrad, **values)
    theta = np.ones(3)
    tracked = track(theta, options)
    for _ in range(3):
        _, threshold, tracked = tracked_step(RULES["adamw"], theta, np.zeros(3), tracked, options)
        assert not np.any(np.isfinite(threshold))


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.999), (0.999, 0.5)])
def test_errors_that_accumulate_stay_inside(beta1, beta2):
    """A constant gradient for long: the difference form stagnates short of its limit and errs in one direction.

    It ends hundreds of unit roundoffs away, which random gradients never do and which no bound on a
    single step would cover. Without bias correction, whose own allowance would hide it.
    """
    rule = RULES["adamw"]
    options = rule.options(lr=1.0, beta1=beta1, beta2=beta2, eps=1e-12, bias_correction=BiasCorrection.OFF)
    theta, grad = np.zeros(16), np.random.default_rng(0).uniform(0.5, 2.0, 16)
    tracked, m, v, farthest = track(theta, options), 0.0, 0.0, 0.0
    for _ in range(8000):
        expected, threshold, tracked = tracked_step(rule, theta, grad, tracked, options)
        m, v = AVERAGES["difference (Keras)"](m, grad, beta1), SQUARES["difference (Keras)"](v, grad, beta2)
        distance = np.abs(-torch_step(1.0, m, v, 1.0, 1.0, 1e-12) - expected)
        assert np.all(distance <= threshold)
        farthest = max(farthest, float(distance.max()))
    assert farthest > 100 * 2.0**-53
