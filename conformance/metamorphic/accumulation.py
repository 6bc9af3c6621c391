"""Micro-steps of gradient accumulation must be one step on the mean of their gradients (OC406).

What it runs: the path of an instance that accumulates two micro-steps in the framework's own way and is given 2*g_t
and 0, whose mean is g_t without any rounding, whatever the order of summation; it must be the plain path. Decay,
clipping or a step count that run in every micro-step show, because a micro-step then does something on its own.

When it applies: wherever the framework or the target accumulates by itself (an option of Keras, a wrapper of Optax).
In PyTorch gradients add up in `.grad`, which no optimizer takes part in. Cost: three walks, of two parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...adapters.protocol import Layout
from ..subject import read
from .needs import REPRODUCIBLE, needs
from .setting import Outcome, Setting

_WEIGHTS = (2.0, 0.0)
"""Of g_t in each micro-step; their mean is 1."""
_PARAMETERS = 2
"""As many show what all do, and Optax compiles its accumulation of them in 0.8 s of CPU time, of eight in 1.2 s."""


@needs(REPRODUCIBLE)
def accumulation_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether accumulated micro-steps walk the path of single steps, up to rounding."""
    few, count = setting.only(*list(setting.theta)[:_PARAMETERS]), len(_WEIGHTS)
    accumulating = few.build(Layout(accumulate=count))
    path = []
    for step in few.steps:
        for weight in _WEIGHTS:
            micro = {name: None if grad is None else weight * grad for name, grad in step.gradients.items()}
            accumulating.step(micro, few.lr(step))
        path.append(read(accumulating))
    distance = few.farthest(few.plain, path)
    if distance.ratio <= 1.0:
        yield Outcome("passed", f"{count} micro-steps are one step on the mean of their gradients")
    elif few.explains(distance):
        yield Outcome("skipped", f"cannot be told: one rounding of the inputs moves this rule as far ({distance})")
    else:
        yield Outcome(
            "failed",
            f"{count} micro-steps and one step on the mean of their gradients are {distance}; decay, clipping or the "
            "step count may run in every micro-step",
            parameter=distance.parameter,
            evidence={"micro_steps": count, **distance.evidence()},
        )
