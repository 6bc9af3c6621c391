"""Optimizers as people build them for narrow formats: none is accused of what it does not do, and none gets away."""

import ml_dtypes
import numpy as np
import pytest

from optconform.adapters.numpy_optimizers import AdamW
from optconform.conformance.api import make_subject
from optconform.conformance.audit import audit
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.result import Severity, Verdict

BFLOAT16 = ml_dtypes.bfloat16


def audited(target, trace, dtype, expect="decoupled", **hyperparameters):
    subject = make_subject(target, framework="numpy", dtype=dtype, hyperparameters=hyperparameters)
    return audit(subject, [trace], parse_expectation(expect))


def found(result, code):
    return [finding for finding in result.findings if finding.rule == code]


class MasterWeights(AdamW):
    """Float32 copies of the parameters and float32 moments beside parameters in 16 bit."""

    def step(self, params, grads, lr):
        masters = self.__dict__.setdefault("masters", {name: np.float32(value) for name, value in params.items()})
        wide = {name: None if grad is None else np.float32(grad) for name, grad in grads.items()}
        masters.update(super().step(masters, wide, lr))
        return {name: value.astype(params[name].dtype) for name, value in masters.items()}


class Stochastic(AdamW):
    """Rounds up or down by chance, so that the mean is exact; moments in float32."""

    def step(self, params, grads, lr):
        rng = self.__dict__.setdefault("rng", np.random.default_rng(0))
        wide = {name: None if grad is None else np.float32(grad) for name, grad in grads.items()}
        exact = super().step({name: np.float32(value) for name, value in params.items()}, wide, lr)
        return {name: self.rounded(rng, value) for name, value in exact.items()}

    @staticmethod
    def rounded(rng, value):
        bits = np.ascontiguousarray(value, dtype=np.float32).view(np.uint32)
        dithered = bits + rng.integers(0, 2**16, bits.shape, dtype=np.uint32)
        return (dithered & np.uint32(0xFFFF0000)).view(np.float32).astype(BFLOAT16)


@pytest.mark.parametrize("design", [MasterWeights, Stochastic])
def test_a_decay_that_one_step_does_not_show_is_not_called_lost(design, make_trace):
    trace = make_trace({"w": (40, 50)}, 12)
    result = audited(design, trace, "bfloat16", weight_decay=1e-2)
    assert not found(result, "OC204")
    if design is MasterWeights:
        assert result.decay.effective_ratio == 0.0
        assert "of it is there after" in result.decay.effective_note


def test_a_decay_that_is_lost_still_is(make_trace):
    (finding,) = found(audited(AdamW, make_trace(), "bfloat16", weight_decay=1e-2), "OC204")
    assert finding.severity is Severity.ERROR
    assert "no decay is applied" in finding.message


def test_wide_moments_forget_what_narrow_ones_do_not(make_trace):
    assert found(audited(AdamW, make_trace(), "bfloat16"), "OC306")
    assert not found(audited(MasterWeights, make_trace(), "bfloat16"), "OC306")


class BreaksWhereUsed(AdamW):
    def step(self, params, grads, lr):
        self.count = getattr(self, "count", 0) + 1
        moved = super().step(params, grads, lr)
        broken = self.count >= 5 and 0.0 < self.weight_decay < 0.1
        return {name: value * np.float32(np.nan) for name, value in moved.items()} if broken else moved


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_nan_at_the_users_own_values_is_found(dtype, make_trace):
    (finding,) = found(audited(BreaksWhereUsed, make_trace(n_steps=8), dtype), "OC409")
    assert finding.evidence["step"] == 5
    assert finding.severity is Severity.ERROR


class HalfTheDecay(AdamW):
    def __init__(self, weight_decay=0.01):
        super().__init__(weight_decay / 2)


def test_sixteen_bits_do_not_claim_a_factor_that_they_cannot_tell(make_trace):
    result = audited(HalfTheDecay, make_trace({"w": (3,)}, 3), "bfloat16", "any")
    told = [name for name in result.probe_match.cannot_tell if "constant=" in name] if result.probe_match else []
    assert result.verdict is not Verdict.DECOUPLED or (result.decay.factor is None) is bool(told)
    assert audited(HalfTheDecay, make_trace(), "float32", "any").decay.factor == pytest.approx(0.5, rel=1e-3)


class L2(AdamW):
    def step(self, params, grads, lr):
        decay, self.weight_decay = self.weight_decay, 0.0
        fed = {name: None if g is None else g + np.float16(decay) * params[name] for name, g in grads.items()}
        moved = super().step(params, fed, lr)
        self.weight_decay = decay
        return moved


def test_l2_that_only_the_trajectory_shows_is_reported_as_such(make_trace):
    trace = make_trace(grads=0.0)
    result = audited(L2, trace, "float16")
    assert result.verdict is Verdict.L2
    assert found(result, "OC101")


def test_parameters_whose_squares_underflow_are_measured(make_trace):
    result = audited(AdamW, make_trace(theta=1e-170), "float64", "any", weight_decay=1e-2)
    assert result.decay.effective_ratio is None or result.decay.effective_ratio == pytest.approx(1.0, rel=1e-6)
