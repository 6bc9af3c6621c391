"""What a trajectory alone says of weight decay, where no second run without decay is at hand."""

from __future__ import annotations

import math

from ..reference.rules import RULES
from .checks import left_at
from .diagnosis import NO_DECAY
from .matching import Matching
from .result import Decision, Match, Verdict


def verdict_of_trajectory(
    matching: Matching, dtype: str, *, decays: bool, known: bool, recorded: bool = False
) -> tuple[Verdict, str]:
    """Return what the hypotheses that are left say of the decay, and why.

    `decays` says whether weight decay is on, `known` whether a rule is documented: then a trajectory that follows
    none is wrong, and otherwise nothing is known of it. `recorded` chooses the words.
    """
    match, held = matching.match, matching.held
    if match.decision is None:
        settings = ", ".join(f"{name}={value!r}" for name, value in held.items() if isinstance(value, int | float))
        return Verdict.INCONCLUSIVE, f"the reference has no rule with these hyperparameters: {settings}"
    if match.decision is Decision.UNDECIDABLE and not match.undecidable:
        return Verdict.EXCLUDED, "no step has a gradient of theirs, and they did not move"
    if match.decision is Decision.UNDECIDABLE:
        return Verdict.INCONCLUSIVE, f"the bound says nothing of any element in {dtype}"
    parameters, step = ("recorded parameters", "recorded step") if recorded else ("parameters", "step")
    if match.decision is Decision.REJECT:
        verdict = Verdict.OTHER if known else Verdict.INCONCLUSIVE
        return verdict, f"the {parameters} follow no rule of the reference{left_at(matching)}"
    within = f"every {step} lies within the bound of {match.rule} ({match.bound_ratio:.2g})"
    if not decays:
        return Verdict.EXCLUDED, f"weight_decay is 0 in every step; {within}"
    if any(each.constant == NO_DECAY for each in matching.accepted):
        return (
            Verdict.INCONCLUSIVE,
            f"{within}, but so it does without decay: at these hyperparameters {dtype} rounding hides it",
        )
    kinds = {each.rule.decoupled for each in matching.accepted}
    if len(kinds) > 1:
        if all(getattr(each.options, "momentum", None) == 0.0 for each in matching.accepted):
            return Verdict.EQUIVALENT, f"{within}; without momentum decoupled decay and L2 are the same algebra"
        return Verdict.INCONCLUSIVE, f"{within}, but a rule of the other kind of decay fits as well"
    return (Verdict.DECOUPLED if kinds.pop() else Verdict.L2), within + _distance(match)


def _distance(match: Match) -> str:
    """Return how far the rules of the other kind of decay are."""
    decoupled = RULES[str(match.rule)].decoupled
    others = tuple(rule.name for rule in RULES.values() if rule.decoupled is not decoupled)
    ratios = [ratio for name, ratio in match.rivals.items() if name.partition("[")[0] in others]
    if not ratios or not math.isfinite(min(ratios)):
        return ""
    return f", and every rule of the other kind is {min(ratios):.2g} bounds or more outside its own"
