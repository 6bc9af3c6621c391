"""No legitimate evaluation order leaves the bound, in any arithmetic.

Hypothesis mixes the orders of the frameworks freely, in every format, with and without fused multiply-add, with
scalars formed in double, or in the format in which the framework holds them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from arithmetics import ARITHMETICS, assumed, machines
from bound_check import MODES, gradients, parameters, run
from evaluation_orders import Choice, Implementation, choices, rounded_like
from hypothesis import HealthCheck, event, given, settings, target
from hypothesis import strategies as st

from optconform.reference import RULES, AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon, Momentum
from optconform.reference.rules import FLOAT64, track, tracked_step

ELEMENTS = 48


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


def modes(rule, name):
    """Running free is for decoupled rules, and for formats in which the drift says something."""
    return [mode for mode in MODES if mode != "free-run" or (rule.decoupled and name in ("float64", "float32"))]


DECIDABLE = {"float16": 0.2, "float16 stored, float32 work": 0.5}
"""The least part of all elements whose bound must say something, where it is not 0.75: float16 squares overflow and
underflow, and eps rounds to zero."""


@pytest.mark.parametrize("name", ARITHMETICS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_evaluation_order_leaves_the_bound(rule, name):
    counts = Counter()

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(st.data())
    def try_one(data):
        draw = data.draw
        options = draw(drawn_options(rule))
        names = choices(rule, options, ARITHMETICS[name][1])
        choice = Choice(**{field: draw(st.sampled_from(of)) for field, of in names.items()})
        mode = draw(st.sampled_from(modes(rule, name)))
        made = machines(name, host_scalars=draw(st.booleans()), fuses=draw(st.booleans()))
        steps, rng = draw(st.integers(1, 16)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        grads, theta = (
            rounded_like(values, ARITHMETICS[name][0])
            for values in (gradients(rng, steps, ELEMENTS), parameters(rng, ELEMENTS))
        )
        multipliers = rng.choice([1.0, 0.1, rng.random()], steps)
        found = run(rule, options, Implementation(rule, options, choice, *made), assumed(name), theta, grads,
                    multipliers, mode)  # fmt: skip
        event(mode)
        counts.update(total=found.total, decidable=found.decidable)
        assert found.worst <= 1.0, f"theta is {found.theta} bounds away, the state {found.state}: {choice}"
        target(found.worst)

    try_one()
    assert counts["decidable"] >= DECIDABLE.get(name, 0.75) * counts["total"], counts


@pytest.mark.parametrize("amsgrad", AMSGrad)
@pytest.mark.parametrize("values", [{"beta1": 1 - 2.0**-53}, {"beta2": 1 - 2.0**-53}, {"eps": 0.0}])
def test_nothing_is_claimed_where_nothing_is_known(values, amsgrad):
    """A correction without a correct digit; a denominator of zero."""
    options = RULES["adamw"].options(lr=0.1, weight_decay=0.1, epsilon=Epsilon.HAT, amsgrad=amsgrad, **values)
    theta = np.ones(3)
    tracked = track(theta, options)
    for _ in range(3):
        _, threshold, tracked = tracked_step(RULES["adamw"], theta, np.zeros(3), tracked, options)
        threshold = FLOAT64.allowance * threshold
        assert not np.any(np.isfinite(threshold))


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.999), (0.999, 0.5)])
@pytest.mark.parametrize("name", ["float64", "float32"])
def test_errors_that_accumulate_stay_inside(name, beta1, beta2):
    """A constant gradient for long: the difference form stagnates short of its limit and errs in one direction.

    It ends 89 unit roundoffs away and more, which random gradients never do and which no bound on a
    single step would cover. Without bias correction, whose own allowance would hide it.
    """
    dtype, arithmetic, rule = np.dtype(name).type, assumed(name), RULES["adamw"]
    options = rule.options(lr=1.0, beta1=beta1, beta2=beta2, eps=1e-12, bias_correction=BiasCorrection.OFF)
    grad = np.random.default_rng(0).uniform(0.5, 2.0, 16).astype(dtype)
    theta, m, v = np.zeros(16), np.zeros_like(grad), np.zeros_like(grad)
    tracked, farthest, eps = track(theta, options), 0.0, dtype(options.eps)
    for _ in range(8000):
        expected, bound, tracked = tracked_step(rule, theta, grad.astype(float), tracked, options, 1.0, arithmetic)
        m = m + (grad - m) * (1 - dtype(beta1))
        v = v + (grad * grad - v) * (1 - dtype(beta2))
        distance = np.abs(-(m / (np.sqrt(v) + eps)).astype(float) - expected)
        assert np.all(distance <= arithmetic.allowance * bound)
        farthest = max(farthest, float(distance.max()))
    assert farthest > 50 * arithmetic.u


OVERFLOWS = {
    # vhat is v / c2, a mean of squares of which some overflowed before v was taken over
    "vhat": ("adam_l2", {"beta1": 0.5, "beta2": 0.875}, {"step": 1, "m": 300.0, "v": 58300.0}, 0.0),
    # v underflows to 0, and mhat / eps is 1.2e5 before the learning rate makes 1.2e4 of it
    "direction": ("adamw", {"beta1": 0.0, "beta2": 0.9999, "eps": 1e-7, "lr": 0.1}, {}, -0.01428223),
    "buffer": (
        "sgdw",
        {"momentum": 0.9, "lr": 1e-3, "momentum_form": Momentum.LR_OUTSIDE},
        {"step": 1, "buffer": 65000.0},
        9000.0,
    ),
}


@pytest.mark.parametrize("case", OVERFLOWS)
def test_what_may_overflow_on_the_way_is_left_open(case):
    """theta_t itself is small in all of them; float16 ends at 65504."""
    name, values, held, grad = OVERFLOWS[case]
    options = RULES[name].options(**{"lr": 1.0} | values)
    tracked = track(np.ones(1), options)
    state = {field: value if field == "step" else np.array([value]) for field, value in held.items()}
    tracked = replace(tracked, state=replace(tracked.state, **state))
    after, bound, tracked = tracked_step(
        RULES[name], np.ones(1), np.array([grad]), tracked, options, 1.0, assumed("float16")
    )
    assert np.abs(after[0]) < 100.0
    assert not np.isfinite(bound[0])
    if case == "buffer":
        assert not np.isfinite(tracked.error.buffer[0])
