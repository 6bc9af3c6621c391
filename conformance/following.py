"""Whether an optimizer walks a given rule of the reference, with given options, inside its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..reference.follow import Mode, state_slots
from .hypotheses import Hypothesis
from .judging import judging_of
from .replaying import OnStep, Run, replay
from .side_by_side import Parting
from .subject import Subject
from .traces import Trace


@dataclass(frozen=True, slots=True)
class Following:
    """One hypothesis held against an optimizer's trajectory over several traces, every element of every step."""

    hypothesis: Hypothesis
    ratio: float = 0.0
    """Largest distance in bounds; at most 1 where the optimizer walks this rule."""
    elements: int = 0
    """Elements compared of which the bound says something."""
    parting: Parting | None = None
    """Where the optimizer first leaves the bound."""

    @property
    def inside(self) -> bool:
        """Whether something was compared and no element left the bound."""
        return self.parting is None and self.elements > 0


def follow(
    subject: Subject,
    values: Mapping[str, Any],
    traces: Sequence[Trace],
    hypotheses: Sequence[Hypothesis],
    on_step: OnStep | None = None,
) -> list[Following]:
    """Hold the optimizer built with `values` against every hypothesis, of which the first decides the mode.

    The reference starts every step from the optimizer's own parameters, so what leaves the bound is a difference
    of rule or of hyperparameters in that step, and no error carried on. A hypothesis whose state the optimizer
    does not show, where the mode takes that over, is left out. Raises what building and stepping raise.
    """
    usable = [trace for trace in traces if trace.n_steps]
    if not usable or not hypotheses:
        return [Following(each) for each in hypotheses]
    optimizer = subject.build(usable[0].initial_parameters(), values)
    judging = judging_of(subject, optimizer, hypotheses[:1], usable[0])
    if judging.mode is Mode.FULL_RESYNC:
        shown = state_slots(hypotheses[0].options)
        hypotheses = [each for each in hypotheses if state_slots(each.options) <= shown]
    found = [Following(each) for each in hypotheses]
    for trace in usable:
        runs = [Run(each, sampled=False) for each in hypotheses]
        replay(subject, trace, values, runs, trace.steps(), judging, on_step)
        found = [_with(each, run, trace.name) for each, run in zip(found, runs, strict=True)]
    return found


def _with(found: Following, run: Run, trace: str) -> Following:
    parting = found.parting
    if parting is None and run.first_violation:
        at = run.first_violation
        parting = Parting(
            trace,
            at["step"],
            at["parameter"],
            at["element"],
            at["found"],
            at["expected"],
            at["bound"],
            at["factor"],
        )
    return Following(found.hypothesis, max(found.ratio, run.ratio), found.elements + run.elements, parting)
