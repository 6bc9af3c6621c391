"""Options: defaults are the paper's, and nothing outside the rules' domain is accepted."""

from __future__ import annotations

import math
import re
from dataclasses import FrozenInstanceError, fields

import pytest

from optconform.reference import (
    RULES,
    AdamOptions,
    AdamWOptions,
    DecayLaw,
    DecayOrder,
    Epsilon,
    InvalidOption,
    Momentum,
    SGDOptions,
    SGDWOptions,
)

INVALID = [
    (SGDOptions, "lr", -1e-3, "[0.0, inf)"),
    (SGDOptions, "lr", math.inf, "[0.0, inf)"),
    (SGDOptions, "weight_decay", -0.1, "[0.0, inf)"),
    (SGDOptions, "momentum", -0.1, "[0.0, inf)"),
    (SGDOptions, "dampening", 1.5, "[-inf, 1.0]"),
    (SGDOptions, "dampening", -math.inf, "[-inf, 1.0]"),
    (SGDWOptions, "weight_decay", math.nan, "[0.0, inf)"),
    (AdamOptions, "beta1", 1.0, "[0.0, 1.0)"),
    (AdamOptions, "beta1", -0.1, "[0.0, 1.0)"),
    (AdamOptions, "beta2", 1.0, "[0.0, 1.0)"),
    (AdamOptions, "eps", -1e-8, "[0.0, inf)"),
    (AdamOptions, "eps", math.nan, "[0.0, inf)"),
    (AdamOptions, "correction_beta1", 1.0, "[0.0, 1.0)"),
    (AdamWOptions, "correction_beta2", 1.5, "[0.0, 1.0)"),
    (AdamWOptions, "lr", math.nan, "[0.0, inf)"),
]


@pytest.mark.parametrize(("kind", "name", "value", "interval"), INVALID)
def test_invalid_value_is_named_with_its_range(kind, name, value, interval):
    message = f"{kind.__name__}.{name} = {value!r}, but it must lie in {interval}; pass another {name}"
    with pytest.raises(InvalidOption, match=f"^{re.escape(message)}$"):
        kind(**({"lr": 0.1} | {name: value}))


def test_invalid_option_is_a_value_error():
    assert issubclass(InvalidOption, ValueError)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (SGDOptions, {"lr": 0.0, "weight_decay": 0.0, "momentum": 0.0, "dampening": 1.0}),
        (SGDWOptions, {"lr": 10.0, "weight_decay": 2.0, "momentum": 1.0, "dampening": -1.0}),
        (AdamOptions, {"lr": 0.0, "beta1": 0.0, "beta2": 0.0, "eps": 0.0, "correction_beta1": None}),
    ],
)
def test_ends_of_the_ranges_are_accepted(kind, values):
    options = kind(**values)
    assert {name: getattr(options, name) for name in values} == values


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_options_are_values(rule):
    options = rule.options(lr=0.1)
    assert options == rule.options(lr=0.1)
    assert hash(options) == hash(rule.options(lr=0.1))
    for field in fields(options):
        with pytest.raises(FrozenInstanceError):
            setattr(options, field.name, 0.5)


def test_defaults_are_the_papers():
    adamw, sgdw = AdamWOptions(), SGDWOptions(lr=0.1)
    assert (adamw.lr, adamw.beta1, adamw.beta2, adamw.eps) == (0.001, 0.9, 0.999, 1e-8)
    assert (adamw.epsilon, adamw.law, adamw.order) == (Epsilon.OUTSIDE, DecayLaw.SCHEDULE_WD, DecayOrder.PREVIOUS)
    assert (sgdw.momentum_form, sgdw.law, sgdw.order) == (
        Momentum.LR_INSIDE,
        DecayLaw.SCHEDULE_WD,
        DecayOrder.PREVIOUS,
    )


def test_rules_know_their_family_and_kind():
    assert {name: (rule.family, rule.decoupled) for name, rule in RULES.items()} == {
        "sgd_l2": ("sgd", False),
        "sgdw": ("sgd", True),
        "adam_l2": ("adam", False),
        "adamw": ("adam", True),
    }
