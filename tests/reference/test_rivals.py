"""The acceptance threshold is not vacuous: at the probe's values every rival rule lies far outside of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optconform.reference import RULES, AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon, Momentum
from optconform.reference.rules import FLOAT64, track, tracked_step

ADAMW = RULES["adamw"].options(lr=0.05, weight_decay=0.5, beta2=0.99, law=DecayLaw.LR_WD)
ADAM_L2 = RULES["adam_l2"].options(lr=0.05, weight_decay=0.5, beta2=0.99)
SGDW = RULES["sgdw"].options(lr=0.05, weight_decay=0.5, momentum=0.9, law=DecayLaw.LR_WD)
SGD_L2 = RULES["sgd_l2"].options(lr=0.05, weight_decay=0.5, momentum=0.9)
BETAS_ROUNDED = {f"correction_beta{i}": float(np.float32(beta)) for i, beta in ((1, 0.9), (2, 0.99))}

RIVALS = {  # name: (rule, its options, the rival's rule, the rival's options)
    "adamw against L2": ("adamw", ADAMW, "adam_l2", ADAM_L2),
    "adam_l2 against decoupled": ("adam_l2", ADAM_L2, "adamw", ADAMW),
    "sgdw against L2": ("sgdw", SGDW, "sgd_l2", SGD_L2),
    "sgd_l2 against decoupled": ("sgd_l2", SGD_L2, "sgdw", SGDW),
    **{
        f"adamw against {axis}={value}": ("adamw", ADAMW, "adamw", replace(ADAMW, **{axis: value}))
        for axis, values in {
            "law": (DecayLaw.SCHEDULE_WD, DecayLaw.WD),
            "order": (DecayOrder.UPDATED, DecayOrder.PROXIMAL),
            "epsilon": (Epsilon.HAT, Epsilon.INSIDE),
            "bias_correction": (BiasCorrection.OFF, BiasCorrection.OFF_BY_ONE),
            "amsgrad": (AMSGrad.RAW, AMSGrad.CORRECTED),
            "weight_decay": (0.0, 0.5 * (1 + 1e-9)),
        }.items()
        for value in values
    },
    "adamw against betas of the correction in float32": ("adamw", ADAMW, "adamw", replace(ADAMW, **BETAS_ROUNDED)),
    "amsgrad raw against corrected": (
        "adamw",
        replace(ADAMW, amsgrad=AMSGrad.RAW),
        "adamw",
        replace(ADAMW, amsgrad=AMSGrad.CORRECTED),
    ),
    **{
        f"sgdw against {axis}={value}": ("sgdw", SGDW, "sgdw", replace(SGDW, **{axis: value}))
        for axis, value in {
            "law": DecayLaw.SCHEDULE_WD,
            "order": DecayOrder.UPDATED,
            "nesterov": True,
            "dampening": 0.5,
            "momentum_form": Momentum.LR_OUTSIDE,
        }.items()
    },
    "dampened first step": (
        "sgdw",
        replace(SGDW, dampening=0.5),
        "sgdw",
        replace(SGDW, dampening=0.5, dampen_first_step=False),
    ),
}


@pytest.mark.parametrize("case", RIVALS)
def test_rival_is_a_thousand_thresholds_away(case):
    own_rule, own_options, rival_rule, rival_options = RIVALS[case]
    rng = np.random.default_rng(7)
    theta = rng.standard_normal(64)
    own, rival = track(theta, own_options), track(theta, rival_options)
    largest = 0.0
    for step in range(10):
        grad, eta = rng.standard_normal(64) * (3.0 if step == 1 else 1.0), 0.5 if step >= 5 else 1.0
        after, threshold, own = tracked_step(RULES[own_rule], theta, grad, own, own_options, eta)
        threshold = FLOAT64.allowance * threshold
        other, _, rival = tracked_step(RULES[rival_rule], theta, grad, rival, rival_options, eta)
        largest = max(largest, float(np.max(np.abs(after - other) / threshold)))
        theta = after
    # Measured: 7e7 for the placement of epsilon, 1e7 for rounded betas, 1e4 for a decay off by 1e-9, else 1e11 to 3e14.
    assert largest >= 1e3, f"the rival is only {largest:.3g} thresholds away"
