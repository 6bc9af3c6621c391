"""A learning rate that changes between steps must change the steps to come (OC412).

What it runs: the path without decay at the trace's learning rates, and again with those of the second half 1024 times
as small. One bit that differs is enough: by how much an update follows the rate is its own affair.

When it applies: always. Where nothing changes, the options tell of optimizers whose learning rate has no part in these
steps by design. Cost: two walks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .needs import REPRODUCIBLE, needs
from .setting import Outcome, Setting

_SHRINK = 2.0**-10
"""So small that a rate which only caps the step is felt as well, and a power of two, which no format rounds."""


@dataclass(frozen=True, slots=True)
class ByDesign:
    """An option that tells of an optimizer whose learning rate need not scale the steps of a short run."""

    option: str
    holds: Callable[[Any], bool]
    """Of the option's value."""
    reason: str


_RPROP = "Rprop takes lr as the first step size alone (Riedmiller and Braun, 1993)"

BY_DESIGN = (
    ByDesign("step_sizes", lambda value: True, _RPROP),  # PyTorch
    ByDesign("min_step_size", lambda value: True, _RPROP),  # Optax
    ByDesign("relative_step", bool, "with relative_step the step follows 1/sqrt(t) (Shazeer and Stern, 2018)"),
    ByDesign("lips", lambda value: True, "A2Grad's step follows a Lipschitz constant, not lr (Deng et al., 2018)"),
    ByDesign("warmup_steps", bool, "a warm-up of its own is under way, which may go by the constructor's lr"),
)
"""Consulted where the learning rate has no effect: some that hold such an option follow it all the same."""


@needs(REPRODUCIBLE)
def lr_change_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether a smaller learning rate in the second half changes a bit of it."""
    middle = len(setting.steps) // 2
    one, other = (setting.subject.build_without_decay(setting.theta, setting.values) for _ in range(2))
    smaller = [
        step if index < middle else replace(step, multiplier=_SHRINK * step.multiplier)
        for index, step in enumerate(setting.steps)
    ]
    path, changed = setting.walk(one), setting.walk(other, smaller)
    if all((path[middle - 1][name] == value).all() for step in path[middle:] for name, value in step.items()):
        yield Outcome("skipped", f"no parameter moves after step {middle}")
    elif any((value != changed[-1][name]).any() for name, value in path[-1].items()):
        yield Outcome("passed", f"a learning rate changed after step {middle} changes the steps to come")
    elif reason := _by_design(one.held):
        yield Outcome("skipped", f"a learning rate changed after step {middle} changes nothing, by design: {reason}")
    else:
        yield Outcome(
            "failed",
            f"the learning rate was made {1.0 / _SHRINK:.0f} times as small after step {middle}, and the steps to come "
            "are the same in every bit",
            evidence={"changed_after": middle, "factor": _SHRINK},
        )


def _by_design(held: Mapping[str, Any]) -> str | None:
    """Return why an optimizer that holds these options need not follow the learning rate, None where it must."""
    return next((row.reason for row in BY_DESIGN if row.option in held and row.holds(held[row.option])), None)
