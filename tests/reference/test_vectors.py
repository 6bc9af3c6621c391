"""Vectors worked out by hand, stored with their derivation: the reference must hit them exactly."""

from __future__ import annotations

import json
from dataclasses import fields
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from optconform.reference import RULES
from optconform.reference.rules import track, tracked_step

VECTORS = {
    path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "vectors").glob("*.json"))
}


def exact(text):
    """Return the float64 that a fraction written as text is, and insist that it is one."""
    value = float(Fraction(text))
    assert Fraction(value) == Fraction(text), f"{text} is no float64"
    return value


def array(texts):
    return np.array([exact(text) for text in texts])


def options_of(vector):
    rule = RULES[vector["rule"]]
    types = get_type_hints(rule.options)
    values = {}
    for name, text in vector["options"].items():
        is_axis = isinstance(types[name], type) and issubclass(types[name], StrEnum | bool)
        values[name] = types[name](text) if is_axis else exact(text)
    return rule, rule.options(**values)


@pytest.mark.parametrize("name", VECTORS)
def test_reference_hits_the_vector_exactly(name):
    vector = VECTORS[name]
    rule, options = options_of(vector)
    theta = array(vector["theta_0"])
    tracked = track(theta, options)
    for number, step in enumerate(vector["steps"], start=1):
        theta, threshold, tracked = tracked_step(
            rule, theta, array(step["grad"]), tracked, options, exact(step["multiplier"])
        )
        np.testing.assert_array_equal(theta, array(step["theta"]), err_msg=f"theta, step {number}")
        assert tracked.state.step == number
        for slot, values in step["state"].items():
            np.testing.assert_array_equal(getattr(tracked.state, slot), array(values), err_msg=f"{slot}, step {number}")
        assert np.all(threshold < 1e-13)


def test_vectors_cover_every_rule_and_every_value_of_every_axis():
    covered = {(vector["rule"], None, None) for vector in VECTORS.values()}
    wanted = {(name, None, None) for name in RULES}
    for rule in RULES.values():
        for field in fields(rule.options):
            kind = get_type_hints(rule.options)[field.name]
            if isinstance(kind, type) and issubclass(kind, StrEnum):
                wanted |= {(rule.family, field.name, value) for value in kind}
    for vector in VECTORS.values():
        rule, options = options_of(vector)
        covered |= {(rule.family, field.name, getattr(options, field.name)) for field in fields(options)}
    assert wanted <= covered, f"not covered: {sorted(map(str, wanted - covered))}"
    for name in ("nesterov", "dampen_first_step"):
        assert {("sgd", name, True), ("sgd", name, False)} <= covered


@pytest.mark.parametrize("name", VECTORS)
def test_vector_says_where_it_comes_from(name):
    vector = VECTORS[name]
    text = " ".join(vector["provenance"])
    assert "by hand" in text
    for number in range(1, len(vector["steps"]) + 1):
        assert f"Step {number}" in text
    assert len(vector["steps"]) >= (3 if RULES[vector["rule"]].family == "sgd" else 2)
