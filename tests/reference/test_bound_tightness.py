"""The bound is not much larger than what happens: long runs come within a third of it, and nothing leaves it.

The evaluation order is torch.optim.AdamW's, in plain NumPy arrays of the format itself.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from arithmetics import ARITHMETICS, assumed, machines
from bound_check import farthest, gradients, run
from evaluation_orders import Choice, Implementation, rounded_like

from optconform.reference import RULES, DecayLaw
from optconform.reference.rules import track, tracked_step

ADAMW = RULES["adamw"]
OPTIONS = ADAMW.options(lr=1e-3, weight_decay=1e-2, law=DecayLaw.LR_WD)
TORCH = Choice(square="addcmul (torch)", average="lerp (torch)", root="quotient of the roots",
               direction="step size first (addcdiv)", decay="factor first (torch)")  # fmt: skip


def long_run(dtype, steps, elements):
    """Return (per step, the farthest element in bounds) of theta resynchronised, in NumPy's own arithmetic."""
    rng, name = np.random.default_rng(0), np.dtype(dtype).name
    arithmetic, number = assumed(name), np.dtype(dtype).type
    theta = rng.standard_normal(elements).astype(dtype)
    m, v, tracked = np.zeros_like(theta), np.zeros_like(theta), track(np.zeros(elements), OPTIONS)
    beta1, beta2, lr, ratios = OPTIONS.beta1, OPTIONS.beta2, OPTIONS.lr, []
    for step, grad in enumerate(gradients(rng, steps, elements, zeros=0.05), start=1):
        g, before = grad.astype(dtype), theta.astype(np.float64)
        theta = theta * number(1.0 - lr * OPTIONS.weight_decay)
        m = m + number(1.0 - beta1) * (g - m)
        v = v * number(beta2) + number(1.0 - beta2) * g * g
        below = np.sqrt(v) / number(math.sqrt(1.0 - beta2**step)) + number(OPTIONS.eps)
        theta = theta + number(-lr / (1.0 - beta1**step)) * m / below
        expected, bound, tracked = tracked_step(ADAMW, before, g.astype(np.float64), tracked, OPTIONS, 1.0, arithmetic)
        assert np.all(np.isfinite(bound))
        ratios.append(farthest(theta.astype(np.float64), expected, arithmetic.allowance * bound, True))
    return ratios


@pytest.mark.parametrize(("dtype", "steps", "elements"), [(np.float32, 1000, 5000), (np.float64, 300, 5000)])
def test_a_long_run_comes_near_the_bound(dtype, steps, elements):
    """Measured: 0.88 in float32; in float64, where the bound is doubled, 0.46."""
    ratios = long_run(dtype, steps, elements)
    assert 0.3 <= max(ratios) <= 1.0
    # Nor does the bound outgrow the errors as the steps add up.
    assert max(ratios[-50:]) >= 0.3


@pytest.mark.parametrize("name", ["bfloat16", "bfloat16 stored, float32 work"])
def test_16_bit_comes_near_the_bound_in_full_resync(name):
    storage, (rng, elements) = ARITHMETICS[name][0], (np.random.default_rng(0), 2000)
    grads = rounded_like(gradients(rng, 150, elements, zeros=0.05), storage)
    theta = rounded_like(rng.standard_normal(elements), storage)
    made = Implementation(ADAMW, OPTIONS, TORCH, *machines(name, host_scalars=True))
    found = run(ADAMW, OPTIONS, made, assumed(name), theta, grads, np.ones(150), "full-resync")
    assert 0.3 <= found.theta <= 1.0
    assert 0.3 <= found.state <= 1.0
    assert found.decidable >= 0.9 * found.total
