"""Weight decay that is changed between steps must act like one given to the constructor (OC414).

What it runs: half the path; then the second half three times from there: with the decay as it was, with half of it
set in the framework's own way, and, on an instance built with half of it, from a snapshot of the first. The last
two must agree.

When it applies: wherever the framework lets weight decay be changed and decay moves a parameter. Cost: two walks.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...adapters.errors import StepFailed
from .needs import DECAY, REPRODUCIBLE, needs
from .setting import Outcome, Setting


@needs(DECAY, REPRODUCIBLE)
def decay_change_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether a changed weight decay acts in the steps to come as one that was built in."""
    middle = len(setting.steps) // 2
    later = setting.steps[middle:]
    old = setting.values["weight_decay"]
    new = 0.5 * old
    optimizer, fresh = setting.build(), setting.build(weight_decay=new)
    optimizer.set_weight_decay(old)  # where that is not supported, it is known before the walks
    start = setting.walk(optimizer, setting.steps[:middle])
    try:
        snapshot = optimizer.snapshot()
    except StepFailed as error:
        yield Outcome("skipped", f"no two instances can go on from the same state: {error}")
        return
    unchanged = start + setting.walk(optimizer, later)
    fresh.restore(snapshot)
    built_so = start + setting.walk(fresh, later)
    if setting.farthest(unchanged, built_so).ratio <= 1.0:
        yield Outcome("skipped", "half the weight decay moves no parameter by more than rounding explains")
        return
    optimizer.restore(snapshot)
    optimizer.set_weight_decay(new)
    changed = start + setting.walk(optimizer, later)
    distance = setting.farthest(changed, built_so)
    if distance.ratio <= 1.0:
        yield Outcome("passed", f"weight decay changed after step {middle} acts as if it had been built in")
        return
    ignored = setting.farthest(changed, unchanged).ratio <= 1.0
    found = "changes nothing" if ignored else "does not act as if the optimizer had been built with it"
    yield Outcome(
        "failed",
        f"weight decay changed from {old:g} to {new:g} after step {middle} {found}: {distance.parameter!r} is "
        f"{distance.absolute:.2g} away at step {distance.step}",
        parameter=distance.parameter,
        evidence={"without_effect": ignored, **distance.evidence()},
    )
