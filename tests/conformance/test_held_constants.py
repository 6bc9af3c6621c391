"""Hyperparameters that a precision rounds, and those that it rounds away."""

import ml_dtypes
import numpy as np
import pytest

from optconform.conformance.held_constants import (
    CONSEQUENCES,
    RoundedConstant,
    asked_for,
    degenerate_constants,
    held_in_lower_precision,
)


def single(value):
    return float(np.float32(value))


class TestHeld:
    @pytest.mark.parametrize(
        ("held", "dtype", "found"),
        [
            (single(0.1), "float64", "float32"),
            (float(np.float16(0.1)), "float64", "float16"),
            (float(ml_dtypes.bfloat16(0.1)), "float64", "bfloat16"),
            (float(np.float16(0.1)), "float32", "float16"),
            (float(ml_dtypes.bfloat16(0.1)), "float16", "bfloat16"),
        ],
    )
    def test_what_was_rounded_below_the_parameters_precision(self, held, dtype, found):
        (rounded,) = held_in_lower_precision({"lr": 0.1}, {"lr": held}, dtype)
        assert rounded == RoundedConstant("lr", 0.1, held, found)

    @pytest.mark.parametrize(
        ("asked", "held", "dtype"),
        [
            (0.1, 0.1, "float64"),
            (0.5, 0.5, "float64"),
            (0.1, single(0.1), "float32"),
            (0.1, float(np.float16(0.1)), "bfloat16"),
            (0.1, 0.2, "float64"),
            (0.1, np.nextafter(0.1, 1.0), "float64"),
            (None, 0.1, "float64"),
            (True, 0.1, "float64"),
            (0.1, "0.1", "float64"),
            (1e300, 1e299, "float64"),
        ],
    )
    def test_what_was_not(self, asked, held, dtype):
        assert list(held_in_lower_precision({"lr": asked}, {"lr": held}, dtype)) == []

    def test_of_two_formats_that_explain_it_the_wider_is_named(self):
        asked = 0.5 + 2.0**-30
        (rounded,) = held_in_lower_precision({"eps": asked}, {"eps": 0.5}, "float64")
        assert rounded.dtype == "float32"

    def test_each_is_named_and_others_are_left_alone(self):
        asked = {"lr": 0.1, "weight_decay": 0.3, "beta1": 0.9}
        held = {"lr": single(0.1), "weight_decay": single(0.3), "beta1": 0.9, "eps": single(0.1)}
        found = [each.hyperparameter for each in held_in_lower_precision(asked, held, "float64")]
        assert found == ["lr", "weight_decay"]


class TestAskedFor:
    def test_the_user_s_own_then_the_defaults(self, subject_of):
        asked = asked_for(subject_of("optconform.adapters.numpy_optimizers:AdamW", beta2=0.9))
        assert (asked["weight_decay"], asked["beta1"], asked["beta2"], asked["eps"]) == (0.01, 0.9, 0.9, 1e-8)
        assert "momentum" not in asked

    @pytest.mark.torch
    def test_a_pair_is_split(self, subject_of):
        pytest.importorskip("torch")
        asked = asked_for(subject_of("torch.optim:AdamW", framework="torch", betas=(0.8, 0.95)))
        assert (asked["beta1"], asked["beta2"], asked["lr"]) == (0.8, 0.95, 1e-3)


LEAST = {"float64": 5e-324, "float32": 2.0**-149, "bfloat16": 2.0**-133, "float16": 2.0**-24}
"""Smallest positive number of each format."""
PRECISION = {"float64": 53, "float32": 24, "bfloat16": 8, "float16": 11}


class TestDegenerate:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    def test_eps_rounds_to_0_up_to_half_the_smallest_number(self, dtype):
        half = LEAST[dtype] / 2.0
        assert [each.held for each in degenerate_constants({"eps": half}, dtype)] == [0.0]
        assert list(degenerate_constants({"eps": half * 1.01}, dtype)) == []
        assert list(degenerate_constants({"eps": 0.0}, dtype)) == []

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    @pytest.mark.parametrize("name", ["beta1", "beta2", "momentum"])
    def test_a_decay_rate_rounds_to_1_within_half_an_ulp(self, name, dtype):
        half = 2.0 ** -(PRECISION[dtype] + 1)
        (found,) = degenerate_constants({name: 1.0 - half}, dtype)
        assert found == RoundedConstant(name, 1.0 - half, 1.0, dtype)
        assert list(degenerate_constants({name: 1.0 - 1.01 * half}, dtype)) == []
        assert list(degenerate_constants({name: 1.0}, dtype)) == []
        assert list(degenerate_constants({name: 1.0 + half}, dtype)) == []

    def test_usual_constants(self):
        usual = {"eps": 1e-8, "beta1": 0.9, "beta2": 0.999, "momentum": 0.9, "lr": 1e-3, "nesterov": True}
        names = {
            dtype: [each.hyperparameter for each in degenerate_constants(usual, dtype)]
            for dtype in ("float64", "float32", "bfloat16", "float16")
        }
        assert names == {"float64": [], "float32": [], "bfloat16": ["beta2"], "float16": ["eps"]}

    def test_not_a_number(self):
        assert list(degenerate_constants({"eps": None, "beta1": "0.999", "beta2": True}, "bfloat16")) == []

    def test_every_consequence_is_of_a_canonical_hyperparameter(self):
        assert set(CONSEQUENCES) == {"eps", "beta1", "beta2", "momentum"}


@pytest.mark.parametrize(("dtype", "rate"), [(np.float16, 1.0 - 2.0**-12), (ml_dtypes.bfloat16, 0.999)])
def test_a_rate_that_rounds_to_1_forgets_nothing_although_the_arithmetic_is_wider(dtype, rate):
    """For every number x of the format's binade from 1 on: x*rate, exact in float64, rounds back to x."""
    bits = 8 if dtype is ml_dtypes.bfloat16 else 11
    x = 1.0 + np.arange(2 ** (bits - 1)) * 2.0 ** (1 - bits)
    assert np.array_equal((x * rate).astype(dtype).astype(np.float64), x)
    assert not np.array_equal((x * 0.99).astype(dtype).astype(np.float64), x)
