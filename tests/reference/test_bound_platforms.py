"""Each row of the platform table allows what its platform does, and the rows that promise more do not."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from bound_check import gradients, run
from evaluation_orders import Choice, Implementation, choices, rounded_like
from rounded_numbers import Machine
from worst_rounding import CONSTANT, worst_directions

from optconform.reference import RULES, AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon
from optconform.reference.arithmetic import arithmetic
from optconform.reference.platforms import PLATFORMS, platform_of
from optconform.reference.rules import track, tracked_step

ADAMW = RULES["adamw"]
ELEMENTS = 48


def options_of(**values):
    return ADAMW.options(**{"lr": 0.05, "weight_decay": 0.3, "beta2": 0.99, "law": DecayLaw.LR_WD} | values)


def attempt_with(units, options, choice, row, steps=2, seed=1, weight=1.0):
    """Return (directions) -> `Outcome` on a machine whose division and square root err by `units` half ulps."""
    rng = np.random.default_rng(seed)
    grads = rounded_like(gradients(rng, steps, ELEMENTS, low=-4.0, high=2.0, zeros=0.0), "float32")
    theta = rounded_like(weight * rng.standard_normal(ELEMENTS), "float32")

    def attempt(push):
        machines = Machine("float32", push, division_error=units, sqrt_error=units), Machine("float32", push)
        made = Implementation(ADAMW, options, choice, *machines)
        return run(ADAMW, options, made, arithmetic("float32", PLATFORMS[row]), theta, grads, np.ones(steps))

    return attempt


def worst(attempt):
    directions = worst_directions(lambda push: attempt(push).apart)
    return max(attempt(iter(directions)).worst, attempt(iter(-directions)).worst)


@pytest.mark.parametrize("epsilon", Epsilon)
def test_one_ulp_in_division_and_root_is_inside_the_row_that_allows_it(epsilon):
    for order, amsgrad in zip(DecayOrder, AMSGrad, strict=True):
        options = options_of(epsilon=epsilon, order=order, amsgrad=amsgrad)
        names = choices(ADAMW, options, "float32")
        for turn in range(4):
            choice = Choice(**{field: of[turn % len(of)] for field, of in names.items()})
            attempt = attempt_with(2.0, options, choice, "xla-gpu")
            assert max(attempt(push()).worst for push in CONSTANT.values()) <= 1.0
            assert worst(attempt) <= 1.0


@pytest.mark.parametrize("epsilon", Epsilon)
def test_much_more_than_a_row_allows_leaves_it(epsilon):
    """theta starts from zero, so that no rounding of theta hides the step's; every operation errs the wrong way.

    A second unit is 0.02 to 0.06 of the bound: it does not leave the row by itself, because a row also reserves what
    other evaluation orders need. What the rows differ by is exactly that unit (the test below).
    """
    options = options_of(weight_decay=0.0, beta1=0.0, epsilon=epsilon, bias_correction=BiasCorrection.OFF)

    def farthest(units, row):
        return worst(attempt_with(units, options, Choice(decay="step first"), row, steps=1, weight=0.0))

    assert farthest(1.0, "cpu") <= 1.0
    assert farthest(2.0, "xla-gpu") <= 1.0
    assert farthest(24.0, "cpu") > 1.0
    assert farthest(24.0, "xla-gpu") > 1.0


def test_a_row_of_two_units_allows_a_little_more():
    options, theta = options_of(weight_decay=0.0), np.zeros(1)
    _, cpu, _ = tracked_step(ADAMW, theta, np.ones(1), track(theta, options), options, 1.0, arithmetic("float32"))
    gpu = arithmetic("float32", replace(PLATFORMS["cpu"], sqrt_error=2.0, division_error=2.0))
    _, two, _ = tracked_step(ADAMW, theta, np.ones(1), track(theta, options), options, 1.0, gpu)
    # Two divisions in the numerator, and in the denominator a division and two roots, which halve nothing here.
    assert float(two[0] - cpu[0]) == pytest.approx(5.0 * 2.0**-24 * options.lr, rel=0.05)


FLUSHING = [
    (row, format_) for row in PLATFORMS for format_ in ("float32", "float16") if format_ in PLATFORMS[row].flushes
]


@pytest.mark.parametrize(("row", "format_"), FLUSHING)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_flushing_stays_inside_the_rows_that_allow_it(rule, format_, row):
    """Gradients whose squares, or which themselves, are subnormal; theta starts from zero."""
    smallest = np.finfo(format_).smallest_normal
    rng, farthest, flushed = np.random.default_rng(2), 0.0, 0
    own = {"beta2": 0.99, "eps": 1e-3} if rule.family == "adam" else {"momentum": 0.9}
    for low, seed in itertools.product((0.5 * np.log10(smallest) - 1.0, np.log10(smallest) - 1.0), range(4)):
        options = rule.options(lr=0.5, weight_decay=0.3, **own)
        names = choices(rule, options, format_)
        choice = Choice(**{field: of[seed % len(of)] for field, of in names.items()})
        grads = rounded_like(gradients(rng, 10, ELEMENTS, low, low + 2.0, 0.0), format_)
        machine = Machine(format_, flushes=True)
        flushed += int(np.count_nonzero(machine.flushed(grads * grads) != grads * grads))
        made = Implementation(rule, options, choice, machine, Machine("float32"))
        found = run(rule, options, made, arithmetic(format_, PLATFORMS[row]), np.zeros(ELEMENTS), grads, np.ones(10))
        farthest = max(farthest, found.worst)
        assert found.finite >= 0.9 * found.total
    assert flushed > 0
    assert farthest <= 1.0


def test_flushing_leaves_the_rows_that_do_not_allow_it():
    rule = RULES["sgd_l2"]
    options, smallest = rule.options(lr=1.0), np.finfo(np.float32).smallest_normal
    grads = rounded_like(np.linspace(0.5, 0.9, ELEMENTS)[None] * smallest, "float32")
    for row, inside in (("xla-cpu", True), ("cpu", False)):
        made = Implementation(rule, options, Choice(), Machine("float32", flushes=True))
        found = run(rule, options, made, arithmetic("float32", PLATFORMS[row]), np.zeros(ELEMENTS), grads, [1.0])
        assert (found.worst <= 1.0) is inside


@pytest.mark.parametrize(
    ("framework", "device", "row"),
    [
        ("numpy", "cpu", "cpu"),
        ("torch", "cpu", "torch-cpu"),
        ("torch", "cuda:0", "cuda"),
        ("tensorflow", "cpu", "tensorflow-cpu"),
        ("tensorflow", "gpu", "xla-gpu"),
        ("jax", "cpu", "xla-cpu"),
        ("jax", "gpu", "xla-gpu"),
    ],
)
def test_every_framework_has_a_row_per_device(framework, device, row):
    assert platform_of(framework, device).name == row


def test_every_row_says_where_it_comes_from_and_allows_at_least_ieee():
    for name, platform in PLATFORMS.items():
        assert platform.name == name
        assert platform.source
        assert min(platform.sqrt_error, platform.division_error) >= 1.0
