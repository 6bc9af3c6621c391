"""Maximising a function must be minimising its negative (OC401).

What it runs: the path with `maximize=True` over g, and with `maximize=False` over -g; decay shrinks the parameters in
both. Where they differ, both again without decay, which tells whether the decay is what was turned.

When it applies: to a target with the option `maximize` that has an effect; where it has none, OC413 says so. Cost:
three walks, five where something differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...adapters.options import accepts
from .setting import NOT_REPRODUCIBLE, Outcome, Setting, negated, same_bits


def maximize_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether the two paths agree up to rounding."""
    if not accepts(setting.subject.target, "maximize"):
        yield Outcome("skipped", "there is no option maximize")
        return
    if not setting.reproducible:
        yield NOT_REPRODUCIBLE
        return
    ascent = setting.walk(setting.build(maximize=True))
    if same_bits(ascent, setting.walk(setting.build(maximize=False))):
        yield Outcome("skipped", "maximize=True changes no bit (see OC413)")
        return
    against = [replace(step, gradients=negated(step.gradients)) for step in setting.steps]
    distance = setting.farthest(ascent, setting.walk(setting.build(maximize=False), against))
    if distance.ratio <= 1.0:
        yield Outcome("passed", f"maximize=True over g is maximize=False over -g, {len(setting.steps)} steps")
        return
    free = [
        setting.subject.build_without_decay(setting.theta, {**setting.values, "maximize": flag})
        for flag in (True, False)
    ]
    agree = setting.farthest(setting.walk(free[0]), setting.walk(free[1], against)).ratio <= 1.0
    why = "; they agree without weight decay, so that it is the decay which maximize turns or drops" if agree else ""
    yield Outcome(
        "failed",
        f"maximize=True over g and maximize=False over -g are {distance}{why}",
        parameter=distance.parameter,
        evidence={**distance.evidence(), "agrees_without_decay": agree},
    )
