"""Whether the step of one parameter depends on another parameter, as rules with a global statistic have it.

Global-norm clipping, D-adaptation, Prodigy and stable weight decay scale every parameter's step, or its decay, by a
number that all gradients enter: a part of the parameters taken alone then moves otherwise, and that is the rule and no
fault. What tells it from one: such a statistic follows the *values* of the others, and it is symmetric, so that the
order of the parameters does not matter. A decay applied once for each dtype or device depends on what others there
are, and not on their values; a buffer or a counter that one parameter leaves behind for the next is not symmetric.
Both are faults, and neither passes for coupling here: the first does not show, and order is judged all the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..subject import Arrays
from .setting import Setting

_FACTOR = 3.0


def coupling(setting: Setting) -> tuple[str, str] | None:
    """Return two parameters of which the first moves otherwise when the second has another theta_0 and gradients.

    None where no parameter depends on another. One walk for each number of dimensions that parameters have.
    """
    for changed in _one_of_each_kind(setting.theta):
        other = replace(
            setting,
            theta={name: value * (_FACTOR if name == changed else 1.0) for name, value in setting.theta.items()},
            steps=[
                replace(step, gradients={**step.gradients, changed: _scaled(step.gradients[changed])})
                for step in setting.steps
            ],
        )
        for here, there in zip(setting.plain, other.plain, strict=True):
            for name in setting.theta.keys() - {changed}:
                if setting.farthest([{name: here[name]}], [{name: there[name]}]).ratio > 1.0:
                    return name, changed
    return None


def _scaled(grad: np.ndarray | None) -> np.ndarray | None:
    return None if grad is None else _FACTOR * grad


def _one_of_each_kind(theta: Arrays) -> list[str]:
    first: dict[int, str] = {}
    for name, value in theta.items():
        first.setdefault(value.ndim, name)
    return list(first.values())
