"""A step must leave the caller's gradients as they were (OC404).

What it runs: three steps, after each of which the gradients are read again. Logging, clipping, accumulation and a
second optimizer read them too.

When it applies: where a step can reach what the caller holds: not to JAX and TensorFlow, whose arrays are immutable.
Cost: half a walk.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..subject import Float64Array, read
from .setting import Outcome, Setting

_STEPS = 3
"""Weight decay that is added in place shows in the first step, Nesterov's momentum from the second on."""


def mutated_gradients_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether every bit of the gradients is as it was, and the first that is not."""
    optimizer = setting.build()
    for step in setting.steps[:_STEPS]:
        before = read(optimizer)
        fed = setting.subject.as_fed(step.gradients)
        optimizer.step(step.gradients, setting.lr(step))
        for name, left in optimizer.gradients_left().items():
            given, after = fed[name], np.asarray(left, dtype=np.float64)
            if given is not None and not np.array_equal(given, after, equal_nan=True):
                decay = setting.values.get("weight_decay", 0.0)
                yield Outcome(
                    "failed",
                    f"step {step.index} changed the gradient of {name!r}"
                    + _what(given, after, decay * before[name] if isinstance(decay, float) else None),
                    parameter=name,
                    evidence={"step": step.index, "distance": float(np.max(np.abs(after - given)))},
                )
                return
    yield Outcome("passed", f"{_STEPS} steps leave every bit of the gradients as it was")


def _what(given: Float64Array, after: Float64Array, decay: Float64Array | None) -> str:
    """Return what the gradient holds now, where that is easily said."""
    if decay is not None and np.allclose(after, given + decay, rtol=1e-6, atol=0.0):
        return ": it now holds g + weight_decay*theta"
    if np.array_equal(after, -given):
        return ": it now holds -g"
    return f": by up to {float(np.max(np.abs(after - given))):.3g}"
