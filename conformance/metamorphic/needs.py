"""What a metamorphic check cannot do without, said of it in one line instead of tested in its body."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .setting import NOT_REPRODUCIBLE, Outcome, Setting

Check = Callable[[Setting], Iterator[Outcome]]


@dataclass(frozen=True, slots=True)
class Need:
    """A condition on the setting, and the outcome of a check where it is not met."""

    met: Callable[[Setting], bool]
    otherwise: Outcome


DECAY = Need(
    lambda setting: setting.subject.has_weight_decay, Outcome("skipped", "the target has no weight-decay option")
)
REPRODUCIBLE = Need(lambda setting: setting.reproducible, NOT_REPRODUCIBLE)
"""Finding out costs a walk, so that it stands last among the needs of a check."""


def needs(*every: Need) -> Callable[[Check], Check]:
    """Return a decorator: the check is run where all of `every` are met, else it yields the first that is not."""

    def decorated(check: Check) -> Check:
        @functools.wraps(check)
        def run(setting: Setting) -> Iterator[Outcome]:
            unmet = next((need for need in every if not need.met(setting)), None)
            if unmet is not None:
                yield unmet.otherwise
            else:
                yield from check(setting)

        return run

    return decorated
