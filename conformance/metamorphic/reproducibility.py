"""The same input twice in one process should give the same bits (OC411).

What it runs: the same path twice. Where the bits differ, a third time with the global random generators put back to
where they stood before the first, which tells noise drawn from them from everything else: state shared between
instances, memory never written, the order in which threads add up. The generators are left as they were found.

When it applies: always. Cost: two walks, three where they differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...adapters import random_generators
from ..subject import Arrays
from .setting import Outcome, Setting


def reproducibility_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether two runs agree bit for bit and, where they do not, what the difference comes from."""
    before = random_generators.states()
    try:
        first = setting.walk(setting.build())
        drawn = random_generators.moved(before, random_generators.states())
        differs = _first_difference(first, setting.walk(setting.build()))
        if differs is None:
            despite = f", although it draws from the global generator of {' and '.join(drawn)}" if drawn else ""
            yield Outcome("passed", f"twice the same bits in {len(first)} steps{despite}")
            return
        random_generators.put_back(before)
        seeded = _first_difference(first, setting.walk(setting.build())) is None
    finally:
        random_generators.put_back(before)
    step, parameter = differs
    if seeded:
        cause = (
            f"it draws from the global random generator of {' and '.join(drawn)}, and repeats itself with that put back"
        )
    else:
        cause = f"also with the global random generators of {', '.join(before)} put back"
    yield Outcome(
        "failed",
        f"{parameter!r} differs between two runs on the same input, from step {step} on; {cause}",
        parameter=parameter,
        evidence={"step": step, "generators_drawn_from": list(drawn), "repeats_with_them_put_back": seeded},
    )


def _first_difference(one: Sequence[Arrays], other: Sequence[Arrays]) -> tuple[int, str] | None:
    """Return the first step, counted from 1, and parameter in which two paths differ in a bit."""
    return next(
        (
            (index, name)
            for index, (here, there) in enumerate(zip(one, other, strict=True), start=1)
            for name, value in here.items()
            if value.tobytes() != there[name].tobytes()
        ),
        None,
    )
