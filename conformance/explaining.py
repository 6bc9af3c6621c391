"""Why two optimizers part, and whether hyperparameters would bring them together: both shown by replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..adapters.errors import BuildFailed, StepFailed
from ..adapters.options import canonical_values
from .axis_differences import DECAY, Difference, nearest_pair, with_differences
from .compare_result import CompareResult, Translation
from .following import Following, follow
from .hypotheses import Hypothesis
from .matching import Matching, match_trajectory
from .replaying import OnStep
from .side_by_side import Parting, SideBySide, side_by_side
from .subject import Subject
from .traces import Trace
from .translation import Candidate, Obstacle, translated, values_in_common

NAMES = ("A", "B")
MISSING_GRADIENT = "missing_gradient"
"""Difference in what is done with a parameter that has no gradient in a step; it is no axis of a rule."""
ATTEMPTS = 3
"""Replays of B with other hyperparameters: those of A, then with an option that these showed to matter, and again."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two subjects, the hyperparameters that they are built with, and the traces, each with a step at least."""

    first: Subject
    second: Subject
    first_values: Mapping[str, Any]
    second_values: Mapping[str, Any]
    traces: Sequence[Trace]
    on_step: OnStep | None

    def matchings(self) -> tuple[Matching, Matching]:
        """Return which rule each of them walks."""
        one, other = (
            match_trajectory(subject, self.traces, values, on_step=self.on_step)
            for subject, values in ((self.first, self.first_values), (self.second, self.second_values))
        )
        return one, other

    def walk(self, second_values: Mapping[str, Any] | None = None) -> SideBySide:
        """Return how far the two are apart, the second with other hyperparameters where they are given."""
        values = self.second_values if second_values is None else second_values
        return side_by_side(self.first, self.first_values, self.second, values, self.traces, self.on_step)

    def following(self, hypothesis: Hypothesis, values: Mapping[str, Any]) -> Following:
        """Return how the second, built with `values`, follows `hypothesis`."""
        return follow(self.second, values, self.traces, [hypothesis], self.on_step)[0]


def explained(
    pair: Compared,
    result: CompareResult,
    matchings: tuple[Matching, Matching],
    hypotheses: tuple[Hypothesis | None, Hypothesis | None],
) -> CompareResult:
    """Return `result`, which says that they part, with the differences that show and the translation."""
    own, other = hypotheses
    if own is None or other is None:
        without = [
            f"{name} follows no rule of the reference (nearest: {matching.match.nearest or 'none'})"
            for name, matching, each in zip(NAMES, matchings, hypotheses, strict=True)
            if each is None
        ]
        reason = f"{result.reason}; no axis explains it: {', '.join(without)}"
        open_one = convention(pair)
        found = result.differences if open_one is None else (*result.differences, open_one)
        return replace(result, reason=reason, differences=found, translation=_in_common(pair, matchings, own))
    found = showing(pair, matchings[0].held, own, other, result.differences)
    shown = [each for each in found if each.shows]
    why = f"; what explains it: {listed(shown)}" if shown else "; no single difference explains it"
    translation = _translation(pair, own, other)
    return replace(result, reason=result.reason + why, differences=found, translation=translation)


def showing(
    pair: Compared,
    held: Mapping[str, Any],
    own: Hypothesis,
    other: Hypothesis,
    found: Sequence[Difference],
) -> tuple[Difference, ...]:
    """Return `found` with what each difference alone does to A's own trajectory.

    Those of the decay (rule, law, order, coefficient) are also tried together: where they make up for each
    other, none of them shows.
    """
    decay = [each for each in found if each.name in DECAY]
    together = with_differences(own, held, other, decay) if len(decay) > 1 else None
    variants = [with_differences(own, held, other, [each]) for each in found]
    wanted = [each for each in (together, *variants) if each is not None]
    followed = follow(pair.first, pair.first_values, pair.traces, [own, *wanted], pair.on_step)
    by_hypothesis = {each.hypothesis: each for each in followed if each.elements}
    made_up_for = together is not None and together in by_hypothesis and by_hypothesis[together].inside
    shown = []
    for each, variant in zip(found, variants, strict=True):
        tried = None if variant is None else by_hypothesis.get(variant)
        if each.name in DECAY and made_up_for:
            shown.append(replace(each, shows=False))
        elif tried is None:
            shown.append(each)
        else:
            shown.append(replace(each, shows=not tried.inside, step=tried.parting.step if tried.parting else None))
    return tuple(shown)


def missing_gradients(pair: Compared) -> tuple[Difference, SideBySide] | None:
    """Return the difference in what is done with missing gradients, and where it shows; None where it does not."""
    difference = convention(pair)
    if difference is None:
        return None
    walk = replace(pair, traces=[trace for trace in pair.traces if trace.missing]).walk()
    return None if walk.parting is None else (difference, walk)


def convention(pair: Compared) -> Difference | None:
    """Return the difference in what the frameworks do with missing gradients, where the traces have any."""
    traces = [trace for trace in pair.traces if trace.missing]
    if not traces:
        return None
    start = traces[0].initial_parameters()
    conventions = (
        pair.first.build(start, pair.first_values).missing_gradient,
        pair.second.build(start, pair.second_values).missing_gradient,
    )
    if conventions[0] is conventions[1]:
        return None
    return Difference(MISSING_GRADIENT, str(conventions[0]), str(conventions[1]))


