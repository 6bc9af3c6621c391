"""What one parameter group of a recorded run did with weight decay, by the hypotheses that its trajectory fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...adapters.protocol import Target
from ...reference.decay import decay_coefficient
from ...reference.options import AdamWOptions, SGDWOptions
from ...reference.rules import RULES
from ..diagnosis import NO_DECAY
from ..effective_decay import EffectiveDecay, law_of_match, measured_decay
from ..law import Law
from ..matching import Matching, match_trajectory
from ..replaying import OnStep
from ..result import Decay, Decision, Match, Verdict
from ..subject import rounded
from ..traces.run import RecordedRun
from ..trajectory_verdict import verdict_of_trajectory
from .declared import Declared, casts_of, convention_of, scalars_of
from .parts import RunGroup, names_shown
from .walker import RecordedWalker

MOST_APART = 64
"""Parameters of a group that are judged one by one where the group as a whole follows no rule."""
_TOLD = (Verdict.DECOUPLED, Verdict.L2, Verdict.EQUIVALENT, Verdict.EXCLUDED)
_MASKING = ("jax",)
"""Frameworks in which decay is masked out of sight. A mask by the number of dimensions is the usual one; as for OC109,
parameters with as many dimensions are expected to decay alike."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One group, or one parameter of it: what its trajectory fits, and what follows for its decay."""

    group: RunGroup
    matching: Matching
    declared: Declared
    verdict: Verdict
    reason: str

    @property
    def names(self) -> list[str]:
        """Names of its parameters."""
        return [each.name for each in self.group.parameters]

    @property
    def title(self) -> str:
        """Its parameters, for names of checks."""
        return names_shown(self.names)

    @property
    def compared(self) -> bool:
        """Whether there was a step with a gradient."""
        return self.matching.match.elements + self.matching.match.undecidable > 0

    @property
    def law(self) -> Law | None:
        """The law of its decay, where it is decoupled; without one where several fit, as at a constant rate."""
        if self.verdict is not Verdict.DECOUPLED:
            return None
        laws = sorted({str(each.axes()["law"]) for each in self.matching.accepted})
        if len(laws) == 1:
            return law_of_match(self.matching.match)
        order = self.matching.match.order
        known = Decay(applied_to=order if order in ("previous", "updated") else None)
        return Law(known, missing=f"{' and '.join(laws)} are the same at the learning rates of this run")


def kinds_of(group: RunGroup, run: RecordedRun, device: str, declared: Declared, on_step: OnStep | None) -> list[Kind]:
    """Return what `group` did: one kind or, where nothing describes it as a whole, one for each of its parameters."""
    kind = _kind(group, run, device, declared, on_step)
    match = kind.matching.match
    together = match.decision is not Decision.REJECT or match.explained_by is not None
    if together or not 1 < len(group.parameters) <= MOST_APART:
        return [kind]
    apart = [_kind(group.only(name), run, device, declared, on_step) for name in kind.names]
    decayed = frozenset(_dimensions(each) for each in apart if each.verdict in (Verdict.DECOUPLED, Verdict.L2))
    if decayed and run.framework in _MASKING:
        apart = [
            _spared(each, run, device, on_step)
            if each.matching.match.explained_by == NO_DECAY and _dimensions(each) not in decayed
            else each
            for each in apart
        ]
    # Where none of them tells a kind of decay, what was found of all together says it once.
    return apart if any(each.verdict in _TOLD for each in apart) else [kind]


def _spared(kind: Kind, run: RecordedRun, device: str, on_step: OnStep | None) -> Kind:
    """Return `kind`, of one parameter that fits a rule without decay, as one that is excluded from it."""
    spared = _kind(kind.group.without_decay(), run, device, kind.declared, on_step)
    if spared.verdict is not Verdict.EXCLUDED:
        return kind
    return replace(spared, reason=f"no step decays it, as behind a mask; {spared.reason.partition('; ')[2]}")


def _dimensions(kind: Kind) -> int:
    """Return the number of dimensions of the parameter that `kind` is of."""
    (parameter,) = kind.group.parameters
    return len(parameter.sampled_from or parameter.shape)


