"""A parameter excluded from decay must walk the path without decay, and all others the path with it (OC410).

What it runs: the path with decay, the path without, and that of an instance told to leave one parameter undecayed in
the framework's own way: a parameter group, Keras's `exclude_from_weight_decay`, an Optax mask.

When it applies: wherever there is such a way and decay moves a parameter. Where the step of one parameter depends on
others by the rule (`coupling`), their decay reaches the excluded one all the same; that is skipped, unless it follows
the path with decay. Where it depends on those of its group alone, the path without decay is that of the same groups.
Cost: two walks besides the plain one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...adapters.protocol import Layout
from ..subject import Arrays
from .coupling import coupling
from .needs import DECAY, REPRODUCIBLE, needs
from .setting import Outcome, Setting

Path = Sequence[Arrays]


@needs(DECAY, REPRODUCIBLE)
def exclusion_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether excluding the first parameter that decays excludes it, and it alone."""
    decayed = setting.plain
    free = setting.walk(setting.subject.build_without_decay(setting.theta, setting.values))
    decaying = [name for name in setting.theta if _apart(setting, decayed, free, name) > 1.0]
    if not decaying:
        yield Outcome("skipped", "decay moves no parameter by more than rounding explains")
        return
    excluded, *others = decaying
    path = setting.walk(setting.build(Layout(undecayed=frozenset({excluded}))))
    if _apart(setting, path, free, excluded) > 1.0:
        yield _still_decaying(setting, path, decayed, free, excluded)
        return
    deprived = [
        name
        for name in others
        if _apart(setting, path, decayed, name) > 1.0 and _apart(setting, path, free, name) <= 1.0
    ]
    if deprived:
        yield Outcome(
            "failed",
            f"excluding {excluded!r} from decay takes the decay from {', '.join(map(repr, deprived))} too",
            parameter=deprived[0],
            evidence={"excluded": excluded},
        )
        return
    yield Outcome("passed", f"{excluded!r}, excluded from decay, walks the path without it")


def _still_decaying(setting: Setting, path: Path, decayed: Path, free: Path, excluded: str) -> Outcome:
    """Return the outcome for an excluded parameter that left the path without decay."""
    full = _apart(setting, path, decayed, excluded) <= 1.0
    alone = Layout(undecayed=frozenset({excluded}))
    if not full and _apart(setting, path, setting.walk(setting.build(alone, weight_decay=0.0)), excluded) <= 1.0:
        return Outcome("passed", f"{excluded!r}, excluded from decay, walks the path without it in a group of its own")
    coupled = None if full else coupling(setting)
    if coupled is not None:
        one, other = coupled
        return Outcome(
            "skipped", f"the step of {one!r} depends on {other!r} by the rule, and so on what decay does to that"
        )
    distance = setting.farthest(_only(path, excluded), _only(free, excluded))
    where = "walks the path with decay" if full else "walks neither the path with decay nor that without"
    return Outcome(
        "failed",
        f"{excluded!r}, excluded from decay, {where}: {distance.absolute:.2g} away from the path without decay at step "
        f"{distance.step}",
        parameter=excluded,
        evidence={"decays_in_full": full, **distance.evidence()},
    )


def _apart(setting: Setting, one: Path, other: Path, name: str) -> float:
    """Return how far `name` is apart on two paths, in units of what rounding explains."""
    return setting.farthest(_only(one, name), _only(other, name)).ratio


def _only(path: Path, name: str) -> list[Arrays]:
    return [{name: step[name]} for step in path]
