"""What rounding may explain when two paths are further apart than it should bring them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..pairing import rounding_of
from ..subject import Arrays, read
from .setting import Distance, Setting, perturbed

_UNFELT = 2.0**-40
"""A change of the gradients that every step in float64 shows (it is 2**12 ulps of them) and none in float32 does."""


def rounding_explains(setting: Setting, one: Sequence[Arrays], other: Sequence[Arrays], distance: Distance) -> str:
    """Return how rounding may be behind `distance`, that of the paths `one` and `other`; empty where it cannot."""
    if setting.explains(distance):
        return f"one rounding of the inputs moves this rule as far ({distance})"
    if float32_scalars_explain(setting, one, other):
        return f"no more than a scalar held in float32 explains ({distance})"
    if _narrow_steps_explain(setting, one, other):
        return (
            f"the step does not feel a change of the gradients by 2**-40: it is taken from signs, or computed in fewer "
            f"bits than its parameters have, in which paths may differ as far ({distance})"
        )
    return ""


def float32_scalars_explain(setting: Setting, one: Sequence[Arrays], other: Sequence[Arrays]) -> bool:
    """Whether float64 paths are apart by no more than a step size or decay rate that was held in float32.

    PyTorch keeps step counts and learning rates of some paths as float32 tensors, whatever the parameters are.
    """
    if setting.subject.dtype != "float64":
        return False
    return all(_within(setting, one, other, name, "float32") for name in setting.theta)


def _narrow_steps_explain(setting: Setting, one: Sequence[Arrays], other: Sequence[Arrays]) -> bool:
    """Whether only parameters are apart whose step is computed in fewer bits, and by no more than 8 bits explain.

    Newton-Schulz iterations run in bfloat16 as a rule, one matrix at a time or several stacked.
    """
    if setting.subject.dtype != "float64":
        return False
    apart = [
        name
        for name in setting.theta
        if setting.farthest([{name: theta[name]} for theta in one], [{name: theta[name]} for theta in other]).ratio
        > 1.0
    ]
    return all(_within(setting, one, other, name, "bfloat16") for name in apart) and _unfelt(setting) >= set(apart)


def _within(setting: Setting, one: Sequence[Arrays], other: Sequence[Arrays], name: str, dtype: str) -> bool:
    """Whether a parameter is apart by no more than rounding every step in `dtype` explains."""
    before, moved = setting.theta[name], 0.0
    for here, there in zip(one, other, strict=True):
        moved += float(np.max(np.abs(here[name] - before)))
        before = here[name]
        if not np.max(np.abs(here[name] - there[name])) <= rounding_of(dtype) * moved:
            return False
    return True


def _unfelt(setting: Setting) -> set[str]:
    """Return the parameters most elements of which take the same first step when the gradients change by 2**-40."""
    first = setting.steps[0]
    ends = []
    for step in (first, replace(first, gradients=perturbed(first.gradients, _UNFELT))):
        optimizer = setting.subject.build_without_decay(setting.theta, setting.values)
        optimizer.step(step.gradients, setting.lr(step))
        ends.append(read(optimizer))
    return {name for name, value in ends[0].items() if 2 * np.count_nonzero(value == ends[1][name]) > value.size}
