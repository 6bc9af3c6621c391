"""The setting of the metamorphic checks: the shapes of a trace, cut small, with numbers drawn for the purpose.

Two ways of using an optimizer must agree whatever the numbers are, so they need not be recorded ones; and drawn
ones show every fault: theta_0 is signed, unequal and nowhere near zero (recorded biases start at 0, where no decay
shows), every parameter has a gradient in every step, and the learning rate changes from step to step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..subject import Subject, rounded
from ..traces import Trace
from ..traces.trace import Step
from .setting import Setting

MULTIPLIERS = (1.0, 0.5, 1.0, 0.25, 0.75, 1.0)
"""eta_t of the steps; neighbours differ."""
OF_A_KIND = 2
"""Parameters with the same number of dimensions: grouping needs more than one of a kind."""
_LONGEST_VECTOR = 36
_LARGEST = (8, 6, 5)
"""Most entries of a vector; and along the first axes of all else, 3 along the others. A step of a hundred numbers
costs what one of a single number does, and kernels take whole SIMD registers (32 numbers of 16 bits) another way
than what is left over: there must be both."""
_SEED = 20190506
"""ICLR 2019, the paper's venue; any fixed number serves."""


def drawn_setting(subject: Subject, traces: Sequence[Trace], *, compiled: bool = False) -> Setting | None:
    """Return the setting for `subject`, None where no trace has a parameter with an element.

    The trace is the one whose parameters differ most in their number of dimensions, the first of several. Of each
    number, its first two parameters are taken (one comes twice where there is no other), both with the shape of the
    first, vectors cut to 36 elements and all else to 8 x 6 x 5 x 3 ...
    """
    shapes = max(
        (_shapes(trace) for trace in traces), key=lambda each: len({len(s) for s in each.values()}), default={}
    )
    if not shapes:
        return None
    rng = np.random.Generator(np.random.PCG64(_SEED))
    theta = {
        name: rng.choice((-1.0, 1.0), shape) * np.asarray(rng.uniform(0.25, 2.0, shape))
        for name, shape in shapes.items()
    }
    steps = [
        Step(index, multiplier, {name: np.asarray(rng.standard_normal(shape)) for name, shape in shapes.items()})
        for index, multiplier in enumerate(MULTIPLIERS, start=1)
    ]
    # A user's runs draw from one course, and whether they repeat themselves is a question of its own (OC411).
    shared = replace(subject, own_draws=False)
    return Setting(shared, rounded(theta, subject.dtype), steps, subject.probe(), compiled)


def _shapes(trace: Trace) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of the parameters taken from `trace`, in its order.

    Those of a kind share one, since JAX compiles every operation once for each shape: half a second an optimizer.
    """
    names = {parameter.name for parameter in trace.parameters}
    of_kind: dict[int, list[str]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for parameter in trace.parameters:
        same = of_kind.setdefault(len(parameter.shape), [])
        if parameter.size and len(same) < OF_A_KIND:
            same.append(parameter.name)
            shapes[parameter.name] = shapes[same[0]] if len(same) > 1 else _cut(parameter.shape)
    for same in of_kind.values():
        if len(same) == 1:
            copy = next(name for number in range(2, len(names) + 3) if (name := f"{same[0]}_{number}") not in names)
            shapes[copy] = shapes[same[0]]
    return shapes


def _cut(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 1:
        return (min(shape[0], _LONGEST_VECTOR),)
    limits = _LARGEST + (3,) * max(0, len(shape) - len(_LARGEST))
    return tuple(min(size, limit) for size, limit in zip(shape, limits, strict=False))