def _translation(pair: Compared, own: Hypothesis, other: Hypothesis) -> Translation:
    """Return whether hyperparameters make B follow `own`, tried on B itself.

    What B does shows fully only with the values of A: without weight decay it has no kind of decay, and an option
    of its constructor may choose on an axis. So where a replay parts, B is matched anew with what was tried.
    """
    schedules = [trace.multipliers for trace in pair.traces]
    base = canonical_values(pair.second.target, pair.second_values)
    candidate = translated(own, other, pair.second.target, base, schedules)
    tried: Following | None = None
    for _ in range(ATTEMPTS):
        if not candidate.values:
            break
        values = {**base, **candidate.values}
        try:
            tried = pair.following(own, values)
            hidden = not candidate.obstacles or candidate.switches or not other.options.weight_decay
            settled = tried.inside or not hidden
            accepted = () if settled else match_trajectory(pair.second, pair.traces, values).accepted
        except (BuildFailed, StepFailed) as error:
            message = f"B does not run with {assigned(candidate.values)}: {error}"
            return Translation(None, candidate.values, candidate.obstacles, None, None, message)
        if not accepted:
            break
        _, nearer, _ = nearest_pair([own], accepted)
        further = translated(own, nearer, pair.second.target, values, schedules)
        if further.values.items() <= candidate.values.items():
            candidate = replace(further, values=candidate.values)
            break
        candidate = replace(further, values={**candidate.values, **further.values})
    if tried is not None and tried.inside:
        apart = missing_gradients(replace(pair, second_values={**base, **candidate.values}))
        if apart is not None:
            return _convention_apart(candidate, *apart)
    return _concluded(candidate, tried)


def _convention_apart(candidate: Candidate, difference: Difference, walk: SideBySide) -> Translation:
    """Return that B follows A's rule with a candidate, but takes steps without a gradient in another way."""
    assert walk.parting is not None, "it is what the difference shows in"
    reason = f"what is done without a gradient: in A {difference.first}; in B {difference.second}"
    message = (
        f"no such values exist: {reason}; with {assigned(candidate.values)} B follows A's rule, but they part at "
        f"{where(walk.parting)}"
    )
    obstacles = (*candidate.obstacles, Obstacle(MISSING_GRADIENT, reason))
    return Translation(False, candidate.values, obstacles, walk.ratio, walk.parting, message)


def _concluded(candidate: Candidate, tried: Following | None) -> Translation:
    """Return what the replay says of a candidate; None where there was nothing to try."""
    shown = assigned(candidate.values)
    reasons = "; ".join(f"{each.axis}: {each.reason}" for each in candidate.obstacles)
    if tried is not None and tried.inside:
        exact = f". Elsewhere they may part, for no values carry everything over ({reasons})" if reasons else ""
        message = f"with {shown} B stays inside the bound of A's rule, {tried.ratio:.2g} of it at most{exact}"
        return Translation(True, candidate.values, candidate.obstacles, tried.ratio, None, message)
    ratio, parting = (None, None) if tried is None else (tried.ratio, tried.parting)
    parts = f"; with {shown} they part at {where(parting)}, {parting.factor:.2g} bounds apart" if parting else ""
    if candidate.obstacles:
        message = f"no such values exist: {reasons}{parts}"
        return Translation(False, candidate.values, candidate.obstacles, ratio, parting, message)
    return Translation(None, candidate.values, (), ratio, parting, f"no values were found{parts}")


def _in_common(pair: Compared, matchings: tuple[Matching, Matching], own: Hypothesis | None) -> Translation | None:
    """Return what comes of giving B the hyperparameters that A holds; None where they hold the same.

    It is held against A's rule where A follows one, and against A itself otherwise.
    """
    one, other = matchings
    base = canonical_values(pair.second.target, pair.second_values)
    values = values_in_common(one.held, other.held, pair.second.target, base)
    if not values:
        return None
    built = {**base, **values}
    try:
        tried: Following | SideBySide = pair.walk(built) if own is None else pair.following(own, built)
    except (BuildFailed, StepFailed) as error:
        return Translation(None, values, (), None, None, f"B does not run with {assigned(values)}: {error}")
    shown = assigned(values)
    if tried.parting is not None:
        message = f"with A's values, {shown}, they part at {where(tried.parting)}; no rule says which would do"
        return Translation(None, values, (), tried.ratio, tried.parting, message)
    if isinstance(tried, SideBySide) and (tried.amplified or tried.non_finite):
        return Translation(None, values, (), tried.ratio, None, f"with A's values, {shown}, it cannot be told")
    message = f"with A's values, {shown}, they are the same: {tried.ratio:.2g} of what is allowed at most"
    return Translation(True, values, (), tried.ratio, None, message)


def where(parting: Parting) -> str:
    """Return the place of a parting, for people."""
    index = f"[{', '.join(map(str, parting.element))}]" if parting.element else ""
    return f"step {parting.step} of {parting.trace}, {parting.parameter!r}{index}"


def listed(found: Sequence[Difference]) -> str:
    """Return differences with both values, for people."""
    return ", ".join(f"{each.name} ({' in A, '.join(shown_values(each))} in B)" for each in found)


def shown_values(difference: Difference) -> tuple[str, str]:
    """Return both values as text; numbers with as many digits as it takes to tell them apart."""
    one, other = (_value(each) for each in (difference.first, difference.second))
    return (one, other) if one != other else (repr(difference.first), repr(difference.second))


def assigned(values: Mapping[str, Any]) -> str:
    """Return hyperparameters as a user would set them, with all digits: they are to be used."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
