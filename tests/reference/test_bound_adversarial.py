"""Rounding that errs as far as rounding to nearest can, and always the wrong way, stays inside the bound.

Every result is moved by half an ulp of the working format at its own magnitude: all away from zero, all towards it,
alternately, or each in the direction that drives theta the farthest. No real arithmetic is that unkind.
"""

from __future__ import annotations

import numpy as np
import pytest
from arithmetics import ARITHMETICS, assumed, machines
from bound_check import gradients, parameters, run
from evaluation_orders import Choice, Implementation, choices, rounded_like
from worst_rounding import CONSTANT, worst_directions

from optconform.reference import RULES, AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon, Momentum

ELEMENTS = 32

ADAM = {"lr": 0.05, "weight_decay": 0.3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-6}
SGD = {"lr": 0.05, "weight_decay": 0.3, "momentum": 0.9}
CASES = {
    "adam_l2": [ADAM | {"epsilon": e, "amsgrad": a} for e in Epsilon for a in AMSGrad],
    "adamw": [
        *(ADAM | {"epsilon": e, "order": o, "law": DecayLaw.LR_WD} for e in Epsilon for o in DecayOrder),
        *(ADAM | {"beta1": 0.3, "beta2": 0.6, "law": law, "bias_correction": BiasCorrection.OFF} for law in DecayLaw),
    ],
    "sgd_l2": [SGD | {"momentum_form": f, "nesterov": n} for f in Momentum for n in (False, True)],
    "sgdw": [SGD | {"order": o, "dampening": 0.2, "nesterov": True, "momentum_form": f}
             for o in DecayOrder for f in Momentum],
}  # fmt: skip


def attempts(rule, options, name, mode, steps, turns, seed=0):
    """Yield functions (directions) -> `Outcome`; each takes other names out of the tables of orders."""
    storage, working, _ = ARITHMETICS[name]
    rng, names = np.random.default_rng(seed), choices(rule, options, working)
    for turn in range(seed, seed + (turns or max(map(len, names.values())))):
        choice = Choice(**{field: of[turn % len(of)] for field, of in names.items()})
        grads = rounded_like(gradients(rng, steps, ELEMENTS, low=-4.0, high=2.0, zeros=0.1), storage)
        theta = rounded_like(parameters(rng, ELEMENTS), storage)

        def attempt(push, choice=choice, theta=theta, grads=grads):
            made = Implementation(rule, options, choice, *machines(name, push=push))
            return run(rule, options, made, assumed(name), theta, grads, np.ones(steps), mode)

        yield attempt


FORMATS_AND_MODES = [
    ("float32", "theta-resync"),
    ("bfloat16", "theta-resync"),
    ("bfloat16", "full-resync"),
    ("bfloat16 stored, float32 work", "full-resync"),
]


@pytest.mark.parametrize("push", CONSTANT.values(), ids=CONSTANT)
@pytest.mark.parametrize(("name", "mode"), FORMATS_AND_MODES)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_one_direction_stays_inside(rule, name, mode, push):
    for seed, values in enumerate(CASES[rule.name]):
        for attempt in attempts(rule, rule.options(**values), name, mode, 6, None, seed):
            found = attempt(push()).worst
            assert found <= 1.0, f"{found} bounds away with {values}"


@pytest.mark.parametrize("name", ["sgdw", "adamw"])
def test_one_direction_stays_inside_running_free(name):
    rule = RULES[name]
    for seed, values in enumerate(CASES[name]):
        for attempt in attempts(rule, rule.options(**values), "float32", "free-run", 12, 1, seed):
            assert max(attempt(push()).worst for push in CONSTANT.values()) <= 1.0


@pytest.mark.parametrize(("name", "mode"), [*FORMATS_AND_MODES, ("float32", "free-run")])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_worst_directions_stay_inside(rule, name, mode):
    """They come far nearer to the bound than real rounding: what is left is what the order at hand does not need."""
    if mode == "free-run" and not rule.decoupled:
        pytest.skip("L2 feeds the drift of theta back into the gradient; nothing is claimed")
    worst = 0.0
    for seed, values in enumerate(CASES[rule.name]):
        for attempt in attempts(rule, rule.options(**values), name, mode, 2, 1, seed):
            directions = worst_directions(lambda push, attempt=attempt: attempt(push).apart)
            worst = max(worst, attempt(iter(directions)).worst, attempt(iter(-directions)).worst)
    assert 0.6 <= worst <= 1.0
