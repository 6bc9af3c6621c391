"""Gradients that are all zero, before any other, must leave every parameter finite (OC409).

What it runs: two steps on zeros, where a moment that divides is still zero, then the setting's own steps.

When it applies: wherever eps is not itself zero in the working precision, which OC306 reports. Cost: a walk and two
steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..held_constants import degenerate_constants
from ..traces.trace import Step
from .setting import Outcome, Setting

_ZEROS = 2


def zero_gradients_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether parameters stay finite on gradients of zeros and after them."""
    optimizer, dtype = setting.build(), setting.subject.dtype
    if any(each.hyperparameter == "eps" for each in degenerate_constants(optimizer.held, dtype, optimizer.computes_in)):
        yield Outcome("skipped", f"eps={optimizer.held['eps']:g} is 0 in {dtype}, so a step on zeros divides 0 by 0")
        return
    steps = [*(_zeroed(step) for step in setting.steps[:_ZEROS]), *setting.steps]
    for number, parameters in enumerate(setting.walk(optimizer, steps), start=1):
        for name, value in parameters.items():
            if not np.isfinite(value).all():
                yield Outcome(
                    "failed",
                    f"{name!r} is NaN or infinite after step {number} of a run that begins with gradients of zeros",
                    parameter=name,
                    evidence={"step": number, "steps_of_zeros": _ZEROS},
                )
                return
    yield Outcome("passed", f"finite on {_ZEROS} steps of zero gradients, and in {len(setting.steps)} steps after them")


def _zeroed(step: Step) -> Step:
    zeros = {name: None if grad is None else np.zeros_like(grad) for name, grad in step.gradients.items()}
    return replace(step, gradients=zeros)