def _kind(group: RunGroup, run: RecordedRun, device: str, declared: Declared, on_step: OnStep | None) -> Kind:
    held = group.hyperparameters.held
    lacking = _lacking(held, declared)
    if lacking:
        reason = f"the recording does not say {' and '.join(lacking)}, without which no rule can be told"
        return Kind(group, Matching(Match(), held), declared, Verdict.INCONCLUSIVE, reason)
    walker = RecordedWalker(
        Target(declared.spec, None, run.framework),
        group.dtype,
        held,
        casts_of(run.optimizer, group.dtype),
        convention_of(run.framework),
        scalars_of(run.framework, held, group.dtype),
        device,
    )
    matching = match_trajectory(walker, group.parts, on_step=on_step)
    matching = replace(matching, first_violation=_located(group, matching.first_violation))
    told = verdict_of_trajectory(
        matching, group.dtype, decays=group.hyperparameters.decays, known=declared.known, recorded=True
    )
    return Kind(group, matching, declared, *told)


def _lacking(held: Mapping[str, Any], declared: Declared) -> list[str]:
    """Return the hyperparameters that a rule needs, the one that is documented if there is one, and `held` has not."""
    adam = declared.rule is not None and RULES[declared.rule].family == "adam"
    needed = ("weight_decay", "beta1", "beta2", "eps") if adam else ("weight_decay",)
    return [name for name in needed if name not in held]


def hidden_decay(kind: Kind) -> EffectiveDecay | None:
    """Return what rounding leaves of a decoupled decay of which the trajectory shows nothing; None where it shows some.

    The figures are those of one decay of theta as the group began, rounded once, at the largest rate of the run.
    """
    accepted = kind.matching.accepted
    own = next((each for each in accepted if each.rule.decoupled and each.constant != NO_DECAY), None)
    expected = kind.declared.rule is None or RULES[kind.declared.rule].decoupled
    if own is None or not expected or all(each.constant != NO_DECAY for each in accepted):
        return None
    assert isinstance(own.options, SGDWOptions | AdamWOptions), "its rule is decoupled"
    dtype, part = kind.group.dtype, kind.group.parts[0]
    largest = max(max(each.multipliers) for each in kind.group.parts)
    c = decay_coefficient(own.options, largest)
    theta = {name: value for name, value in rounded(part.initial_parameters(), dtype).items() if value.any()}
    if not theta or not 0.0 < c < 1.0:
        return None
    left = rounded({name: value * (1.0 - c) for name, value in theta.items()}, dtype)
    taken = {name: value - left[name] for name, value in theta.items()}
    return measured_decay(part.name, dtype, (largest * own.options.lr, own.options.weight_decay, c), theta, taken)


def _located(group: RunGroup, violation: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a rule was left: the element by its index in the whole tensor, and the step of the run besides."""
    if not violation:
        return {}
    found = dict(violation)
    part = next(each for each in group.parts if each.first <= found["step"] <= each.last)
    parameter = next(each for each in part.parameters if each.name == found["parameter"])
    coordinates = part.whole.coordinates(parameter.name)
    if coordinates is not None and parameter.sampled_from is not None:
        at = np.unravel_index(int(coordinates[found["element"][0]]), parameter.sampled_from)
        found["element"] = tuple(int(index) for index in at)
    if part.segment is not None:
        found["training_step"] = part.segment.training_step + found["step"] - part.first
    return found


def over_kinds(kinds: Sequence[Kind]) -> Verdict:
    """Return the verdict over all parameters; those excluded from decay are left out unless they are all."""
    found = {kind.verdict for kind in kinds} - {Verdict.EXCLUDED}
    if Verdict.OTHER in found:  # which what is left open of others does not take back
        found.discard(Verdict.INCONCLUSIVE)
    if not found or Verdict.INCONCLUSIVE in found:
        return Verdict.INCONCLUSIVE
    return found.pop() if len(found) == 1 else Verdict.MIXED
